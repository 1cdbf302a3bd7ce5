from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.scheduling.fronts import front

POINTS = st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[st.integers(0, 6)] * n), max_size=12))


def dominates(one, other):
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points):
    expected = {point for point in points if not any(dominates(other, point) for other in points)}
    assert {points[at] for at in front(points)} == expected


@given(POINTS)
def test_of_equal_points_the_first_stands_for_all(points):
    members = front(points)
    assert len({points[at] for at in members}) == len(members)
    assert all(points.index(points[at]) == at for at in members)


@given(POINTS)
def test_the_front_goes_by_the_first_loss(points):
    losses = [points[at][0] for at in front(points)]
    assert losses == sorted(losses)


def test_no_points_have_no_front():
    assert front([]) == []
