import httpx
import pytest

from ranksearch.contracts.errors import InputError, NotFoundError, RankSearchError
from tests.ranksearch import wire


def told(state="ready", status=200, **members):
    return httpx.Response(status, json=wire.latency_comparison(state, **members))


def test_a_study_is_asked_and_waited_for(answers):
    client, requests = answers(told("pending", 202), told("pending"), told())
    found = client.study(wire.STUDY).latency()
    assert (found.state, found.trial, found.report.rows[0].measured.speed) == ("ready", 3, "faster")
    assert [request.method for request in requests] == ["POST", "GET", "GET"]
    assert requests[0].url.path == f"/v1/studies/{wire.STUDY}/latency"
    assert requests[0].headers["idempotency-key"]
    assert requests[1].url.path == f"/v1/studies/{wire.STUDY}/latency/job_lat"


def test_settings_are_sent_as_they_are_given(answers):
    client, requests = answers(told("pending", 202), told())
    client.study(wire.STUDY).latency(7, batches=[8], runtimes=["torch"], again=True)
    sent = {"trial": 7, "batches": [8], "runtimes": ["torch"], "again": True}
    assert wire.json.loads(requests[0].content) == sent


@pytest.mark.parametrize("settings", [{"batches": [0]}, {"runtimes": ["tensorrt"]}, {"batches": []}])
def test_settings_that_make_no_sense_are_not_sent(answers, settings):
    client, requests = answers()
    with pytest.raises(InputError):
        client.study(wire.STUDY).latency(**settings)
    assert requests == []


def test_what_could_not_be_measured_says_why_and_what_to_do(answers):
    failed = {"error": wire.problem("evaluation_crashed", 500, detail="it crashed")}
    client, _ = answers(told("pending", 202), told("failed", **failed))
    with pytest.raises(RankSearchError, match="it crashed") as caught:
        client.study(wire.STUDY).latency()
    assert "ranksearch retry" in caught.value.mend


def test_reports_are_listed_and_had_by_their_id(answers):
    missing = httpx.Response(
        404, json=wire.problem("latency_not_found", 404), headers={"content-type": "application/problem+json"}
    )
    listed = httpx.Response(200, json=wire.page(wire.latency_comparison()))
    client, _ = answers(listed, told(), missing)
    assert [one.id for one in client.latencies.list(wire.STUDY)] == ["job_lat"]
    assert client.latencies.get(wire.STUDY, "job_lat").verdict.startswith("Faster")
    with pytest.raises(NotFoundError):
        client.latencies.get(wire.STUDY, "job_other")
