import pytest

from ranksearch.contracts.studies import Pareto
from ranksearch.terminal.characters import ASCII, UNICODE
from ranksearch.terminal.line_chart import course_chart, front_chart, scale
from ranksearch.terminal.search_course import Course, Reference
from tests.ranksearch import wire

STEPS = ((0, 0.4), (3, 0.3), (6, 0.2))
STARTS = (Reference("same share", 0.4), Reference("same error", 0.3), Reference("dense", 0.0))


def drawn(course, width=60, rows=6, characters=UNICODE, *, over=False):
    section = course_chart(course, width, characters, over=over)
    assert section.least <= rows <= section.most
    return [line.plain for line in section.draw(rows)]


def test_it_is_said_what_is_drawn_and_what_is_better():
    assert drawn(Course("proxy", "kl", 10, STEPS, ()))[0] == "best kl up to trial 9, lower is better"
    assert drawn(Course("proxy", "accuracy", 10, STEPS, ()))[0].endswith(", higher is better")
    assert drawn(Course("macs", "accuracy", 10, STEPS, ()))[0] == "least macs up to trial 9, lower is better"


def test_what_there_is_to_compare_with_stands_at_its_height():
    rows = drawn(Course("proxy", "kl", 10, STEPS, STARTS), rows=6)[1:]
    labels = [row[-19:].strip() for row in rows]
    assert [label.lstrip("┈⣀⠉⠒⠤ ") for label in labels] == [
        "same share 0.4",
        "same error 0.3",
        "best 0.2",
        "",
        "dense 0",
    ]


def test_its_level_is_a_dashed_line_where_the_course_is_not():
    rows = drawn(Course("proxy", "kl", 10, STEPS, STARTS), rows=6)[1:]
    assert ["┈" in row for row in rows] == [True, True, False, False, True]


def test_in_ascii_there_is_nothing_else():
    rows = drawn(Course("proxy", "kl", 10, STEPS, STARTS), rows=6, characters=ASCII)
    assert all(row.isascii() for row in rows)
    assert [row[-4:].strip(".- ") for row in rows[1:3]] == ["0.4", "0.3"]


@pytest.mark.parametrize("rows", [4, 5, 8])
@pytest.mark.parametrize("width", [20, 60, 200])
def test_it_keeps_to_its_rows_and_its_width(width, rows):
    many = tuple(Reference(f"start {at}", 0.1 * at) for at in range(9))
    shown = drawn(Course("proxy", "kl", 10, STEPS, many), width=width, rows=rows)
    assert len(shown) == rows
    assert max(map(len, shown[1:])) <= width


def test_the_line_ends_with_the_last_trial():
    course = Course("proxy", "kl", 4, ((0, 0.4), (2, 0.2)), ())
    inked = max(len(row[:50].rstrip("┈ ")) for row in drawn(course, width=60, rows=4)[1:])
    assert inked == pytest.approx(50 / 3, abs=2)


def test_before_the_first_trial_it_says_what_will_be_there():
    assert drawn(Course("proxy", "kl", 0, (), ()), rows=1) == [
        "each trial appears here as soon as a worker has measured it"
    ]


def test_trials_without_a_best_one_are_told_apart_from_none():
    assert drawn(Course("macs", "accuracy", 3, (), ()), rows=1) == ["no trial has completed within the bounds yet"]


def test_a_search_that_is_over_and_found_nothing_is_not_drawn():
    assert course_chart(Course("macs", "accuracy", 3, (), ()), 60, UNICODE, over=True) is None


def test_a_far_value_is_named_beside_the_title_instead_of_squashing_the_others():
    assert scale([0.02, 0.021, 0.024, 0.9], best=0.02) == (0.02, 0.024)
    course = Course(
        "proxy", "kl", 10, ((0, 0.024), (4, 0.02)), (Reference("same share", 0.9), Reference("same error", 0.024))
    )
    shown = drawn(course)
    assert shown[0].endswith(" same share 0.9 ↑")
    assert (shown[1].endswith("same error 0.024"), shown[-1].endswith("best 0.02")) == (True, True)


def test_the_best_is_always_within():
    assert scale([0.02, 0.39, 0.4], best=0.02) == (0.02, 0.4)


def test_values_that_are_all_the_same_are_no_scale():
    assert scale([0.3, 0.3, 0.3], best=0.3) == (0.3, 0.3)


def test_one_value_and_the_dense_network_are():
    assert scale([0.3, 0.3, 0.0], best=0.3) == (0.0, 0.3)


def test_a_front_is_drawn_against_its_first_cost():
    section = front_chart(Pareto.model_validate(wire.pareto()), 40, UNICODE)
    title, *rows = [line.plain for line in section.draw(4)]
    assert title == "kl of the front, from 200 k to 400 k macs"
    assert (rows[0].endswith("0.04"), rows[-1].endswith("0.01")) == (True, True)


def test_of_three_objectives_those_that_others_beat_in_two_are_not_drawn():
    one = wire.pareto()["points"][0]
    amounts = [(100, 0.3, 9.0), (200, 0.4, 2.0), (300, 0.1, 9.0)]
    points = [{**one, "values": {"macs": m, "proxy": kl, "latency_ms": ms}} for m, kl, ms in amounts]
    told = Pareto.model_validate(wire.pareto(objectives=["proxy", "macs", "latency_ms"], points=points))
    _, *rows = [line.plain[:36] for line in front_chart(told, 40, UNICODE).draw(4)]
    inked = [len(row.replace(" ", "")) for row in rows]
    assert (inked[0] > 20, inked[1], inked[2]) == (True, 1, 1)


def test_a_front_of_one_trial_is_no_line():
    one = wire.pareto(points=wire.pareto()["points"][:1])
    assert front_chart(Pareto.model_validate(one), 40, UNICODE) is None
