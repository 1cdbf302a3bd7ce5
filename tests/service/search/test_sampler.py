from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksearch.contracts.profiles import ModelProfile
from service.search.allocations import equal_error, uniform
from service.search.changes import judged
from service.search.derivation import space_of
from service.search.feasibility import bottom, thriftiest
from service.search.sampler import Past, SearchPlan, choose
from service.search.tpe import ask
from tests.service import synthetic
from tests.service.search.strategies import budgets, spaces


@pytest.fixture(params=["error_model", "local", "tpe", "cmaes", "nsga2", "random"])
def sampler(request) -> str:
    return request.param


@pytest.fixture
def plan(wide) -> SearchPlan:
    return SearchPlan({"macs": wide.dense.macs // 3}, "maximize", seed=7, n_startup_trials=5, sampler="tpe")


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


def test_no_trial_is_above_the_budget_by_any_sampler(wide, plan, sampler):
    past = run(wide, replace(plan, sampler=sampler), 30)
    assert all(wide.fits(np.array(trial.positions), plan.limits) for trial in past)


def test_no_ranks_are_tried_twice_by_any_sampler(wide, plan, sampler):
    past = run(wide, replace(plan, sampler=sampler), 45)
    assert len({trial.positions for trial in past}) == 45


def test_the_same_seed_gives_the_same_trials_of_any_sampler(mixed, sampler):
    plan = SearchPlan({"macs": mixed.dense.macs // 3}, "minimize", seed=3, n_startup_trials=3, sampler=sampler)
    guide = sensitive(mixed)
    assert run(mixed, plan, 14, guide) == run(mixed, plan, 14, guide)


def sensitive(space):
    """A divergence to which the sites of every second depth contribute ten times as much."""
    weights = np.where(np.arange(len(space)) % 2, 10.0, 1.0) / len(space)
    return lambda positions: float(weights @ space.error(positions) ** 2) + 0.01


@pytest.mark.parametrize("sampler", ["error_model", "local", "tpe", "cmaes"])
def test_samplers_that_learn_get_better_than_the_warm_starts(wide, plan, sampler):
    past = run(wide, replace(plan, direction="minimize", sampler=sampler), 60, sensitive(wide))
    assert min(trial.value for trial in past[2:]) < 0.95 * min(trial.value for trial in past[:2])


def test_the_error_model_comes_closest_where_errors_add_up(wide, plan):
    best = {
        name: min(t.value for t in run(wide, replace(plan, direction="minimize", sampler=name), 40, sensitive(wide)))
        for name in ("error_model", "local", "tpe", "cmaes", "random")
    }
    assert min(best, key=best.get) == "error_model"


def test_auto_is_the_error_model(wide, plan):
    assert run(wide, replace(plan, sampler="auto"), 8) == run(wide, replace(plan, sampler="error_model"), 8)


def test_a_space_smaller_than_the_study_repeats_itself_instead_of_hanging(space):
    plan = SearchPlan({"macs": bottom(space, space.preferred).macs}, "maximize", 0, 2)
    assert len(run(space, plan, 6)) == 6


def test_the_same_seed_gives_the_same_trials(wide, plan):
    assert run(wide, plan, 20) == run(wide, plan, 20)


def test_another_seed_gives_other_trials(wide, plan):
    other = replace(plan, seed=plan.seed + 1)
    assert run(wide, plan, 10)[2:] != run(wide, other, 10)[2:]


def test_the_search_stays_around_the_better_strong_allocation(wide, plan):
    def prefers_uniform(positions):
        return 1.0 if (positions == uniform(wide, plan.limits)).all() else 0.0

    third = np.array(run(wide, plan, 3, prefers_uniform)[2].positions)
    distance = [np.abs(third - start(wide, plan.limits)).sum() for start in (uniform, equal_error)]
    assert distance[0] < distance[1]


def test_minimising_prefers_the_smaller_value(wide, plan):
    smaller = replace(plan, direction="minimize")
    value = {0: 1.0, 1: 2.0}
    past = [Past(i, t.origin, t.positions, value[i]) for i, t in enumerate(run(wide, smaller, 2))]
    third = choose(wide, smaller, 2, past).positions
    distance = [np.abs(third - start(wide, plan.limits)).sum() for start in (uniform, equal_error)]
    assert distance[0] < distance[1]


def test_running_trials_are_not_sampled_again(wide, plan):
    past = run(wide, plan, 12)
    first = choose(wide, plan, 12, past)
    running = [*past, Past(12, "sampler", tuple(first.positions.tolist()), None)]
    again = choose(wide, plan, 12, running)
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


def test_what_one_method_was_given_before_there_were_several_it_is_given_still(wide, plan):
    """Written down from the sampler that knew one method a layer; TPE's own choices depend on Optuna's version."""
    past = run(wide, plan, 7)
    assert [sum(trial.positions) for trial in past] == [95, 121, 104, 100, 102, 108, 101]
    assert past[6].positions == (9, 9, 7, 6, 6, 6, 6, 4, 6, 5, 1, 2, 5, 4, 4, 6, 4, 4, 4, 3)


def test_grids_that_nobody_asked_for_change_no_trial(wide, plan):
    sites = [
        synthetic.with_methods(
            synthetic.site(f"layer{i}", 10_000 * (i + 1), 100 * (i + 1), points=15, steepness=0.5 + 0.4 * i),
            synthetic.site(f"layer{i}", 10_000 * (i + 1), 100 * (i + 1), points=9, method="tucker2"),
        )
        for i in range(20)
    ]
    more = space_of(synthetic.profile(sites), ["cp3", "svd"])
    assert run(more, plan, 12) == run(wide, plan, 12)


@pytest.fixture
def third(mixed) -> SearchPlan:
    limits = {"macs": mixed.dense.macs // 3, "params": mixed.dense.params // 3}
    return SearchPlan(limits, "maximize", 7, 10, sampler="tpe")


def by_method(space, trial):
    return [site.options[at].method for site, at in zip(space.sites, trial.positions, strict=True)]


@pytest.mark.parametrize("part", [slice(2, 12), slice(12, 40)], ids=["around the centre", "by TPE"])
def test_trials_choose_among_the_methods_of_a_layer(mixed, third, part):
    chosen = [by_method(mixed, trial) for trial in run(mixed, third, 40)[part]]
    tried = [{methods[layer] for methods in chosen} - {"dense"} for layer in range(9)]
    assert sum(len(methods) > 1 for methods in tried) >= 4
    assert tried[8] == {"cp3"}  # it has no other


def test_no_trial_of_several_methods_is_above_the_budget(mixed, third):
    assert all(mixed.fits(np.array(trial.positions), third.limits) for trial in run(mixed, third, 40))


def test_no_ranks_of_several_methods_are_tried_twice(mixed, third):
    assert len({trial.positions for trial in run(mixed, third, 60)}) == 60


def test_the_same_seed_gives_the_same_trials_of_several_methods(mixed, third):
    assert run(mixed, third, 25) == run(mixed, third, 25)


def test_a_budget_that_one_method_alone_meets_is_searched_by_it(mixed):
    """The preferred method's cheapest ranks cost more than this."""
    limits = {"macs": int(bottom(mixed, thriftiest(mixed, {"macs": 1})).macs * 1.2)}
    plan = SearchPlan(limits, "maximize", 7, 5)
    past = run(mixed, plan, 15)
    assert all(mixed.fits(np.array(trial.positions), limits) for trial in past)
    assert len({trial.positions for trial in past}) > 5


def test_the_search_learns_which_method_is_better(mixed, third):
    def value(positions):
        methods = [site.options[at].method for site, at in zip(mixed.sites, positions, strict=True)]
        return float(methods[:8].count("cp3"))

    past = run(mixed, third, 80, value)
    assert np.mean([trial.value for trial in past[60:]]) > np.mean([trial.value for trial in past[2:12]]) + 1


def test_tpe_is_shown_what_optuna_would_have_read_by_itself(mixed, third, monkeypatch):
    past = run(mixed, third, 20)
    past[-1] = Past(19, "sampler", past[-1].positions, None)
    centre = np.array(past[0].positions)
    quick = ask(mixed, third, 20, centre, past)
    monkeypatch.delattr("service.search.tpe._ArrayTPESampler._get_internal_repr")
    slow = ask(mixed, third, 20, centre, past)
    assert (quick.selection == slow.selection).all()
    assert (quick.levels == slow.levels).all()


@given(st.data())
@settings(max_examples=20)
def test_a_trial_never_costs_more_than_the_budget_whatever_the_grids(data):
    space = data.draw(spaces(methods=3, sites=4, longest=4))
    least = bottom(space, thriftiest(space, {"macs": space.dense.macs, "params": space.dense.params}))
    plan = SearchPlan(data.draw(budgets(least, space.dense)), "maximize", seed=1, n_startup_trials=3)
    for trial in run(space, plan, 7):
        cost = space.cost(np.array(trial.positions))
        assert all(getattr(cost, word) <= limit for word, limit in plan.limits.items())


def with_rules(space_profile):
    """Rules that want the first half of the layers to keep everything and the others little."""
    for at, site in enumerate(space_profile["sites"]):
        wants = [int(site["macs"] * share * (1.0 if at < 2 else 0.3)) for share in (0.1, 0.3, 0.6, 1.0)]
        site["rules"] = {"vbmf": wants, "energy": wants[::-1][::-1]}
    return ModelProfile.model_validate(space_profile)


def test_warm_starts_come_in_the_order_asked_for_and_under_their_names():
    ruled = space_of(with_rules(synthetic.profile().model_dump(by_alias=True)), ["cp3"])
    table = {site.name: [(0, 0.4), (3, 0.1), (6, 0.01)] for site in ruled.sites}
    starts = ("energy", "greedy", "uniform", "vbmf", "equal_error")
    plan = SearchPlan(
        {"macs": ruled.dense.macs // 2}, "minimize", 0, 2, warm_starts=starts, judged=judged(ruled, table)
    )
    names = [choose(ruled, plan, index, ()).origin for index in range(5)]
    assert names == list(starts)


def test_greedy_waits_for_its_table_and_comes_when_it_is_there(space):
    plan = SearchPlan({"macs": space.dense.macs // 2}, "minimize", 0, 2, warm_starts=("greedy", "uniform"))
    past = run(space, plan, 3, lambda positions: 0.5)
    assert [trial.origin for trial in past] == ["sampler", "uniform", "sampler"]
    table = {site.name: [(0, 0.4 * at), (6, 0.0)] for at, site in enumerate(space.sites)}
    measured = replace(plan, judged=judged(space, table))
    assert choose(space, measured, 3, past).origin == "greedy"
    past.append(Past(3, "greedy", tuple(choose(space, measured, 3, past).positions.tolist()), 0.5))
    assert choose(space, measured, 4, past).origin == "sampler"


def test_the_best_of_an_earlier_study_is_tried_after_the_warm_starts_within_the_present_budget(wide, plan):
    earlier = run(wide, replace(plan, limits={"macs": wide.dense.macs // 2}), 6)
    transfer = replace(plan, transfer=tuple(earlier))
    choice = choose(wide, transfer, 2, run(wide, plan, 2))
    assert choice.origin == "transfer"
    assert wide.fits(choice.positions, plan.limits)


def test_what_an_earlier_study_learnt_is_not_learnt_again(wide, plan):
    guide = sensitive(wide)
    new = replace(plan, direction="minimize", sampler="error_model")
    earlier = run(wide, replace(new, limits={"macs": wide.dense.macs * 2 // 5}), 40, guide)
    alone = run(wide, new, 8, guide)
    helped = run(wide, replace(new, transfer=tuple(earlier)), 8, guide)
    assert min(trial.value for trial in helped) < min(trial.value for trial in alone)
