import threading
import time

import pytest

from ranksearch.contracts.errors import AccessError, ConflictError, UnavailableError
from ranksearch.contracts.jobs import ClaimRequest
from tests.worker.stand_ins import CRASH, GOOD, SHA, SLOW, Service, child, job
from worker.agent import Agent
from worker.blob_cache import BlobCache
from worker.evaluator import Evaluator

HOLDING = GOOD.replace('"outcome"', f'"holds": ["{SHA}"], "factors": ["{"cd" * 32}"], "outcome"')
CLAIM = ClaimRequest(worker="wrk_1", name="box", device="cpu", version="0")


def agent_of(service, folder, body=GOOD, **options):
    evaluator = Evaluator(cache_dir=folder, command=child(body))
    return Agent(service, service, BlobCache(folder / "blobs", service), evaluator, CLAIM, **options)


@pytest.fixture
def serve(tmp_path):
    """Run an agent until its service has seen a call of a kind, then stop it; the service."""

    def run(service, body, until, timeout=60.0, **options):
        agent = agent_of(service, tmp_path, body, **options)
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


def test_a_service_that_is_away_is_asked_again_and_the_log_says_why_it_was(serve, caplog):
    away = [UnavailableError("service_unreachable", "no answer", got="Name or service not known")]
    service = serve(Service([job()], errors={"claim": away}), GOOD, lambda s: s.named("complete"))
    assert len(service.named("claim")) >= 2
    assert "no answer (Name or service not known); trying again in 0.5 s" in caplog.messages


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
    with pytest.raises(AccessError):
        agent_of(service, tmp_path).run()


def test_a_stop_while_waiting_for_work_ends_the_claim(tmp_path):
    service = Service()
    left = threading.Event()
    service.leave = lambda worker, *, patience=None: left.set()
    service.claim = lambda request, *, patience=None, draining=None: left.wait(20) and None
    agent = agent_of(service, tmp_path)
    thread = threading.Thread(target=agent.run, daemon=True)
    thread.start()
    time.sleep(0.1)
    agent.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_a_service_of_another_version_ends_the_agent(tmp_path):
    service = Service(errors={"claim": [ConflictError("worker_outdated", "no")]})
    with pytest.raises(ConflictError):
        agent_of(service, tmp_path).run()


def test_a_drained_agent_ends_where_it_was_told_to_and_says_goodbye(tmp_path):
    service = Service([job()])
    service.drains.set()
    agent_of(service, tmp_path, exit_when_drained=True).run()
    assert service.named("leave")
    assert not service.named("complete")


def test_a_drained_agent_waits_to_be_undrained_otherwise(serve, monkeypatch):
    monkeypatch.setattr("worker.agent._DRAINED_PAUSE_SECONDS", 0.01)
    service = Service([job()])
    service.drains.set()

    def undrained_after_a_while(service):
        if len(service.named("claim")) >= 3:
            service.drains.clear()
        return service.named("complete")

    serve(service, GOOD, undrained_after_a_while)


def test_claims_say_which_models_the_child_holds(serve):
    service = serve(Service([job()]), HOLDING, lambda s: s.idle.is_set())
    assert [claim.holds for _, claim in service.named("claim")][:2] == [[], [SHA]]


def test_a_child_that_was_ended_holds_nothing(serve):
    jobs = [job("job_1"), job("job_2")]
    service = serve(Service(jobs), f"if number > 1:\n    {CRASH}\n{HOLDING}", lambda s: s.idle.is_set())
    assert [claim.holds for _, claim in service.named("claim")][:3] == [[], [SHA], []]


def test_used_factors_are_offered_to_the_fleet(serve):
    shared = []
    serve(Service([job()]), HOLDING, lambda s: s.named("complete"), share=shared.append)
    assert shared == [["cd" * 32]]


def test_a_worker_says_goodbye_at_its_end(serve):
    service = serve(Service(), GOOD, lambda s: s.idle.is_set())
    assert ("leave", "wrk_1") in service.calls
