"""What ends a study before all its trials are made."""

from __future__ import annotations

import pytest
from optuna.trial import TrialState
from sqlalchemy import update

from service.scheduling.lifecycle import stop_overdue
from service.scheduling.reconcile import sweep
from service.storage.tables import StudyRow


def began_ago(service, seconds):
    """Every study that runs was begun ``seconds`` earlier than it was."""
    with service.backend.writing() as session:
        session.execute(update(StudyRow).values(started_at=StudyRow.started_at - seconds))


def counts(answered):
    return {word: answered["progress"][word] for word in ("complete", "failed", "running", "waiting", "dropped")}


def kinds(agent):
    return [job["task"]["kind"] for job in agent.done]


def test_a_target_reached_drops_the_rest(service):
    study = service.submit(n_trials=9, target=0.8)["id"]
    agent = service.agent(value=lambda job: 0.8 if job["trial"] == 2 else 0.1)
    agent.work()
    answered = service.study(study)
    assert (answered["state"], answered["stopped_by"], answered["best_trial"]) == ("completed", "target", 2)
    assert counts(answered) == {"complete": 3, "failed": 0, "running": 0, "waiting": 0, "dropped": 6}
    assert "target" in answered["reason"]
    assert kinds(agent) == ["baseline", *["trial"] * 3, "compress"]


def test_a_target_of_a_metric_that_is_to_be_small_is_reached_from_above(service):
    study = service.submit(n_trials=9, metric="kl", target=0.05)["id"]
    service.agent(value=lambda job: 0.05 if job["trial"] == 3 else 0.9).work()
    assert (service.study(study)["stopped_by"], service.study(study)["best_trial"]) == ("target", 3)


def test_a_target_is_not_reached_by_a_trial_out_of_its_bounds(service):
    study = service.submit(objectives=["macs"], max_drop=0.01, n_trials=4, target=0.5)["id"]
    agent = service.agent(value=lambda _job: 0.6, measure=lambda _job: {"dense_value": 0.9})
    agent.work()
    assert service.study(study)["stopped_by"] is None


def test_a_plateau_counts_from_the_latest_improvement(service):
    study = service.submit(n_trials=20, plateau=3)["id"]
    service.agent(value=lambda job: {0: 0.4, 2: 0.5}.get(job["trial"], 0.1)).work()
    answered = service.study(study)
    assert (answered["stopped_by"], answered["best_trial"], answered["progress"]["complete"]) == ("plateau", 2, 6)
    assert "3" in answered["reason"]


def test_a_trial_as_good_as_the_best_does_not_end_a_plateau(service):
    study = service.submit(n_trials=20, plateau=3)["id"]
    service.agent(value=lambda _job: 0.4).work()
    assert service.study(study)["progress"]["complete"] == 4


def test_trials_made_before_an_improvement_do_not_count_against_it(service):
    study = service.submit(n_trials=20, plateau=3)["id"]
    agent = service.agent(value=lambda job: 0.9 if job["trial"] == 4 else 0.1)
    agent.complete(agent.must_claim("baseline"))
    jobs = [agent.must_claim("trial") for _ in range(5)]
    for job in reversed(jobs):
        agent.complete(job)
    assert service.study(study)["stopped_by"] is None


def test_a_front_that_grows_is_no_plateau(service):
    objectives = ["proxy", "macs"]
    growing, resting = (
        service.submit(objectives=objectives, constraints={}, n_trials=8, plateau=3)["id"] for _ in range(2)
    )

    def measure(job):
        macs = 50_000 - 1000 * job["trial"] if job["study"] == growing else 50_000
        return {"cost": {"macs": macs, "params": 300}}

    service.agent(value=lambda _job: 0.5, measure=measure).work()
    assert [service.study(study)["stopped_by"] for study in (growing, resting)] == [None, "plateau"]


def test_running_trials_finish_and_may_still_win(service):
    study = service.submit(n_trials=9, target=0.8)["id"]
    agent = service.agent(value=lambda job: 0.8 if job["trial"] == 1 else 0.95)
    agent.complete(agent.must_claim("baseline"))
    first, second = agent.must_claim("trial"), agent.must_claim("trial")
    agent.complete(second)
    assert counts(service.study(study)) == {"complete": 1, "failed": 0, "running": 1, "waiting": 0, "dropped": 7}
    agent.complete(first)
    assert (service.study(study)["state"], service.study(study)["best_trial"]) == ("completed", 0)


def test_a_planned_trial_that_waits_is_still_run(service):
    study = service.submit(n_trials=9, target=0.8)["id"]
    agent = service.agent(value=lambda job: 0.8 if job["trial"] == 1 else 0.1)
    agent.complete(agent.must_claim("baseline"))
    first, second = agent.must_claim("trial"), agent.must_claim("trial")
    assert agent.post(first, "release").status_code == 204
    agent.complete(second)
    assert service.study(study)["progress"]["waiting"] == 1
    agent.work()
    assert service.study(study)["progress"]["complete"] == 2


def test_dropped_trials_are_unknown_to_optuna_and_not_listed(service):
    study = service.submit(n_trials=9, target=0.0)["id"]
    service.agent().work()
    assert len(service.trials(study)) == 1
    seen = service.optuna(study)
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE]


def test_the_sweep_ends_a_study_whose_time_is_up(service):
    study = service.submit(n_trials=9, timeout=100)["id"]
    agent = service.agent()
    agent.work(1 + 2)
    sweep(service.backend)
    assert service.study(study)["state"] == "running"
    began_ago(service, 101)
    sweep(service.backend)
    answered = service.study(study)
    assert (answered["state"], answered["stopped_by"]) == ("completed", "timeout")
    assert counts(answered) == {"complete": 2, "failed": 0, "running": 0, "waiting": 0, "dropped": 7}
    assert "100 seconds" in answered["reason"]


def test_a_claim_after_the_time_is_up_gets_no_new_trial(service):
    study = service.submit(n_trials=9, timeout=100)["id"]
    agent = service.agent()
    agent.work(1 + 2)
    began_ago(service, 101)
    assert agent.must_claim()["task"]["kind"] == "compress"
    assert service.study(study)["stopped_by"] == "timeout"


def test_a_claim_goes_on_to_the_next_study_when_the_time_of_one_is_up(service):
    service.submit(n_trials=9, timeout=100)
    agent = service.agent()
    agent.work(1)
    agent.must_claim("trial")  # keeps the first study running
    began_ago(service, 101)
    other = service.submit(n_trials=1)["id"]
    agent.complete(agent.must_claim("baseline"))
    assert agent.must_claim("trial")["study"] == other


def test_time_does_not_run_before_the_first_claim(service):
    study = service.submit(n_trials=3, timeout=0.000001)["id"]
    assert stop_overdue(service.backend) == 0
    assert service.study(study)["state"] == "queued"


def test_time_that_is_up_before_any_trial_fails_the_study_and_says_so(service):
    study = service.submit(n_trials=3, timeout=100)["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    began_ago(service, 101)
    sweep(service.backend)
    answered = service.study(study)
    assert (answered["state"], answered["error"]["code"]) == ("failed", "study_failing")
    assert "100 seconds" in answered["reason"]


def test_a_study_without_a_timeout_is_never_overdue(service):
    service.submit(n_trials=3)
    service.agent().work(1)
    began_ago(service, 1e9)
    assert stop_overdue(service.backend) == 0


def test_a_rule_met_by_the_last_trial_stops_nothing(service):
    study = service.submit(n_trials=3, target=0.8)["id"]
    service.agent(value=lambda job: 0.8 if job["trial"] == 2 else 0.1).work()
    answered = service.study(study)
    assert (answered["state"], answered["stopped_by"], answered["reason"]) == ("completed", None, None)


@pytest.mark.parametrize("stopped", [True, False])
def test_what_a_user_cancels_is_not_counted_as_dropped(service, stopped):
    study = service.submit(n_trials=9, **({"target": 0.8} if stopped else {}))["id"]
    agent = service.agent(value=lambda _job: 0.9)
    agent.complete(agent.must_claim("baseline"))
    first, _ = agent.must_claim("trial"), agent.must_claim("trial")
    agent.complete(first)
    service.http.post(f"/v1/studies/{study}/cancel")
    progress = service.study(study)["progress"]
    assert (progress["failed"], progress["dropped"]) == (1, 7 if stopped else 0)
