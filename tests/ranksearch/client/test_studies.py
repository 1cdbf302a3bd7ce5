import httpx
import pytest

from ranksearch.contracts.errors import NotFoundError
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
