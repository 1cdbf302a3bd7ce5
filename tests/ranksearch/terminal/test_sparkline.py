"""The oracle reads the dots back and asks the step function itself, at many more places than there are dots."""

import random

import pytest

from ranksearch.terminal.sparkline import Frame, ascii_line, braille_line

BITS = [(0x01, 0, 0), (0x02, 1, 0), (0x04, 2, 0), (0x08, 0, 1), (0x10, 1, 1), (0x20, 2, 1), (0x40, 3, 0), (0x80, 3, 1)]
"""Unicode's numbering of the dots: bit, row from the top, column."""


def dots(rows):
    """(place from the left, level from below) of every dot of some braille rows."""
    found = set()
    for row, text in enumerate(rows):
        for column, character in enumerate(text):
            pattern = 0 if character == " " else ord(character) - 0x2800
            assert 0 <= pattern < 256
            for bit, down, right in BITS:
                if pattern & bit:
                    found.add((2 * column + right, 4 * len(rows) - 1 - (4 * row + down)))
    return found


def expected(points, frame, places, levels):
    """By place, the lowest and the highest level that the step function takes there, jumps included."""
    spans = {}
    (first, value), *rest = points
    jumps = dict(rest)
    count = 4000
    steps = [frame.first + (frame.last - frame.first) * at / count for at in range(count + 1)] + list(jumps)
    for x in sorted(steps):
        if not first <= x <= points[-1][0]:
            continue
        before = value
        value = jumps.get(x, value)
        place = round((x - frame.first) / (frame.last - frame.first) * (places - 1))
        for told in (before, value):
            share = min(1.0, max(0.0, (told - frame.low) / (frame.high - frame.low)))
            level = round(share * (levels - 1))
            low, high = spans.get(place, (level, level))
            spans[place] = (min(low, level), max(high, level))
    return spans


def some_steps(seed):
    choice = random.Random(seed)  # noqa: S311 - a test, no secret
    count = choice.randint(2, 40)
    at = sorted(choice.sample(range(1, 500), count))
    points = [(0, choice.uniform(0, 1)), *((x, choice.uniform(-0.2, 1.2)) for x in at)]
    return points, Frame(choice.randint(2, 90), choice.randint(1, 8), 0, 500, 0.0, 1.0)


@pytest.mark.parametrize("seed", range(40))
def test_a_braille_line_is_the_step_function(seed):
    points, frame = some_steps(seed)
    rows = braille_line(points, frame)
    assert [len(row) for row in rows] == [frame.width] * frame.height
    spans = expected(points, frame, 2 * frame.width, 4 * frame.height)
    assert dots(rows) == {(place, y) for place, (low, high) in spans.items() for y in range(low, high + 1)}


@pytest.mark.parametrize("seed", range(40))
def test_an_ascii_line_is_in_the_same_rows(seed):
    points, frame = some_steps(seed)
    rows = ascii_line(points, frame)
    assert all(row.isascii() and len(row) == frame.width for row in rows)
    spans = expected(points, frame, frame.width, 3 * frame.height)
    inked = {(x, frame.height - 1 - y) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell != " "}
    assert inked == {(x, y) for x, (low, high) in spans.items() for y in range(low // 3, high // 3 + 1)}


def test_a_fall_drawn_by_hand():
    frame = Frame(width=3, height=1, first=0, last=5, low=0, high=3)
    assert braille_line([(0, 3), (2, 1), (5, 1)], frame) == ["⠉⠧⠤"]
    assert ascii_line([(0, 3), (2, 1), (5, 1)], Frame(6, 1, 0, 5, 0, 2)) == ["^^----"]


def test_what_is_beyond_the_frame_stands_at_its_edge():
    frame = Frame(width=2, height=1, first=0, last=3, low=0, high=1)
    assert dots(braille_line([(0, 99), (2, -99), (3, -99)], frame)) == {
        (0, 3),
        (1, 3),
        *((2, y) for y in range(4)),
        (3, 0),
    }


def test_a_value_that_never_changes_is_in_the_middle():
    frame = Frame(width=4, height=3, first=0, last=9, low=0.5, high=0.5)
    levels = {level for _, level in dots(braille_line([(0, 0.5), (9, 0.5)], frame))}
    assert levels == {frame.level(0.5, 12)}
    assert levels <= {5, 6}


def test_nothing_is_drawn_of_nothing():
    assert braille_line([], Frame(5, 2, 0, 1, 0, 1)) == [" " * 5] * 2


def test_a_row_is_where_the_braille_line_is():
    frame = Frame(width=1, height=5, first=0, last=1, low=0, high=1)
    for value in (0, 0.1, 0.37, 0.5, 0.81, 1):
        rows = braille_line([(0, value), (1, value)], frame)
        assert [at for at, row in enumerate(rows) if row != " "] == [frame.row(value)]
