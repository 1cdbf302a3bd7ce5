from __future__ import annotations

import numpy as np
import pytest

from service.search.allocations import equal_error, uniform
from service.search.sampler import Past, SearchPlan, choose
from service.search.space import space_of
from tests.service import synthetic


@pytest.fixture
def plan(wide) -> SearchPlan:
    return SearchPlan({"macs": wide.dense.macs // 3}, "maximize", seed=7, n_startup_trials=5)


def run(space, plan, count, value=lambda positions: float(-np.var(positions))):
    past: list[Past] = []
    for index in range(count):
        choice = choose(space, plan, index, past)
        positions = tuple(choice.positions.tolist())
        past.append(Past(index, choice.origin, positions, value(choice.positions)))
    return past


def test_the_first_two_trials_are_the_strong_allocations(wide, plan):
    past = run(wide, plan, 3)
    assert [trial.origin for trial in past] == ["uniform", "equal_error", "sampler"]
    assert past[0].positions == tuple(uniform(wide, plan.limits))
    assert past[1].positions == tuple(equal_error(wide, plan.limits))


def test_no_trial_is_above_the_budget(wide, plan):
    assert all(wide.fits(np.array(trial.positions), plan.limits) for trial in run(wide, plan, 30))


def test_no_ranks_are_tried_twice(wide, plan):
    past = run(wide, plan, 60)
    assert len({trial.positions for trial in past}) == 60


def test_a_space_smaller_than_the_study_repeats_itself_instead_of_hanging(space):
    plan = SearchPlan({"macs": space.cheapest().macs}, "maximize", 0, 2)
    assert len(run(space, plan, 6)) == 6


def test_the_same_seed_gives_the_same_trials(wide, plan):
    assert run(wide, plan, 20) == run(wide, plan, 20)


def test_another_seed_gives_other_trials(wide, plan):
    other = SearchPlan(plan.limits, plan.direction, plan.seed + 1, plan.n_startup_trials)
    assert run(wide, plan, 10)[2:] != run(wide, other, 10)[2:]


def test_the_search_stays_around_the_better_strong_allocation(wide, plan):
    def prefers_uniform(positions):
        return 1.0 if (positions == uniform(wide, plan.limits)).all() else 0.0

    third = np.array(run(wide, plan, 3, prefers_uniform)[2].positions)
    distance = [np.abs(third - start(wide, plan.limits)).sum() for start in (uniform, equal_error)]
    assert distance[0] < distance[1]


def test_minimising_prefers_the_smaller_value(wide, plan):
    smaller = SearchPlan(plan.limits, "minimize", plan.seed, plan.n_startup_trials)
    value = {0: 1.0, 1: 2.0}
    past = [Past(i, t.origin, t.positions, value[i]) for i, t in enumerate(run(wide, smaller, 2))]
    third = choose(wide, smaller, 2, past).positions
    distance = [np.abs(third - start(wide, plan.limits)).sum() for start in (uniform, equal_error)]
    assert distance[0] < distance[1]


def test_running_trials_are_not_sampled_again(wide, plan):
    past = run(wide, plan, 12)
    first = choose(wide, plan, 12, past)
    running = [*past, Past(12, "sampler", tuple(first.positions.tolist()), None)]
    again = choose(wide, SearchPlan(plan.limits, plan.direction, plan.seed, plan.n_startup_trials), 12, running)
    assert (again.positions != first.positions).any()


def test_the_search_gets_better_than_its_starts(wide, plan):
    target = equal_error(wide, plan.limits) + np.where(np.arange(20) % 2, 1, -1)

    def value(positions):
        return -float(np.abs(positions - target).sum())

    past = run(wide, plan, 60, value)
    assert max(trial.value for trial in past[2:]) > max(trial.value for trial in past[:2])


def test_equal_allocations_are_not_tried_twice(plan):
    alike = space_of(
        synthetic.profile([synthetic.site(f"layer{i}", 10_000, 100, points=15) for i in range(4)]), ["cp3"]
    )
    limits = {"macs": alike.dense.macs // 2}
    assert (uniform(alike, limits) == equal_error(alike, limits)).all()
    past = run(alike, SearchPlan(limits, "maximize", seed=7, n_startup_trials=5), 2)
    assert [trial.origin for trial in past] == ["uniform", "sampler"]
    assert past[0].positions != past[1].positions
