import threading
import time

import pytest

from ranksearch.contracts.errors import AccessError, ConflictError, UnavailableError
from ranksearch.contracts.jobs import ClaimRequest
from tests.worker.stand_ins import CRASH, GOOD, SLOW, Service, child, job
from worker.agent import Agent
from worker.evaluator import Evaluator

CLAIM = ClaimRequest(worker="wrk_1", name="box", device="cpu", version="0")


@pytest.fixture
def serve(tmp_path):
    """Run an agent until its service has seen a call of a kind, then stop it; the service."""

    def run(service, body, until, timeout=20.0):
        agent = Agent(service, service, Evaluator(cache_dir=tmp_path, command=child(body)), CLAIM, tmp_path / "cache")
        thread = threading.Thread(target=agent.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + timeout
        while not until(service):
            assert time.monotonic() < deadline, service.calls[-5:]
            time.sleep(0.01)
        agent.stop()
        thread.join(timeout)
        assert not thread.is_alive()
        return service

    return run


def test_an_outcome_is_handed_in_with_the_leases_token(serve):
    service = serve(Service([job()]), GOOD, lambda s: s.named("complete"))
    assert service.named("complete")[0][1:3] == ("job_1", "t1")


def test_a_blob_is_downloaded_once_for_many_jobs(serve):
    service = serve(Service([job("job_1"), job("job_2")]), GOOD, lambda s: len(s.named("complete")) == 2)
    assert len(service.named("download")) == 1


def test_a_crash_is_reported_for_another_attempt(serve):
    service = serve(Service([job()]), CRASH, lambda s: s.named("fail"))
    _, _, _, error, retry = service.named("fail")[0]
    assert (error.code, retry) == ("evaluation_crashed", True)


def test_a_stop_in_the_middle_hands_the_job_back(serve):
    service = serve(Service([job()]), SLOW, lambda s: s.named("download"))
    assert service.named("release") == [("release", "job_1", "t1")]
    assert not service.named("complete")


def test_a_lost_lease_ends_the_evaluation_and_reports_nothing(serve):
    service = Service([job(seconds=0.2)])
    service.lost.set()
    serve(service, SLOW, lambda s: s.idle.is_set())
    assert not service.named("complete")
    assert not service.named("release")


def test_the_lease_is_renewed_while_the_evaluation_runs(serve):
    service = serve(Service([job(seconds=0.2)]), SLOW, lambda s: len(s.named("renew")) >= 3)
    assert service.named("release")


def test_a_service_that_is_away_is_asked_again(serve):
    away = [UnavailableError("service_unreachable", "away")]
    service = serve(Service([job()], errors={"claim": away}), GOOD, lambda s: s.named("complete"))
    assert len(service.named("claim")) >= 2


def test_a_result_survives_a_service_that_is_away(serve):
    away = [UnavailableError("service_unreachable", "away")] * 2
    service = serve(Service([job()], errors={"complete": away}), GOOD, lambda s: len(s.named("complete")) == 3)
    assert not service.named("fail")


def test_a_refused_result_is_dropped_and_work_goes_on(serve):
    refused = [ConflictError("lease_lost", "another worker has it")]
    service = Service([job("job_1"), job("job_2")], errors={"complete": refused})
    serve(service, GOOD, lambda s: len(s.named("complete")) == 2)
    assert [call[1] for call in service.named("complete")] == ["job_1", "job_2"]


def test_a_wrong_token_ends_the_agent(tmp_path):
    service = Service(errors={"claim": [AccessError("token_invalid", "no")]})
    agent = Agent(service, service, Evaluator(cache_dir=tmp_path, command=child(GOOD)), CLAIM, tmp_path)
    with pytest.raises(AccessError):
        agent.run()


def test_a_stop_while_waiting_for_work_ends_the_claim(tmp_path):
    service = Service()
    left = threading.Event()
    service.leave = lambda worker, *, patience=None: left.set()
    service.claim = lambda request, *, patience=None: left.wait(20) and None
    agent = Agent(service, service, Evaluator(cache_dir=tmp_path, command=child(GOOD)), CLAIM, tmp_path)
    thread = threading.Thread(target=agent.run, daemon=True)
    thread.start()
    time.sleep(0.1)
    agent.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_a_worker_says_goodbye_at_its_end(serve):
    service = serve(Service(), GOOD, lambda s: s.idle.is_set())
    assert ("leave", "wrk_1") in service.calls
