import random

import pytest
from rich.text import Text

from ranksearch.terminal.allotment import Section, allotted, beside


def sections(*sizes):
    return [Section(least, most, lambda rows: []) for least, most in sizes]


def test_where_there_is_room_everybody_gets_the_most():
    assert allotted(30, sections((2, 5), (4, 8), (1, 3))) == [5, 8, 3]


def test_where_there_is_little_the_first_get_their_least():
    assert allotted(6, sections((2, 5), (4, 8), (3, 6))) == [2, 4, 0]


def test_what_does_not_fit_makes_room_for_what_does():
    assert allotted(4, sections((2, 2), (4, 8), (1, 9))) == [2, 0, 2]


def test_what_is_left_over_is_shared_row_by_row():
    assert allotted(12, sections((2, 5), (2, 20), (1, 2))) == [5, 5, 2]


def test_where_there_is_nothing_nobody_gets_anything():
    assert allotted(0, sections((1, 5), (2, 2))) == [0, 0]


@pytest.mark.parametrize("seed", range(50))
def test_no_more_is_given_than_there_is_and_no_row_is_left_that_somebody_wants(seed):
    choice = random.Random(seed)  # noqa: S311 - a test, no secret
    sizes = [(choice.randint(1, 6), choice.randint(6, 20)) for _ in range(choice.randint(1, 6))]
    rows = choice.randint(0, 60)
    given = allotted(rows, sections(*sizes))
    assert sum(given) <= rows
    assert all(one == 0 or least <= one <= most for one, (least, most) in zip(given, sizes, strict=True))
    if sum(given) < rows:
        assert all(one in {0, most} for one, (_, most) in zip(given, sizes, strict=True))


def section(least, most, word):
    return Section(least, most, lambda rows: [Text(f"{word}{row}") for row in range(rows)])


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        (2, ["a0   b0", "a1   b1"]),
        (4, ["a0   b0", "a1   b1", "a2", "a3"]),
    ],
)
def test_beside_each_other_each_has_its_column(rows, lines):
    both = beside(section(1, 5, "a"), section(2, 2, "b"), 5)
    assert (both.least, both.most) == (2, 5)
    assert [line.plain.rstrip() for line in both.draw(rows)] == lines


def test_the_right_one_may_be_the_longer_one():
    drawn = beside(section(1, 1, "a"), section(1, 3, "b"), 5).draw(3)
    assert [line.plain for line in drawn] == ["a0   b0", "     b1", "     b2"]
