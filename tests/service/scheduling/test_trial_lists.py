"""Trials of some state or origin, in some order, page by page."""

from __future__ import annotations

from itertools import product

import pytest

from ranksearch.contracts.insights import TrialSort


@pytest.fixture
def study(service):
    """Seven trials: pruned, failed, running and complete ones, two with the same value."""
    made = service.submit(n_trials=8)["id"]
    values = [0.5, 0.7, 0.7, 0.2, 0.9, 0.1]
    agent = service.agent(value=lambda job: values[job["trial"]], measure=lambda job: {"pruned": job["trial"] == 5})
    agent.work(limit=7)
    agent.fail(agent.must_claim("trial"))
    agent.must_claim("trial")
    return made


def listed(service, study, limit=3, **params):
    """Numbers, over all pages."""
    found, cursor = [], None
    while True:
        given = {"limit": limit, **params} | ({"cursor": cursor} if cursor else {})
        answer = service.http.get(f"/v1/studies/{study}/trials", params=given)
        assert answer.status_code == 200, answer.text
        found += [trial["number"] for trial in answer.json()["items"]]
        if (cursor := answer.json()["next"]) is None:
            return found


def expected(trials, sort, order):
    """By Python's own sorting, which is stable; those without a key last, ascending in number."""

    def key(trial):
        if sort in {"macs", "params"}:
            return trial["planned"][sort]
        return trial[sort]

    known = [trial for trial in trials if key(trial) is not None]
    unknown = [trial for trial in trials if key(trial) is None]
    sign = -1 if order == "desc" else 1
    return [trial["number"] for trial in [*sorted(known, key=lambda trial: sign * key(trial)), *unknown]]


def test_they_come_in_the_order_asked_for_whatever_the_pages(service, study):
    trials = service.trials(study)
    for sort, order in product(("number", "value", "macs", "params"), ("asc", "desc")):
        wanted = expected(trials, sort, order)
        assert len(wanted) == 8
        for limit in (1, 3, 200):
            assert listed(service, study, limit, sort=sort, order=order) == wanted, (sort, order, limit)


def test_the_slowest_trial_can_be_found(service, study):
    found = listed(service, study, sort="seconds", order="desc")
    assert sorted(found) == list(range(8))
    assert found[-1] == 7  # which runs


def test_only_those_of_a_state(service, study):
    numbers = {"COMPLETE": [0, 1, 2, 3, 4], "PRUNED": [5], "FAIL": [6], "RUNNING": [7], "WAITING": []}
    assert {state: listed(service, study, state=state) for state in numbers} == numbers


def test_only_those_from_somewhere(service, study):
    assert listed(service, study, origin="uniform") == [0]
    assert listed(service, study, origin="sampler", state="COMPLETE", sort="value", order="desc") == [4, 2, 3]


def test_a_cancelled_trial_is_among_the_failed(service, study):
    assert service.http.post(f"/v1/studies/{study}/cancel").status_code == 200
    assert listed(service, study, state="FAIL") == [6, 7]


def test_a_cursor_of_another_order_is_refused(service, study):
    page = service.http.get(f"/v1/studies/{study}/trials", params={"limit": 2, "sort": "value"}).json()
    answer = service.http.get(f"/v1/studies/{study}/trials", params={"sort": "macs", "cursor": page["next"]})
    assert answer.status_code == 422
    assert (answer.json()["got"], answer.json()["expected"]) == ("value asc", "macs asc")


def test_what_is_no_order_is_refused(service, study):
    for given in ({"sort": "colour"}, {"state": "DONE"}, {"origin": "x"}, {"order": "up"}, {"cursor": "x"}):
        answer = service.http.get(f"/v1/studies/{study}/trials", params=given)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), given


def test_every_order_is_tested():
    assert set(TrialSort.__args__) == {"number", "value", "macs", "params", "seconds"}
