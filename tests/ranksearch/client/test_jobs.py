import threading

import httpx
import pytest

from ranksearch.contracts.errors import ConflictError, EvaluationError, UnavailableError
from ranksearch.contracts.jobs import ClaimRequest, CompressOutcome
from tests.ranksearch import wire

LEASE = {"token": "t", "seconds": 60, "expires_at": wire.NOW}
JOB = {
    "id": "job_1",
    "task": {"kind": "inspect", "model": {"sha256": wire.sha256(b""), "size": 0}},
    "attempt": 1,
    "lease": LEASE,
}
CLAIM = ClaimRequest(worker="w", name="box", device="cpu", version="1", wait_seconds=20)
DONE = CompressOutcome(sha256=wire.sha256(b"x"), parity=wire.parity())


def nothing():
    return httpx.Response(204)


def test_a_job_is_claimed(answers):
    client, _ = answers(httpx.Response(200, json=JOB))
    assert client.jobs.claim(CLAIM).task.kind == "inspect"


def test_no_job_is_none(answers):
    client, _ = answers(nothing())
    assert client.jobs.claim(CLAIM) is None


@pytest.mark.parametrize(("headers", "told"), [({}, False), ({"Ranksearch-Drain": "1"}, True)])
def test_a_claim_tells_whether_the_worker_is_draining(answers, headers, told):
    client, _ = answers(httpx.Response(204, headers=headers))
    heard = []
    client.jobs.claim(CLAIM, draining=heard.append)
    assert heard == [told]


def test_a_claim_waits_longer_than_the_service_does(answers):
    client, requests = answers(nothing(), timeout=5)
    client.jobs.claim(CLAIM)
    assert requests[0].extensions["timeout"]["read"] == 25


def test_a_claim_whose_answer_is_lost_is_not_repeated(answers):
    client, requests = answers(httpx.ReadError("cut"))
    with pytest.raises(UnavailableError):
        client.jobs.claim(CLAIM)
    assert len(requests) == 1


def test_a_claim_that_never_left_is_repeated(answers):
    client, requests = answers(httpx.ConnectError("refused"), nothing())
    client.jobs.claim(CLAIM)
    assert len(requests) == 2


def test_patience_zero_means_once(answers):
    client, requests = answers(httpx.ConnectError("refused"))
    with pytest.raises(UnavailableError):
        client.jobs.claim(CLAIM, patience=0)
    assert len(requests) == 1


def test_a_lease_is_renewed(answers):
    client, _ = answers(httpx.Response(200, json=LEASE))
    assert client.jobs.renew("job_1", "t").seconds == 60


def test_a_lost_lease_is_a_conflict(answers):
    lost = wire.problem("lease_lost", 409)
    client, _ = answers(httpx.Response(409, json=lost, headers={"content-type": "application/problem+json"}))
    with pytest.raises(ConflictError):
        client.jobs.complete("job_1", "t", DONE)


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda jobs: jobs.release("job_1", "t"), "/v1/jobs/job_1/release"),
        (lambda jobs: jobs.complete("job_1", "t", DONE), "/v1/jobs/job_1/complete"),
        (lambda jobs: jobs.fail("job_1", "t", EvaluationError("evaluation_failed", "x")), "/v1/jobs/job_1/fail"),
    ],
)
def test_what_a_worker_hands_in_is_handed_in_again_after_a_cut(answers, call, path):
    client, requests = answers(httpx.ReadError("cut"), nothing())
    call(client.jobs)
    assert [request.url.path for request in requests] == [path, path]


def test_a_failure_carries_its_problem(answers):
    client, requests = answers(nothing())
    client.jobs.fail("job_1", "t", EvaluationError("evaluation_timeout", "too slow"), retry=True)
    assert b'"code":"evaluation_timeout"' in requests[0].content
    assert b'"retry":true' in requests[0].content


def test_two_threads_may_use_one_client(serve):
    met = threading.Barrier(2, timeout=5)

    def handler(request):
        met.wait()  # both are in a request at the same time
        return httpx.Response(200, json=LEASE)

    client = serve(handler)
    threads = [threading.Thread(target=client.jobs.renew, args=("job_1", "t")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert not met.broken
