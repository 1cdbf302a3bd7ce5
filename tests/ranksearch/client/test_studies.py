import httpx
import pytest

from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.study_requests import StudyRequest
from tests.ranksearch import wire


def test_the_front_of_a_study(answers):
    client, requests = answers(httpx.Response(200, json=wire.pareto()))
    front = client.studies.pareto(wire.STUDY)
    assert requests[0].url.path == f"/v1/studies/{wire.STUDY}/pareto"
    assert [point.values["macs"] for point in front.points] == [400_000, 200_000]


def test_a_handle_answers_the_front(answers):
    client, _ = answers(httpx.Response(200, json=wire.pareto()))
    assert client.study(wire.STUDY).pareto().objectives == ["proxy", "macs"]


def test_a_front_of_nobody_is_not_found(answers):
    problem = wire.problem("study_not_found", 404)
    client, _ = answers(httpx.Response(404, json=problem, headers={"content-type": "application/problem+json"}))
    with pytest.raises(NotFoundError):
        client.studies.pareto("sty_nobody")


def test_trials_are_asked_for_by_state_and_order(answers):
    client, requests = answers(httpx.Response(200, json={"items": [], "next": None}))
    assert list(client.studies.trials(wire.STUDY, state="COMPLETE", sort="value", order="desc")) == []
    assert dict(requests[0].url.params) == {"state": "COMPLETE", "sort": "value", "order": "desc"}


def test_feasibility_is_asked_for_with_the_request_of_the_submission(answers):
    told = {
        "feasible": False,
        "problem": wire.problem("budget_infeasible", 422, detail="too small"),
        "limits": {"macs": 3},
    }
    client, requests = answers(httpx.Response(200, json=told))
    slices = {role: {"dataset": wire.DATASET} for role in ("calibration", "validation")}
    request = StudyRequest.model_validate({"model": wire.MODEL, **slices, "constraints": {"macs": 3}})
    found = client.studies.feasibility(request)
    assert requests[0].url.path == "/v1/studies/feasibility"
    assert StudyRequest.model_validate_json(requests[0].content) == request
    assert (found.feasible, found.problem.code) == (False, "budget_infeasible")


def test_studies_of_a_model_are_asked_for(answers):
    client, requests = answers(httpx.Response(200, json={"items": [], "next": None}))
    assert list(client.studies.list(model=wire.MODEL)) == []
    assert dict(requests[0].url.params) == {"model": wire.MODEL}


def test_samples_and_pictures_of_a_data_set(answers):
    items = [{"index": 5, "label": 1, "class_name": "cat", "url": f"/v1/datasets/{wire.DATASET}/images/5"}]
    client, requests = answers(
        httpx.Response(200, json={"items": items, "count": 9}), httpx.Response(200, content=b"a picture")
    )
    samples = client.datasets.samples(wire.DATASET, 5, 1)
    assert (samples.count, samples.items[0].class_name) == (9, "cat")
    assert dict(requests[0].url.params) == {"start": "5", "count": "1"}
    assert client.datasets.picture(wire.DATASET, 5) == b"a picture"
    assert requests[1].url.path == items[0]["url"]


@pytest.mark.parametrize(
    ("asked", "path", "told"),
    [
        ("importance", "importance", {"measure": "error_model", "trials": 0, "layers": [], "last_event": 3}),
        ("sensitivity", "sensitivity", {"state": "not_asked_for", "layers": []}),
        (
            "rank_map",
            "rank-map?periods=3",
            {
                "last_event": 3, "trials": 0, "layers": ["a"], "dense_macs": [1], "other_macs": 0, "bins": 20,
                "periods": [], "best": None, "front": [],
            },
        ),
    ],
)  # fmt: skip
def test_what_a_study_shows_of_its_layers(answers, asked, path, told):
    client, requests = answers(httpx.Response(200, json={"study": wire.STUDY, **told}))
    assert getattr(client.studies, asked)(wire.STUDY).study == wire.STUDY
    assert str(requests[0].url).endswith(f"/v1/studies/{wire.STUDY}/{path}")
