from ranksearch.contracts.studies import Pareto
from ranksearch.terminal.front_table import front_table
from tests.ranksearch import wire


def drawn(rows=None, width=80, **members):
    section = front_table(Pareto.model_validate(wire.pareto(**members)), width)
    return [line.plain for line in section.draw(section.most if rows is None else rows)]


def points(count):
    one = wire.pareto()["points"][0]
    return [{**one, "trial": at, "values": {"proxy": 0.01 * at, "macs": 1000 - at}} for at in range(count)]


def test_a_trial_is_a_line_with_its_objectives():
    assert drawn() == [
        "front: trial    kl   macs  accuracy  origin",
        "           4  0.01  400 k    90.00%  search",
        "           7  0.04  200 k    90.00%  search",
    ]


def test_an_accuracy_that_is_an_objective_is_told_once():
    assert drawn(metric="accuracy")[0].split() == ["front:", "trial", "accuracy", "macs", "origin"]


def test_a_latency_is_in_milliseconds():
    point = {**points(1)[0], "values": {"proxy": 0.01, "latency_ms": 2.345}}
    assert drawn(objectives=["proxy", "latency_ms"], points=[point])[1].split()[:3] == ["0", "0.01", "2.35"]


def test_of_more_trials_than_lines_both_ends_are_shown_and_some_between():
    shown = drawn(rows=7, points=points(41))
    assert [line.split()[0] for line in shown[1:-1]] == ["0", "10", "20", "30", "40"]
    assert shown[-1] == f"and 36 more between: ranksearch pareto {wire.STUDY}"


def test_it_keeps_to_its_rows():
    assert [len(drawn(rows=rows, points=points(9))) for rows in range(4, 11)] == list(range(4, 11))
