"""Columns over a study's trials, against what its trials say one by one."""

from __future__ import annotations

import numpy as np
import pytest

from ranksearch.contracts.insights import History
from service.scheduling.timelines import thinned
from service.scheduling.trial_columns import TrialColumns
from tests.service.api.test_solutions import MACS, VALUES, priced


def history(service, study, **params):
    answer = service.http.get(f"/v1/studies/{study}/history", params=params)
    assert answer.status_code == 200, answer.text
    History.model_validate(answer.json())
    return answer.json()


def columns(values, states=None):
    """Of made-up trials."""
    count = len(values)
    return TrialColumns(
        numbers=np.arange(count),
        states=states or ["COMPLETE"] * count,
        origins=["sampler"] * count,
        values=np.array(values, dtype=float),
        guides=np.array(values, dtype=float),
        infeasible=np.zeros(count, dtype=bool),
        costs={"macs": np.ones(count), "params": np.ones(count)},
    )


def test_the_columns_say_what_the_trials_say(service):
    study = service.submit(n_trials=6)["id"]
    agent = service.agent()
    agent.work(limit=4)
    agent.fail(agent.must_claim("trial"))
    agent.claim()
    told, trials = history(service, study), service.trials(study)
    assert told["numbers"] == [trial["number"] for trial in trials]
    assert told["states"] == [trial["state"] for trial in trials] == ["COMPLETE"] * 3 + ["FAIL", "RUNNING"]
    assert told["values"] == [trial["value"] for trial in trials]
    assert told["macs"] == [trial["planned"]["macs"] for trial in trials]
    assert told["params"] == [trial["planned"]["params"] for trial in trials]
    assert told["trials"] == 5
    assert told["last_event"] == service.study(study)["last_event"]


def test_a_pruned_trial_has_the_value_of_the_images_that_it_saw(service):
    study = service.submit(n_trials=3)["id"]
    service.agent(measure=lambda job: {"pruned": job["trial"] == 2}).work()
    told = history(service, study)
    assert told["states"] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert told["values"][2] is not None
    assert 2 not in told["improvements"]


def test_warm_starts_and_the_dense_network_are_there_to_compare_with(service):
    study = service.submit(n_trials=4)["id"]
    service.agent().work()
    told, trials = history(service, study), service.trials(study)
    assert told["starts"] == [
        {"trial": 0, "origin": "uniform", "value": trials[0]["value"]},
        {"trial": 1, "origin": "equal_error", "value": trials[1]["value"]},
    ]
    assert told["dense_value"] == service.study(study)["dense_value"] == 0.9


@pytest.mark.parametrize(
    ("changes", "better"),
    [
        ({"n_trials": 5}, [0, 2]),
        ({"n_trials": 5, "metric": "kl"}, [0, 1, 3, 4]),
        ({"n_trials": 5, "objectives": ["macs"], "constraints": {}, "max_drop": 0.5, "finalists": 0}, [0, 1, 3]),
    ],
)
def test_a_trial_improves_when_it_is_better_than_all_before_it(service, changes, better):
    values = [0.6, 0.55, 0.8, 0.5, 0.45]
    study = service.submit(**changes)["id"]
    service.agent(value=lambda job: values[job["trial"]], measure=priced).work()
    found = history(service, study)["improvements"]
    if changes.get("max_drop"):
        macs = [trial["planned"]["macs"] for trial in service.trials(study)]
        assert found == [at for at in range(5) if macs[at] < min([float("inf"), *macs[:at]])]
    else:
        assert found == better


def test_the_fronts_hold_what_no_other_trial_beats(service):
    study = service.submit(n_trials=12, metric="kl", objectives=["proxy", "macs"], constraints={})["id"]
    service.agent(value=lambda job: (7 * job["trial"] + 3) % 11 / 10).work()
    trials = service.trials(study)
    for word in ("macs", "params"):
        points = {trial["number"]: (trial["planned"][word], trial["value"]) for trial in trials}
        beaten = {
            number
            for number, mine in points.items()
            for other, its in points.items()
            if other != number and its[0] <= mine[0] and its[1] <= mine[1] and (its != mine or other < number)
        }
        expected = sorted(points.keys() - beaten, key=lambda number: points[number][0])
        assert history(service, study)["fronts"][word] == expected


def test_a_trial_outside_its_bounds_is_named_and_leads_nowhere(service):
    study = service.submit(n_trials=5, objectives=["macs"], constraints={}, max_drop=0.15, finalists=0)["id"]
    service.agent(value=lambda job: VALUES[job["trial"]], measure=priced).work()
    told = history(service, study)
    assert told["infeasible"] == [2, 3, 4]
    assert set(told["improvements"]) <= {0, 1}
    assert set(told["fronts"]["macs"]) <= {0, 1}
    assert len(MACS) == 5


def test_finals_are_told_with_their_values_on_all_images(service):
    few = {"search_images": {"calibration": 5, "validation": 10}}
    study = service.submit(n_trials=4, finalists=2, **few)["id"]
    service.agent(value=lambda job: 0.3 if job["task"]["validation"]["stop"] == 40 else 0.1 * job["trial"]).work()
    assert history(service, study)["finals"] == [{"trial": 1, "value": 0.3}, {"trial": 3, "value": 0.3}]


def test_before_any_trial_the_columns_are_empty(service):
    told = history(service, service.submit()["id"])
    assert (told["numbers"], told["improvements"], told["fronts"]) == ([], [], {"macs": [], "params": []})


def test_few_trials_are_all_shown():
    assert thinned(columns([1.0] * 10), 10, []).tolist() == list(range(10))


def test_of_many_trials_extremes_and_named_ones_stay():
    rng = np.random.default_rng(0)
    values = rng.normal(size=5000)
    values[1234], values[4321] = -50, 50
    shown = thinned(columns(values), 400, [17, 4000])
    assert {17, 1234, 4000, 4321} <= set(shown.tolist())
    assert 100 < len(shown) <= 404
    assert shown.tolist() == sorted(set(shown.tolist()))


def test_thinning_keeps_the_envelope_of_every_stretch():
    values = np.sin(np.arange(4000) / 50)
    shown = thinned(columns(values), 400, [])
    for start in range(0, 4000, 400):
        inside = shown[(shown >= start) & (shown < start + 400)]
        assert values[inside].max() == values[start : start + 400].max()
        assert values[inside].min() == values[start : start + 400].min()


def test_pruned_failed_and_running_trials_are_thinned_apart():
    states = ["COMPLETE", "PRUNED", "FAIL", "PRUNED"] * 500
    states[-1] = "RUNNING"
    shown = thinned(columns(np.arange(2000.0), states), 100, [])
    kinds = [states[at] for at in shown]
    assert kinds.count("RUNNING") == 1
    assert all(0 < kinds.count(word) <= 60 for word in ("COMPLETE", "PRUNED", "FAIL"))


def test_nothing_is_sent_to_who_has_it_already(service):
    study = service.submit(n_trials=3)["id"]
    agent = service.agent()
    agent.work(limit=2)
    path = f"/v1/studies/{study}/history"
    tag = service.http.get(path).headers["etag"]
    again = service.http.get(path, headers={"if-none-match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    agent.work(limit=1)
    news = service.http.get(path, headers={"if-none-match": tag})
    assert (news.status_code, len(news.json()["numbers"])) == (200, 2)


def test_a_failed_trial_that_is_tried_again_is_shown_as_it_is_now(service):
    study = service.submit(n_trials=2)["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    agent.fail(agent.must_claim("trial"))
    assert history(service, study)["states"] == ["FAIL"]
    assert service.http.post(f"/v1/studies/{study}/retry").status_code == 200
    assert history(service, study)["states"] == ["WAITING"]
