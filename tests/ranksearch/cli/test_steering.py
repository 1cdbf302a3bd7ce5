import json

import pytest

from tests.ranksearch import wire

STUDY = ("GET", f"/v1/studies/{wire.STUDY}")
PAUSED = wire.study("paused", 3, reason="paused by ada: the box moves", waiting_for="paused by ada")


@pytest.mark.parametrize(
    ("command", "state"), [("pause", "paused"), ("resume", "running"), ("retry", "running"), ("cancel", "cancelled")]
)
def test_it_shows_the_study_as_it_became(ranksearch, service, command, state):
    service.answers["POST", f"/v1/studies/{wire.STUDY}/{command}"] = wire.study(state)
    assert f"state      {state}" in ranksearch(command, wire.STUDY).stdout
    assert json.loads(ranksearch(command, wire.STUDY, "--json").stdout)["state"] == state


def test_a_pause_may_have_a_reason(ranksearch, service):
    service.answers["POST", f"/v1/studies/{wire.STUDY}/pause"] = PAUSED
    assert "the box moves" in ranksearch("pause", wire.STUDY, "--reason", "the box moves").stdout
    assert service.asked == {"reason": "the box moves"}


def test_a_refusal_is_1(ranksearch, service):
    service.answers["POST", f"/v1/studies/{wire.STUDY}/retry"] = ("nothing_to_retry", 409, {"detail": "none failed"})
    done = ranksearch("retry", wire.STUDY)
    assert (done.exit_code, "none failed" in done.stderr) == (1, True)


def test_watching_a_paused_study_ends_with_8_and_how_to_go_on(ranksearch, service):
    service.answers[STUDY] = [wire.study(), wire.study(), PAUSED]
    done = ranksearch("watch", wire.STUDY)
    assert (done.exit_code, "paused by ada: the box moves" in done.stderr) == (8, True)
    assert f"ranksearch resume {wire.STUDY}" in done.stderr


def test_watching_as_json_ends_when_the_study_pauses(ranksearch, service):
    service.answers[STUDY] = PAUSED
    events = wire.stream(wire.event(1, state="running"), wire.event(2, state="paused"))
    service.answers["GET", f"/v1/studies/{wire.STUDY}/events"] = [events, wire.stream()]
    done = ranksearch("watch", wire.STUDY, "--json")
    assert [json.loads(line)["data"]["state"] for line in done.stdout.splitlines()] == ["running", "paused"]
    assert (done.exit_code, json.loads(done.stderr)["code"]) == (8, "study_paused")


def test_a_pause_that_is_over_ends_no_watching(ranksearch, service):
    service.answers[STUDY] = wire.study("completed")
    events = [wire.event(number, state=state) for number, state in enumerate(["paused", "running", "completed"], 1)]
    service.answers["GET", f"/v1/studies/{wire.STUDY}/events"] = [wire.stream(*events), wire.stream()]
    assert len(ranksearch("watch", wire.STUDY, "--json").stdout.splitlines()) == 3


def test_submitting_a_study_that_pauses_is_8(ranksearch, service):
    service.answers[STUDY] = PAUSED
    assert ranksearch("submit", wire.MODEL, wire.DATASET, "--watch").exit_code == 8
