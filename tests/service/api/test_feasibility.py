"""What the service says of a study that nobody has submitted: the same as of one that somebody does."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.service import synthetic
from tests.service.access_stories import bearer, token_for
from tests.service.conftest import on_both


@pytest.fixture
def profile():
    """Three layers, one of two methods; one that stays dense."""
    both = synthetic.with_methods(
        synthetic.site("a", 40_000, 400), synthetic.site("a", 40_000, 300, points=3, method="tucker2")
    )
    return synthetic.timed(
        synthetic.profile(
            [
                synthetic.dense_site("stem"),
                both,
                synthetic.site("b", 30_000, 900, steepness=2),
                synthetic.site("c", 9_000, 90),
            ]
        )
    )


@pytest.fixture
def ask(service, profile):
    service.prepare(profile)

    def asked(**changes):
        request = service.request(**{"methods": ["cp3", "tucker2"], **changes})
        answer = service.http.post("/v1/studies/feasibility", json=request)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return asked


def cheapest(profile, word, methods):
    """By hand: every layer's cheapest choice, and the rest of the network."""
    saved = 0
    for site in profile.sites:
        options = [getattr(point, word) for method in methods for point in site.grids.get(method, ())]
        saved += getattr(site, word) - min(options, default=getattr(site, word))
    return getattr(profile.dense, word) - saved


@pytest.mark.parametrize("methods", [["cp3"], ["cp3", "tucker2"]])
def test_the_least_is_every_layers_cheapest_choice(ask, profile, methods):
    told = ask(methods=methods)
    for word in ("macs", "params"):
        assert told["least"][word]["amount"] == cheapest(profile, word, methods)
    assert told["dense"] == {"macs": profile.dense.macs, "params": profile.dense.params}


def test_layers_that_stay_dense_make_it_more(ask, profile):
    most = ask(keep_dense=["a"])["least"]["macs"]["amount"]
    without = synthetic.profile(
        [one.model_dump(mode="json", by_alias=True) for one in profile.sites if one.name != "a"]
    )
    assert most == cheapest(without, "macs", ["cp3", "tucker2"]) + 40_000


@pytest.mark.parametrize("share", [5, 12, 13, 20, 60])
def test_it_says_what_the_submission_says(ask, service, share):
    bound = {"macs": f"{share}%", "params": "90%"}
    told = ask(constraints=bound)
    answer = service.http.post("/v1/studies", json=service.request(methods=["cp3", "tucker2"], constraints=bound))
    assert told["feasible"] is (answer.status_code == 202)
    if told["feasible"]:
        study = answer.json()
        assert (told["limits"], told["metric"]) == (study["limits"], study["metric"])
    else:
        assert {**answer.json(), "extra": None} == {**answer.json(), **told["problem"], "extra": None}
        assert told["problem"]["extra"]["nearest_feasible"] == answer.json()["extra"]["nearest_feasible"]
        assert told["allocations"] == []


def test_the_least_that_it_names_can_be_kept_and_less_cannot(ask):
    for word, least in ask()["least"].items():
        if word != "latency_ms":
            assert ask(constraints={word: least["percent"]})["feasible"], word
            assert ask(constraints={word: int(least["amount"])})["feasible"], word
            assert not ask(constraints={word: int(least["amount"]) - 1})["feasible"], word


def test_the_allocations_are_those_that_the_study_tries_first(ask, service):
    changes = {"constraints": {"macs": "45%"}, "methods": ["cp3", "tucker2"], "n_trials": 2}
    told = {one["origin"]: one for one in ask(**changes)["allocations"]}
    study = service.submit(**changes)["id"]
    agent = service.agent(value=lambda _job: 0.5)
    agent.complete(agent.must_claim("baseline"))
    for _ in range(2):
        agent.must_claim("trial")
    planned = {one["origin"]: one for one in service.trials(study)}
    assert set(told) == set(planned) == {"uniform", "equal_error"}
    for origin, one in told.items():
        assert one["cost"] == planned[origin]["planned"], origin
        assert one["factorised"] == len(planned[origin]["ranks"]), origin
        assert one["macs_fraction"] == pytest.approx(one["cost"]["macs"] / ask()["dense"]["macs"])


def test_what_a_budget_is_good_for_may_be_left_out(ask, service):
    whole = ask()
    short = service.http.post(
        "/v1/studies/feasibility?allocations=false", json=service.request(methods=["cp3", "tucker2"])
    )
    assert short.json() == {**whole, "allocations": []}
    assert whole["allocations"]


def test_latency_is_priced_where_it_is_bounded(ask):
    told = ask(constraints={"latency_ms": "50%"})
    assert told["feasible"]
    assert told["limits"] == {"latency_ms": 5.0}
    assert all(0 < one["latency_ms"] <= 5.0 for one in told["allocations"])
    assert "latency_ms" not in ask()["least"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"validation": {"dataset": None, "start": 0, "stop": 40}}, "dataset_overlap"),
        ({"keep_dense": ["nobody"]}, "unknown_layer"),
        ({"methods": ["cp3", "cp3"]}, "invalid_request"),
    ],
)
def test_what_is_wrong_otherwise_is_told_as_well(ask, service, changes, code):
    if "validation" in changes:
        changes = {"validation": {**changes["validation"], "dataset": service.uploaded["dataset"]}}
    told = ask(**changes)
    assert (told["feasible"], told["problem"]["code"]) == (False, code)
    assert told["problem"]["detail"]


@on_both
def test_nothing_is_submitted(ask, service):
    ask()
    assert service.get("/v1/studies")["items"] == []


def test_what_is_not_inspected_yet_is_a_conflict(service):
    service.prepare()
    model = service.upload_model(synthetic.model_document(salt=3)).json()["id"]
    answer = service.http.post("/v1/studies/feasibility", json=service.request(model=model))
    assert (answer.status_code, answer.json()["code"]) == (409, "model_not_inspected")


def test_what_belongs_to_another_project_does_not_exist(service):
    request = service.request()
    other = TestClient(service.app, headers=bearer(token_for(service, "eve", "other")))
    answer = other.post("/v1/studies/feasibility", json=request)
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
