import json
import time

import httpx
import pytest

from ranksearch.client import Client
from ranksearch.contracts.errors import AccessError, UnavailableError
from ranksearch.contracts.studies import Study
from ranksearch.terminal.study_follower import StudyFollower
from tests.ranksearch import wire
from tests.ranksearch.conftest import URL

REFUSED = httpx.Response(
    403, json=wire.problem("token_scope", 403), headers={"content-type": "application/problem+json"}
)


def followed(answers, study="running"):
    """A follower of a service with these answers by path; what it has not is not found."""

    def handler(request):
        told = answers.get(request.url.path.removeprefix("/v1"))
        told = told() if callable(told) else told
        if told is None:
            told = wire.problem("not_found", 404)
            return httpx.Response(404, json=told, headers={"content-type": "application/problem+json"})
        return told if isinstance(told, httpx.Response) else httpx.Response(200, content=json.dumps(told))

    client = Client(URL, "secret", transport=httpx.MockTransport(handler), patience=0)
    return StudyFollower(client, Study.model_validate(wire.study(study, last_event=3)))


def known(**members):
    history = {
        "study": wire.STUDY,
        "metric": "accuracy",
        "objectives": ["proxy"],
        "last_event": 3,
        "trials": 0,
        **{name: [] for name in ("numbers", "states", "values", "macs", "params", "infeasible", "improvements")},
        "fronts": {},
        "starts": [],
        "finals": [],
        "dense_value": None,
    }
    study = f"/studies/{wire.STUDY}"
    return {
        study: wire.study(last_event=3),
        f"{study}/history": history,
        f"{study}/trials": wire.page(wire.trial()),
        f"{study}/best": wire.best(),
        f"{study}/events": wire.stream(),
        "/workers": wire.page(wire.worker(study=wire.STUDY), wire.worker(id="other", study="sty_another")),
        **members,
    }


def settled(follower):
    for _ in range(100):
        if follower.wait(0.1) or follower.sight().workers:
            break
    return follower.sight()


def test_workers_on_other_studies_are_none_of_it():
    with followed(known()) as follower:
        assert [worker.id for worker in settled(follower).workers] == ["wrk_1"]


def test_who_may_not_know_the_workers_watches_all_the_same():
    done = wire.study("completed", last_event=3, best_trial=3, best_value=0.9)
    with followed(known(**{"/workers": REFUSED, f"/studies/{wire.STUDY}": done})) as follower:
        sight = settled(follower)
    assert (sight.workers, sight.study.state, sight.best.trial) == ((), "completed", 3)


def test_what_the_service_refuses_for_good_is_raised_to_whoever_waits():
    with followed(known(**{f"/studies/{wire.STUDY}": REFUSED})) as follower, pytest.raises(AccessError):
        settled(follower)


def test_an_answer_that_nobody_understands_is_not_waited_out():
    nonsense = httpx.Response(200, content=b"<html>")
    with (
        followed(known(**{f"/studies/{wire.STUDY}/history": nonsense})) as follower,
        pytest.raises(UnavailableError, match="does not understand"),
    ):
        settled(follower)


def test_what_happens_while_the_history_is_on_its_way_is_not_lost():
    answers = known()
    answers[f"/studies/{wire.STUDY}/events"] = wire.stream(wire.event(4, "trial", **wire.trial(9, value=0.8)))
    history = answers[f"/studies/{wire.STUDY}/history"]

    def once_the_event_was_heard():
        while not any(trial.number == 9 for trial in follower.sight().recent):
            time.sleep(0.01)
        return history

    answers[f"/studies/{wire.STUDY}/history"] = once_the_event_was_heard
    follower = followed(answers)
    with follower:
        assert settled(follower).course.steps == ((9, 0.8),)


def test_of_a_study_that_has_ended_the_list_of_trials_is_believed_more_than_events():
    done = wire.study("completed", last_event=3)
    late = wire.stream(wire.event(4, "trial", **wire.trial(0, "RUNNING", value=None, result=None)))
    answers = known(**{f"/studies/{wire.STUDY}": done, f"/studies/{wire.STUDY}/events": late})
    trials = answers[f"/studies/{wire.STUDY}/trials"]

    def once_the_event_was_heard():
        while not follower.sight().recent:
            time.sleep(0.01)
        return trials

    answers[f"/studies/{wire.STUDY}/trials"] = once_the_event_was_heard
    follower = followed(answers, "completed")
    with follower:
        (trial,) = settled(follower).recent
    assert trial.state == "COMPLETE"
