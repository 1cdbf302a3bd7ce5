from __future__ import annotations

import numpy as np
import pytest

from service.search.aims import LADDER, aim, merit
from service.search.allocations import equal_error
from service.search.derivation import space_of
from service.search.plan import Past, SearchPlan
from service.search.sampler import choose
from tests.service import synthetic


def plan_for(objectives, limits=None, **changes):
    return SearchPlan(limits or {}, "maximize", 0, 2, objectives=objectives, **changes)


def search(space, plan, count, value, allowed=None):
    """Trials one after another; ``allowed`` is what may be lost, ``value`` what a choice keeps of 1."""
    past = []
    for index in range(count):
        choice = choose(space, plan, index, past)
        kept = value(choice.positions)
        feasible = None if allowed is None else 1 - kept <= allowed
        at = tuple(choice.positions.tolist())
        past.append(Past(index, choice.origin, at, kept, guide=1 - kept, drop=1 - kept, feasible=feasible))
    return past


def kept_of(space):
    weights = np.where(np.arange(len(space)) % 2, 2.0, 0.5) / len(space)
    return lambda positions: 1 - float(weights @ space.error(positions) ** 2)


def test_the_best_proxy_aims_at_the_constraints(wide):
    plan = plan_for(("proxy",), {"macs": 1234.0})
    assert aim(wide, plan, 5, []).limits == {"macs": 1234.0}


@pytest.mark.parametrize("word", ["macs", "params"])
def test_the_smallest_network_is_found_near_where_the_drop_is_just_allowed(wide, word):
    value = kept_of(wide)
    plan = plan_for((word,), max_drop=0.1)
    past = search(wide, plan, 40, value, allowed=0.1)
    cost = {t.number: wide.total(word, np.array(t.positions)) for t in past}
    first = min(cost[t.number] for t in past if t.feasible and t.origin == "equal_error")
    least = min(cost[t.number] for t in past if t.feasible)
    assert least < first  # better than equal error at any budget that was tried
    assert least < 0.8 * wide.whole[word]
    assert any(not t.feasible for t in past)


def test_the_smallest_network_keeps_constraints_as_well(wide):
    plan = plan_for(("macs",), {"params": wide.dense.params * 0.5}, max_drop=0.2)
    for trial in search(wide, plan, 25, kept_of(wide), allowed=0.2):
        assert wide.fits(np.array(trial.positions), plan.limits)


def test_parallel_workers_try_different_budgets(wide):
    plan = plan_for(("macs",), max_drop=0.1)
    past = []
    for index in range(4):
        choice = choose(wide, plan, index, past)
        past.append(Past(index, choice.origin, tuple(choice.positions.tolist()), None))
    assert len({wide.cost(np.array(t.positions)).macs for t in past}) == 4


def test_a_drop_that_nothing_keeps_to_ends_near_the_dense_network(wide):
    past = search(wide, plan_for(("macs",), max_drop=0.0), 15, kept_of(wide), allowed=0.0)
    assert max(wide.cost(np.array(t.positions)).macs for t in past) > 0.9 * wide.dense.macs


def test_a_front_begins_with_a_ladder_of_equal_error(wide):
    plan = plan_for(("proxy", "macs"), {"macs": wide.dense.macs * 0.8})
    past = search(wide, plan, LADDER, kept_of(wide))
    macs = [wide.cost(np.array(t.positions)).macs for t in past]
    assert [t.origin for t in past] == ["equal_error"] * LADDER
    assert macs == sorted(macs, reverse=True)
    assert macs[0] <= 0.8 * wide.dense.macs
    assert macs[-1] < 0.15 * wide.dense.macs


def test_a_fronts_later_trials_beat_its_ladder(wide):
    plan = plan_for(("proxy", "macs"), {"macs": wide.dense.macs * 0.8})
    past = search(wide, plan, 60, kept_of(wide))
    cost = {t.number: wide.cost(np.array(t.positions)).macs for t in past}
    beaten = [
        rung
        for rung in past[1 : LADDER - 1]
        if any(cost[t.number] <= 1.03 * cost[rung.number] and t.guide < 0.97 * rung.guide for t in past[LADDER:])
    ]
    assert len(beaten) >= LADDER - 3


def test_nsga2_searches_a_front_within_the_constraints(wide):
    plan = plan_for(("proxy", "macs"), {"macs": wide.dense.macs * 0.6}, sampler="nsga2")
    past = search(wide, plan, 50, kept_of(wide))
    assert all(wide.fits(np.array(t.positions), plan.limits) for t in past)
    assert len({wide.cost(np.array(t.positions)).macs for t in past}) > 20


def timed(factor=0.5):
    """Layers that are as fast as they have macs, but for a constant."""
    sites = [synthetic.site(f"layer{i}", 10_000 * (i + 1), 100 * (i + 1), points=9) for i in range(5)]
    for site in sites:
        site["latency_ms"] = site["macs"] / 10_000
        for point in site["grids"]["cp3"]:
            point["latency_ms"] = point["macs"] / 10_000 * factor + 0.05
    given = synthetic.profile(sites).model_dump(by_alias=True)
    given["latency"] = {"latency_ms": 20.0, "device": "cpu", "dtype": "float32", "batch": 1, "backend": "torch"}
    return space_of(type(synthetic.profile()).model_validate(given), ["cp3"], latency=True)


def test_a_bound_on_the_latency_is_kept_by_the_sum_over_the_layers():
    space = timed()
    plan = plan_for(("proxy",), {"latency_ms": 8.5})
    for trial in search(space, plan, 15, kept_of(space)):
        assert space.total("latency_ms", np.array(trial.positions)) <= 8.5


def test_a_bound_on_the_latency_is_corrected_by_what_was_measured():
    space = timed()
    plan = plan_for(("proxy",), {"latency_ms": 12.0})
    at = tuple(equal_error(space, {"latency_ms": 12.0}).tolist())
    sum_over_layers = space.total("latency_ms", np.array(at))
    slower = Past(0, "equal_error", at, 0.5, guide=0.5, latency_ms=1.25 * sum_over_layers)
    assert aim(space, plan, 1, [slower]).limits["latency_ms"] == pytest.approx(12.0 / 1.25)


def test_merit_is_the_guide_or_the_metric_turned_downwards():
    plan = plan_for(("proxy",), {"macs": 1.0})
    assert merit(plan, Past(0, "sampler", (), 0.8, guide=0.3)) == 0.3
    assert merit(plan, Past(0, "sampler", (), 0.8)) == pytest.approx(0.2)
    assert merit(plan, Past(0, "sampler", (), None)) is None
