"""Models are inspected again, and their studies stay as they are."""

from __future__ import annotations

from tests.service import synthetic


def again(service, profile):
    """Inspect the model once more; the answer of its endpoint."""
    ids = service.prepare()
    answer = service.http.post(f"/v1/models/{ids['model']}/inspect")
    assert (answer.status_code, answer.json()["state"]) == (202, "inspecting")
    agent = service.agent("inspector", profile=profile)
    agent.complete(agent.must_claim("inspect"))
    return service.get(f"/v1/models/{ids['model']}")


def test_a_model_without_latencies_gets_them_when_it_is_inspected_again(service):
    service.submit(n_trials=1)
    answered = again(service, synthetic.timed(synthetic.profile()))
    assert (answered["state"], answered["error"], answered["profile"]["latency"]["latency_ms"]) == ("ready", None, 10.0)
    assert service.submit(constraints={"latency_ms": 8.0})["limits"] == {"latency_ms": 8.0}


def test_a_model_without_studies_takes_whatever_grids_are_found(service):
    other = synthetic.profile([synthetic.site("layer0.conv", 10_000, 100, points=3)])
    assert len(again(service, other)["profile"]["sites"]) == 1


def test_a_model_with_studies_keeps_the_grids_that_they_refer_to(service):
    study = service.submit(n_trials=3)["id"]
    service.agent().work()
    other = synthetic.profile([synthetic.site("layer0.conv", 10_000, 100, points=3)])
    answered = again(service, other)
    assert (answered["state"], answered["error"]["code"]) == ("ready", "in_use")
    assert len(answered["profile"]["sites"]) == 4
    assert service.get(f"/v1/studies/{study}/best")["layers"]


def test_a_second_inspection_that_fails_leaves_the_model_usable(service):
    ids = service.prepare()
    service.http.post(f"/v1/models/{ids['model']}/inspect")
    agent = service.agent()
    agent.fail(agent.must_claim("inspect"), detail="no memory")
    answered = service.get(f"/v1/models/{ids['model']}")
    assert (answered["state"], answered["error"]["detail"]) == ("ready", "no memory")
    assert service.submit()


def test_asking_twice_inspects_once(service):
    ids = service.prepare()
    for _ in range(2):
        assert service.http.post(f"/v1/models/{ids['model']}/inspect").status_code == 202
    agent = service.agent()
    agent.must_claim("inspect")
    assert agent.claim() is None


def test_a_study_that_runs_goes_on_while_its_model_is_inspected(service):
    study = service.submit(n_trials=3)["id"]
    service.agent().work(2)
    service.http.post(f"/v1/models/{service.uploaded['model']}/inspect")
    service.agent().work()
    assert service.study(study)["state"] == "completed"


def test_an_unknown_model_cannot_be_inspected(service):
    answer = service.http.post("/v1/models/mdl_none/inspect")
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
