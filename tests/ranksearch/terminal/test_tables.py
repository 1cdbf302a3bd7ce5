from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from ranksearch.contracts.resources import Worker
from ranksearch.contracts.studies import Study
from ranksearch.terminal.tables import ago, studies_table, study_lines, until, workers_table
from tests.ranksearch import wire


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s ago"), (90, "1 min ago"), (7200, "2 h ago"), (2e5, "2 d ago")])
def test_how_long_ago(seconds, text):
    assert ago(datetime.now(UTC) - timedelta(seconds=seconds)) == text


def told(**members):
    return {line[:10].strip(): line[11:] for line in study_lines(Study.model_validate(wire.study(**members)))[1:]}


def shown(table):
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


def test_a_study_tells_what_it_is_after():
    assert (told()["goal"], told()["budget"]) == ("best accuracy", "macs ≤ 400 k (dense: 1 M macs, 5 k params)")


def test_what_became_of_trials_is_counted():
    progress = {**wire.study()["progress"], "pruned": 2, "dropped": 4}
    assert told(progress=progress)["trials"].startswith("0 complete, 0 failed, 2 pruned, 4 not needed, 1 running")


def test_states_that_no_trial_is_in_are_not_listed():
    assert told()["trials"] == "0 complete, 0 failed, 1 running, 9 waiting, of 10"


def test_a_study_that_ended_early_says_why():
    request = wire.request(plateau=30)
    assert told(stopped_by="plateau", request=request)["stopped"] == "30 trials without a better one"


def test_a_reason_of_the_services_says_it_once():
    lines = told(stopped_by="plateau", reason="ended early: no trial of the last 30 was better")
    assert ("stopped" in lines, lines["state"].endswith("of the last 30 was better")) == (False, True)


def test_the_best_divergence_is_told_with_its_accuracy():
    lines = told(metric="kl", best_value=0.0123, best_trial=3, best_accuracy=0.9185, dense_accuracy=0.925)
    assert (lines["best"], lines["dense"]) == ("kl 0.0123, accuracy 91.85% (trial 3)", "accuracy 92.50%")


def test_while_the_finalists_are_measured_it_says_so():
    progress = {**wire.study()["progress"], "complete": 10, "running": 0, "waiting": 0}
    assert "on all images" in told(progress=progress)["finals"]


def test_a_front_is_pointed_to():
    request = wire.request(objectives=["proxy", "macs"])
    assert told(request=request)["front"] == f"ranksearch pareto {wire.STUDY}"


def test_no_bound_is_none():
    request = wire.request(objectives=["macs"], max_drop=0.01, constraints={})
    assert told(request=request, limits={})["budget"].startswith("none (dense")


@pytest.mark.parametrize(
    ("bound", "shown"), [("50%", "latency_ms ≤ 50% of the dense network's ("), (4.25, "latency_ms ≤ 4.25 (")]
)
def test_a_bound_on_the_latency_is_told_as_it_was_asked_for(bound, shown):
    request = wire.request(constraints={"latency_ms": bound})
    assert told(request=request, limits={"latency_ms": 4.25})["budget"].startswith(shown)


@pytest.mark.parametrize(
    ("members", "cells"),
    [
        ({"best_value": 0.9, "dense_value": 0.95}, ["accuracy", "90.00%", "90.00%", "95.00%"]),
        (
            {"metric": "kl", "best_value": 0.9, "dense_value": 0.0, "best_accuracy": 0.8, "dense_accuracy": 0.95},
            ["kl", "0.9", "80.00%", "95.00%"],
        ),
    ],
)
def test_a_list_of_studies_tells_the_metric_and_accuracies(members, cells):
    _, line = shown(studies_table([Study.model_validate(wire.study(**members))]))
    assert line.split()[4:8] == cells


def test_a_worker_is_listed_with_how_busy_it_was():
    told = [Worker.model_validate(wire.worker(**members)) for members in ({"busy_share": 0.25}, {})]
    _, line, other = shown(workers_table(told))
    assert ("25%" in line, "%" in other) == (True, False)


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (90.1, "2 min"), (9000.1, "3 h"), (-5, "0 s")])
def test_how_long_it_is_until_then(seconds, text):
    assert until(datetime.now(UTC) + timedelta(seconds=seconds)) == text


def test_a_study_that_moves_says_when_it_will_probably_end():
    soon = datetime.now(UTC) + timedelta(minutes=10.2)
    lines = study_lines(Study.model_validate(wire.study(expected_at=soon.isoformat())))
    assert "ends       in about 10 min" in lines
    assert not any(line.startswith("ends") for line in study_lines(Study.model_validate(wire.study())))
