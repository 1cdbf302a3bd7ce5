"""The best trials are measured again on all images before one is chosen."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from service.storage.tables import JobRow
from tests.service import synthetic

FEW = {"search_images": {"calibration": 5, "validation": 10}}
"""Of the twenty of each."""


def final(job):
    """Whether a trial task is a finalist's, seen from its images."""
    return job["task"]["validation"]["stop"] - job["task"]["validation"]["start"] == 20


def agent_of(service, search, finals, **options):
    """By trial number, what the search measures and what the finals do."""
    return service.agent(value=lambda job: (finals if final(job) else search).get(job["trial"], 0.1), **options)


def open_jobs(service, study):
    with service.backend.reading() as session:
        open_ones = (JobRow.study_id == study, JobRow.state.in_(("waiting", "leased")), JobRow.kind != "compress")
        return session.scalar(select(func.count()).where(*open_ones))


def test_the_best_trials_are_measured_again_and_the_best_of_those_wins(service):
    study = service.submit(n_trials=5, finalists=2, **FEW)["id"]
    agent = agent_of(service, {1: 0.8, 3: 0.7}, {1: 0.60, 3: 0.65})
    agent.work()
    answered = service.study(study)
    assert (answered["best_trial"], answered["best_value"], answered["state"]) == (3, 0.65, "completed")
    assert [job["trial"] for job in agent.done if job["task"]["kind"] == "trial"][5:] == [1, 3]


def test_the_winners_ranks_are_the_ones_compressed(service):
    study = service.submit(n_trials=5, finalists=2, **FEW)["id"]
    agent = agent_of(service, {1: 0.8, 3: 0.7}, {1: 0.60, 3: 0.65})
    agent.work()
    assert agent.done[-1]["task"]["kind"] == "compress"
    assert agent.done[-1]["task"]["ranks"] == service.get(f"/v1/studies/{study}/trials/3")["ranks"]


def test_the_best_warm_start_is_a_finalist_though_trials_were_better(service):
    study = service.submit(n_trials=6, finalists=2, **FEW)["id"]
    agent = agent_of(service, {0: 0.3, 1: 0.4, 3: 0.7, 4: 0.9}, {1: 0.8, 4: 0.65})
    agent.work()
    assert [job["trial"] for job in agent.done if job["task"]["kind"] == "trial"][6:] == [1, 4]
    assert service.study(study)["best_trial"] == 1


def test_of_a_single_finalist_it_does_not_take_the_place(service):
    study = service.submit(n_trials=6, finalists=1, **FEW)["id"]
    agent_of(service, {1: 0.4, 4: 0.9}, {4: 0.65}).work()
    assert service.study(study)["best_trial"] == 4


def test_finalists_see_all_images_and_race_nobody(service):
    service.submit(n_trials=3, finalists=1, **FEW)
    agent = service.agent(measure=lambda _job: {"batch_values": [0.1, 0.2]})
    agent.work(1 + 3)
    task = agent.must_claim("trial")["task"]
    assert (task["calibration"]["start"], task["calibration"]["stop"]) == (0, 20)
    assert (task["validation"]["start"], task["validation"]["stop"]) == (20, 40)
    assert task["race"] is None


def test_trials_see_the_searchs_images_only(service):
    service.submit(n_trials=3, **FEW)
    agent = service.agent()
    assert agent.must_claim("baseline")["task"]["validation"]["stop"] == 40
    task = agent.must_claim("trial")["task"]
    assert (task["calibration"]["start"], task["calibration"]["stop"]) == (0, 5)
    assert (task["validation"]["start"], task["validation"]["stop"]) == (20, 30)


@pytest.mark.parametrize(
    ("asked", "trial", "handed_out"),
    [
        ({"finalists": 1, **FEW}, 0, 2),
        ({"finalists": 1}, 2, 2),  # on all images: what is measured is what would be handed out
        ({"finalists": 1, "level": "statistics", **FEW}, 0, 0),
    ],
)
def test_what_is_handed_out_is_refitted_in_all_layers_and_measured_like_that(service, asked, trial, handed_out):
    service.submit(n_trials=3, **asked)
    agent = service.agent()
    agent.work()
    tasks = [job["task"] for job in agent.done]
    trials = [task["sweeps"] for task in tasks if task["kind"] == "trial"]
    assert trials[:3] == [trial] * 3
    assert trials[3:] == ([handed_out] if FEW.items() <= asked.items() else [])
    assert [task["sweeps"] for task in tasks if task["kind"] == "compress"] == [handed_out]


def test_a_study_runs_until_its_finalists_are_measured(service):
    study = service.submit(n_trials=3, finalists=2, **FEW)["id"]
    agent = service.agent()
    agent.work(1 + 3 + 1)
    answered = service.study(study)
    assert (answered["state"], answered["progress"]["complete"]) == ("running", 3)
    agent.work(1)
    assert service.study(study)["state"] == "completed"


def test_a_trial_tells_both_of_its_measurements(service):
    study = service.submit(n_trials=3, finalists=1, **FEW)["id"]
    agent_of(service, {1: 0.8}, {1: 0.6}).work()
    trials = service.trials(study)
    assert (trials[1]["value"], trials[1]["final"]["value"]) == (0.8, 0.6)
    assert [trial["final"] is None for trial in trials] == [True, False, True]


def test_the_best_answer_is_the_finals(service):
    study = service.submit(n_trials=3, finalists=1, **FEW)["id"]
    agent_of(service, {1: 0.8}, {1: 0.6}).work()
    best = service.get(f"/v1/studies/{study}/best")
    assert (best["trial"], best["value"], best["result"]["value"]) == (1, 0.6, 0.6)


def test_there_are_no_finals_where_trials_saw_everything(service):
    service.submit(n_trials=3, finalists=2)
    agent = service.agent()
    agent.work()
    assert len(agent.done) == 1 + 3 + 1


def test_there_are_no_finals_where_none_are_asked_for(service):
    service.submit(n_trials=3, finalists=0, **FEW)
    agent = service.agent()
    agent.work()
    assert len(agent.done) == 1 + 3 + 1


def test_the_same_ranks_are_measured_again_once(service):
    sites = [synthetic.site("only", 10_000, 100, points=2)]
    service.prepare(profile=synthetic.profile(sites, rest=(10, 1)))
    study = service.submit(n_trials=6, finalists=5, **FEW)["id"]
    agent = service.agent(value=lambda _job: 0.5)
    agent.work()
    ranks = {str(trial["ranks"]) for trial in service.trials(study)}
    assert len(agent.done) == 1 + 6 + len(ranks) + 1 < 1 + 6 + 5 + 1


def test_a_finalist_that_fails_keeps_its_result_and_comes_last(service):
    study = service.submit(n_trials=4, finalists=2, **FEW)["id"]
    agent = agent_of(service, {1: 0.9, 2: 0.8}, {2: 0.3})
    agent.work(1 + 4)
    agent.fail(agent.must_claim("trial"), detail="out of memory")
    agent.work()
    answered = service.study(study)
    assert (answered["state"], answered["best_trial"], answered["best_value"]) == ("completed", 2, 0.3)
    assert "1 of 2 finalists" in answered["reason"]
    assert service.trials(study)[1]["state"] == "COMPLETE"


def test_where_all_finalists_fail_the_first_results_count(service):
    study = service.submit(n_trials=4, finalists=2, **FEW)["id"]
    agent = agent_of(service, {1: 0.9, 2: 0.8}, {})
    agent.work(1 + 4)
    for _ in range(2):
        agent.fail(agent.must_claim("trial"))
    answered = service.study(study)
    assert (answered["state"], answered["best_trial"], answered["best_value"]) == ("completed", 1, 0.9)
    assert answered["progress"] == {**answered["progress"], "complete": 4, "failed": 0}


def test_cancelling_during_the_finals_leaves_nothing_open_and_keeps_the_best(service):
    study = service.submit(n_trials=4, finalists=2, **FEW)["id"]
    agent = agent_of(service, {1: 0.9}, {1: 0.5})
    agent.work(1 + 4)
    running = agent.must_claim("trial")
    assert service.http.post(f"/v1/studies/{study}/cancel").json()["state"] == "cancelled"
    assert open_jobs(service, study) == 0
    assert agent.post(running, "complete", outcome=agent.outcome(running)).status_code == 409
    assert (service.study(study)["best_trial"], service.study(study)["best_value"]) == (1, 0.9)


def test_a_finalist_whose_worker_dies_is_measured_by_another(service, let_leases_expire):
    study = service.submit(n_trials=3, finalists=1, **FEW)["id"]
    agent = service.agent()
    agent.work(1 + 3)
    agent.must_claim("trial")
    let_leases_expire()
    service.agent("w2").work()
    assert service.study(study)["state"] == "completed"


def test_a_finalist_cannot_lose_a_race(service):
    service.submit(n_trials=3, finalists=1, **FEW)
    agent = service.agent()
    agent.work(1 + 3)
    job = agent.must_claim("trial")
    answer = agent.post(job, "complete", outcome=agent.outcome(job) | {"pruned": True})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def smallest(service, drops, finals, **changes):
    """A study of the least macs, whose trials lose what is told; the later the trial, the cheaper."""
    request = {"objectives": ["macs"], "max_drop": 0.01, "constraints": {}, "n_trials": 4, "finalists": 2}
    study = service.submit(**{**request, **FEW, **changes})["id"]

    def measure(job):
        return {"dense_value": 0.9, "cost": {"macs": 50_000 - 1000 * job["trial"], "params": 300}}

    service.agent(value=lambda job: 0.9 - (finals if final(job) else drops)[job["trial"]], measure=measure).work()
    return service.study(study)


def test_a_finalist_out_of_its_bounds_on_all_images_is_not_chosen(service):
    answered = smallest(service, [0.0, 0.005, 0.008, 0.02], {1: 0.006, 2: 0.015})
    assert (answered["state"], answered["best_trial"]) == ("completed", 1)
    assert answered["reason"] is None


def test_where_no_finalist_keeps_its_bounds_the_nearest_is_chosen_and_it_is_said(service):
    answered = smallest(service, [0.0, 0.005, 0.008, 0.02], {1: 0.013, 2: 0.012})
    assert (answered["state"], answered["best_trial"]) == ("completed", 2)
    assert "none of the 2 finalists keeps the bounds" in answered["reason"]
    assert "0.012" in answered["reason"]


def test_the_members_of_a_front_are_the_finalists(service):
    study = service.submit(objectives=["proxy", "macs"], constraints={}, n_trials=5, finalists=1, **FEW)["id"]
    macs = {0: 50_000, 1: 40_000, 2: 45_000, 3: 30_000, 4: 35_000}
    values = {0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6, 4: 0.5}  # 2 is beaten by 1, and 4 by 3

    def measure(job):
        return {"cost": {"macs": macs[job["trial"]], "params": 300}}

    agent_of(service, values, values, measure=measure).work()
    measured = [trial["number"] for trial in service.trials(study) if trial["final"] is not None]
    assert measured == [0, 1, 3]


@pytest.mark.parametrize("measured", [True, False])
def test_latencies_are_measured_again_even_where_trials_saw_all_images(service, measured):
    service.prepare(profile=synthetic.timed(synthetic.profile()))
    service.submit(n_trials=3, finalists=2, constraints={"latency_ms": 8.0} if measured else {"macs": "50%"})
    agent = service.agent(measure=lambda _job: {"latency": synthetic.latency(5.0, 10.0)})
    agent.work()
    assert len(agent.done) == 1 + 3 + (2 if measured else 0) + 1
