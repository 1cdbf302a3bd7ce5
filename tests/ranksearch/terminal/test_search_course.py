import random

import pytest

from ranksearch.contracts.insights import History
from ranksearch.contracts.studies import Event, Study
from ranksearch.terminal.search_course import Reference, SearchCourse
from tests.ranksearch import wire


def study(**members):
    return Study.model_validate(wire.study(**members))


def nothing_yet(metric="kl", objectives=("proxy",), **members):
    return History.model_validate(
        {
            "study": wire.STUDY,
            "metric": metric,
            "objectives": list(objectives),
            "last_event": 0,
            "trials": 0,
            **{name: [] for name in ("numbers", "states", "values", "macs", "params", "infeasible", "improvements")},
            "fronts": {},
            "starts": [],
            "finals": [],
            "dense_value": None,
            **members,
        }
    )


def ended(at, number, value, **members):
    return Event.model_validate(
        wire.event(at, "trial", **wire.trial(number, value=value, **{"origin": "sampler", **members}))
    )


def best_so_far(values, is_better):
    """Of values by number, those that are better than all of smaller numbers."""
    return tuple(
        (number, values[number])
        for number in sorted(values)
        if all(is_better(values[number], values[earlier]) for earlier in values if earlier < number)
    )


@pytest.mark.parametrize("metric", ["kl", "accuracy"])
@pytest.mark.parametrize("seed", range(20))
def test_trials_that_end_in_any_order_give_the_best_so_far_by_number(seed, metric):
    choice = random.Random(seed)  # noqa: S311 - a test, no secret
    course, values = SearchCourse.of(study(metric=metric), nothing_yet(metric)), {}
    numbers = list(range(30))
    choice.shuffle(numbers)
    for at, number in enumerate(numbers, 1):
        values[number] = choice.choice([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
        course.hear(ended(at, number, values[number]))
        is_better = (lambda a, b: a > b) if metric == "accuracy" else (lambda a, b: a < b)
        assert course.now().steps == best_so_far(values, is_better)


def test_only_complete_trials_within_the_bounds_count():
    course = SearchCourse.of(study(metric="kl"), nothing_yet())
    course.hear(ended(1, 0, 0.5))
    course.hear(ended(2, 1, 0.1, feasible=False))
    course.hear(ended(3, 2, 0.1, state="PRUNED"))
    course.hear(ended(4, 3, None, state="FAIL"))
    assert (course.now().steps, course.now().trials) == (((0, 0.5),), 4)


def test_an_event_that_is_known_already_changes_nothing():
    course = SearchCourse.of(study(metric="kl"), nothing_yet(last_event=7))
    course.hear(ended(7, 0, 0.5))
    assert course.now().steps == ()


def test_warm_starts_finals_and_the_dense_network_are_what_there_is_to_compare_with():
    course = SearchCourse.of(study(metric="kl"), nothing_yet())
    course.hear(ended(1, 0, 0.5, origin="uniform"))
    course.hear(ended(2, 1, 0.3, origin="equal_error"))
    course.hear(ended(3, 2, 0.2))
    course.hear(Event.model_validate(wire.event(4, "baseline", **wire.study(metric="kl", dense_value=0.0))))
    course.hear(ended(5, 2, 0.2, final=wire.result(0.21)))
    course.hear(ended(6, 1, 0.3, origin="equal_error", final=wire.result(0.31)))
    assert course.now().references == (
        Reference("same share", 0.5),
        Reference("same error", 0.3),
        Reference("on all images", 0.21),
        Reference("dense", 0.0),
    )


@pytest.mark.parametrize(
    ("cost", "least", "dense"), [("macs", 333_333, 1_000_000), ("params", 2_500, 5_000), ("latency_ms", 2.0, None)]
)
def test_of_the_smallest_network_the_cost_is_followed(cost, least, dense):
    asked = wire.request(objectives=[cost], max_drop=0.01, constraints={})
    course = SearchCourse.of(study(request=asked), nothing_yet("accuracy", [cost]))
    course.hear(ended(1, 0, 0.9, origin="equal_error", result=wire.result(latency=wire.latency())))
    course.hear(ended(2, 1, 0.99, result=wire.result(latency=wire.latency(latency_ms=2.5))))
    seen = course.now()
    assert (seen.sought, seen.steps) == (cost, ((0, least),))
    assert [reference.value for reference in seen.references] == ([] if dense is None else [dense])


@pytest.mark.parametrize(
    "changes", [{}, {"objectives": ["macs"], "max_drop": 0.05, "metric": "accuracy", "constraints": {}}]
)
def test_told_by_events_alone_it_is_what_the_service_says(workshop, changes):
    name = workshop.submit(n_trials=14, **changes)
    with workshop.client() as client:
        heard = SearchCourse.of(client.studies.get(name), client.studies.history(name))
        assert heard.now().steps == ()
        workshop.agent().work()
        for event in client.studies.events(name):
            heard.hear(event)
        asked = SearchCourse.of(client.studies.get(name), client.studies.history(name))
        thinned = SearchCourse.of(client.studies.get(name), client.studies.history(name, points=4))
    assert len(asked.now().steps) > 1
    assert heard.now() == asked.now() == thinned.now()
