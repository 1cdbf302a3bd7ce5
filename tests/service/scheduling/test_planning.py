"""What the search is told of a study and of what went before."""

from __future__ import annotations

import pytest

from service.scheduling import planning
from tests.service import synthetic


@pytest.fixture
def asked(monkeypatch):
    """Every call of the search: (space, plan, index, past)."""
    calls = []
    choose = planning.choose

    def seen(*args):
        calls.append(args)
        return choose(*args)

    monkeypatch.setattr(planning, "choose", seen)
    return calls


def test_the_search_is_told_what_the_study_asks_for(service, asked):
    changes = {"objectives": ["macs"], "max_drop": 0.02, "sampler": "local", "warm_starts": ["energy"], "seed": 7}
    service.submit(constraints={"params": 900}, n_startup_trials=3, n_trials=1, **changes)
    service.agent(measure=lambda _job: {"dense_value": 0.9}).work()
    plan = asked[0][1]
    assert (plan.objectives, plan.max_drop, plan.sampler, plan.warm_starts) == (("macs",), 0.02, "local", ("energy",))
    assert (plan.limits, plan.direction, plan.seed, plan.n_startup_trials) == ({"params": 900}, "maximize", 7, 3)
    assert (plan.judged, plan.transfer) == (None, ())


def test_the_search_is_told_how_earlier_trials_went(service, asked):
    service.prepare(profile=synthetic.timed(synthetic.profile()))
    service.submit(n_trials=4, constraints={"latency_ms": 8.0})

    def measure(job):
        latency = synthetic.latency(9.0 if job["trial"] == 1 else 7.0, 10.0)
        batches = {"batch_values": [0.5] if job["trial"] == 2 else [0.25, 0.75]}
        return {"latency": latency, "kl": 0.5, "dense_value": 0.9, "pruned": job["trial"] == 2, **batches}

    service.agent(value=lambda job: [0.8, 0.7, 0.1, 0.1][job["trial"]], measure=measure).work()
    first, second, third = asked[3][3]
    assert (first.number, first.value, first.guide, first.feasible, first.latency_ms) == (0, 0.8, 0.5, True, 7.0)
    assert first.drop == pytest.approx(0.1)
    assert (second.feasible, second.latency_ms) == (False, 9.0)
    assert (third.pruned, third.drop, third.guide) == (True, None, pytest.approx(0.5 + 0.25))
    assert (first.complete, third.complete) == (True, False)


def test_a_running_trial_has_positions_and_nothing_else(service, asked):
    service.submit(n_trials=4)
    agent = service.agent()
    agent.work(1)
    agent.must_claim("trial")
    agent.must_claim("trial")
    (running,) = asked[1][3]
    assert len(running.positions) == 4
    assert (running.value, running.guide, running.drop, running.feasible) == (None, None, None, None)


def test_failed_trials_are_not_told_of(service, asked):
    service.submit(n_trials=4)
    agent = service.agent()
    agent.work(1 + 1)
    agent.fail(agent.must_claim("trial"))
    agent.work(1)
    assert [trial.number for trial in asked[2][3]] == [0]


def test_options_are_judged_by_the_table_and_all_trials_see_the_same_space(service, asked):
    service.submit(n_trials=2, warm_starts=["greedy"])
    service.agent().work()
    space, judged = asked[0][0], asked[0][1].judged
    assert judged.errors[1].tolist() == pytest.approx([0.1**0.5] * 7 + [0.0, 0.0])
    assert judged.costs is space.costs
    assert asked[1][1].judged is judged


def earlier_and_later(service, earlier=None, later=None, kl=lambda _job: 0.25):
    first = service.submit(n_trials=4, **(earlier or {}))["id"]
    service.agent(measure=lambda job: {"kl": kl(job), "dense_value": 0.9}).work()
    second = service.submit(n_trials=3, from_studies=[first], **(later or {}))["id"]
    service.agent().work()
    return first, second


def test_trials_of_earlier_studies_are_told_at_this_studys_positions(service, asked):
    service.prepare(profile=synthetic.profile([two_methods(f"l{i}") for i in range(4)]))
    first, _ = earlier_and_later(service, {"methods": ["cp3"]}, {"methods": ["svd", "cp3"]})
    space, plan, *_ = asked[4]
    ranks = [service.trials(first)[number]["ranks"] for number in range(4)]
    told = [
        {name: one.model_dump(mode="json", by_alias=True) for name, one in space.ranks(list(past.positions)).items()}
        for past in plan.transfer
    ]
    assert told == ranks
    assert {past.origin for past in plan.transfer} == {"transfer"}


def two_methods(name):
    return synthetic.with_methods(
        synthetic.site(name, 10_000, 900), synthetic.site(name, 10_000, 900, method="svd", points=5)
    )


def test_trials_that_this_study_cannot_make_are_left_out(service, asked):
    service.prepare(profile=synthetic.profile([two_methods(f"l{i}") for i in range(4)]))
    earlier_and_later(service, {"methods": ["cp3"]}, {"methods": ["svd"]})
    assert asked[4][1].transfer == ()


def test_layers_kept_dense_leave_out_what_factorised_them(service, asked):
    earlier_and_later(service, later={"keep_dense": ["layer2.conv"]})
    assert all(len(past.positions) == 3 for past in asked[4][1].transfer)


def test_trials_are_told_by_this_studys_metric(service, asked):
    earlier_and_later(service, later={"metric": "kl"})
    assert {(past.value, past.guide, past.drop) for past in asked[4][1].transfer} == {(0.25, 0.25, 0.25)}


def test_trials_that_did_not_measure_this_studys_metric_are_left_out(service, asked):
    earlier_and_later(service, later={"metric": "features"})
    assert asked[4][1].transfer == ()


def test_the_best_of_an_earlier_study_is_tried_after_the_warm_starts(service):
    first, second = earlier_and_later(service, kl=lambda job: 0.1 if job["trial"] == 3 else 0.5)
    later = service.trials(second)
    assert [trial["origin"] for trial in later] == ["uniform", "equal_error", "transfer"]
    assert later[2]["ranks"] == service.trials(first)[3]["ranks"]


def test_of_two_services_that_choose_for_one_trial_one_chooses_anew(start, monkeypatch):
    first, second = start(), start()
    study = first.submit(n_trials=6)["id"]
    first.agent().work(1)
    choose, chosen = planning.choose, []

    def overtaken(*args):
        chosen.append(args[2])
        if len(chosen) == 1:
            second.agent("faster").must_claim("trial")
        return choose(*args)

    monkeypatch.setattr(planning, "choose", overtaken)
    assert first.agent("slower").must_claim("trial")["trial"] == 1
    assert chosen == [0, 0, 1]  # the slower one's, the faster one's, the slower one's again
    assert [trial["worker"] for trial in first.trials(study)] == ["faster", "slower"]
