import json

import pytest

from tests.ranksearch import wire

STUDY = ("GET", f"/v1/studies/{wire.STUDY}")
EVENTS = ("GET", f"/v1/studies/{wire.STUDY}/events")


@pytest.fixture
def finished(service):
    service.answers[STUDY] = [wire.study(), wire.study(), wire.study("completed", 10, best_value=0.9, best_trial=3)]


def test_a_line_for_every_change(ranksearch, finished):
    lines = ranksearch("watch", wire.STUDY).stdout.splitlines()
    assert lines[0] == "0/10 trials, running"


def test_the_end_is_the_study(ranksearch, finished):
    assert "best       accuracy 90.00% (trial 3)" in ranksearch("watch", wire.STUDY).stdout


def test_a_line_says_why_nothing_moves(ranksearch, service):
    waiting = wire.study(waiting_for="no worker is connected")
    service.answers[STUDY] = [wire.study(), wire.study(), waiting, wire.study("completed")]
    assert "0/10 trials, running, no worker is connected" in ranksearch("watch", wire.STUDY).stdout


def test_json_is_one_event_a_line(ranksearch, service):
    service.answers[STUDY] = wire.study("completed")
    service.answers[EVENTS] = [
        wire.stream(wire.event(1, state="running"), wire.event(2, state="completed")),
        wire.stream(),
    ]
    lines = ranksearch("watch", wire.STUDY, "--json").stdout.splitlines()
    assert [json.loads(line)["data"]["state"] for line in lines] == ["running", "completed"]


def test_a_study_that_failed_is_1(ranksearch, service):
    service.answers[STUDY] = wire.study("failed", error=wire.problem("study_failing", 500, detail="all failed"))
    done = ranksearch("watch", wire.STUDY)
    assert (done.exit_code, "all failed" in done.stderr) == (1, True)


def test_watching_has_an_end(ranksearch, service):
    service.answers[STUDY] = wire.study(waiting_for="no worker is connected")
    done = ranksearch("watch", wire.STUDY, "--timeout", "5")
    assert (done.exit_code, "no worker is connected" in done.stderr) == (7, True)
