from datetime import UTC, datetime, timedelta

import pytest

from ranksearch.contracts.studies import Study
from ranksearch.terminal.characters import ASCII, UNICODE
from ranksearch.terminal.study_head import study_head
from tests.ranksearch import wire

PROGRESS = {"n_trials": 40, "complete": 20, "failed": 2, "running": 3, "waiting": 10, "pruned": 5}


def head(width=100, characters=UNICODE, **members):
    told = Study.model_validate(wire.study(**{"progress": PROGRESS, "started_at": wire.NOW, **members}))
    return [line.plain for line in study_head(told, width, characters)]


def test_it_tells_name_state_goal_and_budget():
    name, goal, *_ = head(80)
    assert name == f"first  {wire.STUDY}" + " " * 46 + "running"
    assert goal == "best accuracy, macs ≤ 40% (macs 400 k; dense macs 1 M)"


def test_it_tells_how_far_it_is_and_when_it_ends():
    soon = datetime.now(UTC) + timedelta(minutes=6, seconds=10)
    bar, words = head(characters=ASCII, expected_at=soon.isoformat())[2].split(" ", 1)
    assert (len(bar), bar.count("#")) == (35, 24)
    assert words == "27/40 trials, 3 running, ends in about 6 min, 2 failed, 5 pruned"


def test_what_is_rarer_goes_first_where_there_is_no_room():
    soon = datetime.now(UTC) + timedelta(minutes=6, seconds=10)
    assert head(60, expected_at=soon.isoformat())[2].endswith(" 27/40 trials, 3 running, ends in about 6 min")
    assert head(30)[2].endswith(" 27/40 trials")


@pytest.mark.parametrize("running", [3, 0])
def test_while_trials_are_made_there_is_nothing_to_explain(running):
    assert len(head(progress={**PROGRESS, "running": running})) == 3


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"waiting_for": "no worker is connected"}, "no worker is connected"),
        ({"state": "queued"}, "waits for its turn"),
        (
            {"progress": {**PROGRESS, "complete": 33, "running": 0, "waiting": 0}},
            "measures its best trials again, on all images",
        ),
        ({"state": "failed", "started_at": None, "reason": "all of them failed"}, "all of them failed"),
        ({"state": "completed", "finished_at": "2026-01-02T03:06:35Z"}, "took 2 min 30 s"),
    ],
)
def test_else_it_says_why(members, reason):
    assert head(**members)[3:] == [reason]


def test_a_long_reason_takes_three_lines_and_no_more():
    shown = head(60, waiting_for="word " * 100)
    assert (len(shown), shown[-1].endswith(" …")) == (6, True)


@pytest.mark.parametrize("width", [10, 20, 30, 60, 200])
def test_no_line_is_wider_than_there_is_room(width):
    shown = head(width, name="a study of the largest network that we have had so far", waiting_for="nobody is there")
    assert max(map(len, shown)) <= width


def test_a_name_cannot_steer_the_terminal():
    assert "\u202e" not in "".join(head(name="a\u202eb"))
