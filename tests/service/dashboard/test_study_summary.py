from __future__ import annotations

import pytest

from ranksearch.contracts.studies import Study
from service.dashboard.study_summary import StudySummary
from tests.ranksearch import wire

BOX = {"started_at": "2026-01-02T03:04:05Z", "finished_at": "2026-01-02T03:05:35Z"}
PROGRESS = {"n_trials": 10, "complete": 3, "failed": 1, "running": 2, "waiting": 4}


def summary(state="running", **members):
    return StudySummary(Study.model_validate(wire.study(state, **{"progress": PROGRESS, **members})))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"state": "queued"}, "waits for its turn"),
        ({"state": "queued", "waiting_for": "no worker is connected"}, "no worker is connected"),
        ({}, "2 trials running"),
        ({"progress": {**PROGRESS, "running": 1}}, "1 trial running"),
        ({"progress": {**PROGRESS, "running": 0}}, "its next trial is about to begin"),
        ({"progress": {**PROGRESS, "complete": 0, "failed": 0, "running": 0}}, "measures the dense network first"),
        ({"request": wire.request(max_parallel=2)}, "2 trials running, as many at once as it may"),
        (
            {"progress": {**PROGRESS, "complete": 10, "failed": 0, "running": 0, "waiting": 0}},
            "measures its best trials again, on all images",
        ),
        ({"state": "completed", **BOX}, "took 1 min 30 s"),
        ({"state": "completed", "stopped_by": "target", **BOX}, "took 1 min 30 s; its target is reached"),
        ({"state": "cancelled", "reason": "cancelled by ada", **BOX}, "took 1 min 30 s; cancelled by ada"),
        ({"state": "cancelled"}, "ended before it began"),
        (
            {"state": "failed", "error": wire.problem("study_failing", 500, detail="all trials failed")},
            "all trials failed",
        ),
    ],
)
def test_it_says_what_a_study_is_doing_or_why_it_does_nothing(members, words):
    assert summary(**members).status == words


def test_bounds_are_in_the_words_of_whoever_asked():
    asked = wire.request(constraints={"macs": "33%", "params": 1_500_000, "latency_ms": 2.5})
    assert summary(request=asked).bounds == ["macs ≤ 33%", "params ≤ 1.5 M", "latency ≤ 2.5 ms"]


def test_the_best_is_told_with_its_accuracy_and_what_remains():
    told = summary(
        metric="kl",
        best_value=0.01234,
        best_accuracy=0.885,
        dense_accuracy=0.9,
        best_cost={"macs": 250_000, "params": 2_500},
        dense={"macs": 1_000_000, "params": 5_000},
    )
    assert (told.best, told.accuracy, told.dense_accuracy) == ("kl 0.0123", "88.50%", "90.00%")
    assert (told.saving, told.remaining_params) == ("macs 25% (4.0×)", 0.5)
    assert told.best_note == "dense 90.00%; kl 0.0123"


def test_before_there_is_a_best_nothing_is_made_up():
    told = summary(metric="accuracy", dense_value=0.9, dense_accuracy=0.9)
    assert (told.best, told.accuracy, told.saving, told.remaining_macs) == (None, None, None, None)
    assert told.best_note == "no trial has ended yet"


def test_it_ends_when_it_has_ended_or_is_expected_to():
    assert summary("completed", **BOX).ends.isoformat() == "2026-01-02T03:05:35+00:00"
    assert summary(expected_at="2026-01-02T05:00:00Z").ends.isoformat() == "2026-01-02T05:00:00+00:00"
    assert summary().ends is None
