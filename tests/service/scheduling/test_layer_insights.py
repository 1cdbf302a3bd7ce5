"""What a study shows of its layers, against its trials one by one."""

from __future__ import annotations

import pytest

from ranksearch.contracts.insights import Importance, RankMap, Sensitivity
from tests.service import synthetic


def shares_of(trial, profile):
    """By layer, the share of its dense macs that the trial's ranks keep, looked up in the profile."""
    told = profile.model_dump(mode="json", by_alias=True)
    found = {}
    for site in (site for site in told["sites"] if site["grids"]):
        choice = trial["ranks"].get(site["name"])
        points = [] if choice is None else site["grids"][choice["method"]]
        macs = next((point["macs"] for point in points if point["ranks"] == choice), site["macs"])
        found[site["name"]] = macs / site["macs"]
    return found


@pytest.fixture
def profile():
    layers = [synthetic.site(f"layer{i}.conv", 10_000 * (i + 1), 100 * (i + 1), steepness=0.5 + i) for i in range(4)]
    return synthetic.profile([synthetic.dense_site("stem"), *layers])


def made(service, profile, **changes):
    service.prepare(profile=profile)
    study = service.submit(**{"n_trials": 10, "metric": "kl", **changes})["id"]
    service.agent(value=lambda job: 1 - sum(one["rank"] for one in job["task"]["ranks"].values()) / 40).work()
    return study


def test_the_map_counts_what_every_trial_chose(service, profile):
    study = made(service, profile)
    told = service.get(f"/v1/studies/{study}/rank-map?periods=3")
    RankMap.model_validate(told)
    trials = service.trials(study)
    assert told["layers"] == [f"layer{i}.conv" for i in range(4)]
    assert told["dense_macs"] == [10_000, 20_000, 30_000, 40_000]
    assert told["other_macs"] == profile.dense.macs - 100_000
    assert [(one["first"], one["last"]) for one in told["periods"]] == [(0, 3), (4, 6), (7, 9)]
    for period in told["periods"]:
        for name, counts in zip(told["layers"], period["counts"], strict=True):
            expected = [0] * told["bins"]
            for trial in trials[period["first"] : period["last"] + 1]:
                expected[min(told["bins"] - 1, int(shares_of(trial, profile)[name] * told["bins"]))] += 1
            assert counts == expected


def test_the_map_shows_the_best_trial_and_the_front(service, profile):
    study = made(service, profile)
    told, trials = service.get(f"/v1/studies/{study}/rank-map"), service.trials(study)
    best = service.study(study)["best_trial"]
    assert told["best"]["trial"] == best
    assert told["best"]["shares"] == pytest.approx(list(shares_of(trials[best], profile).values()), abs=1e-4)
    front = service.get(f"/v1/studies/{study}/history")["fronts"]["macs"]
    assert [one["trial"] for one in told["front"]] == front
    for one in told["front"]:
        assert one["shares"] == pytest.approx(list(shares_of(trials[one["trial"]], profile).values()), abs=1e-4)


def test_before_any_trial_there_is_nothing_to_show(service):
    study = service.submit()["id"]
    told = service.get(f"/v1/studies/{study}/rank-map")
    assert (told["trials"], told["periods"], told["best"], told["front"]) == (0, [], None, [])
    told = service.get(f"/v1/studies/{study}/importance")
    assert (told["trials"], told["layers"]) == (0, [])


def test_importance_is_of_the_trials_that_were_measured(service, profile):
    study = made(service, profile)
    told = service.get(f"/v1/studies/{study}/importance")
    Importance.model_validate(told)
    assert (told["measure"], told["trials"]) == ("error_model", 10)
    assert [layer["name"] for layer in told["layers"]] == [f"layer{i}.conv" for i in range(4)]
    assert all(layer["spread"] > 0 for layer in told["layers"])


@pytest.mark.parametrize(
    ("changes", "measure"),
    [
        ({"sampler": "random"}, "rank_correlation"),
        ({"objectives": ["proxy", "macs"], "constraints": {}}, "error_model"),
        ({"objectives": ["macs"], "constraints": {}, "max_drop": 0.5}, "error_model"),
    ],
)
def test_every_kind_of_study_has_importances(service, profile, changes, measure):
    told = service.get(f"/v1/studies/{made(service, profile, **changes)}/importance")
    assert (told["measure"], told["trials"], len(told["layers"])) == (measure, 10, 4)


def test_the_layer_that_decides_is_the_most_important(service, profile):
    """The value falls with the error of the third layer alone."""
    service.prepare(profile=profile)
    study = service.submit(n_trials=40, metric="kl", sampler="local")["id"]

    def value(job):
        choice = job["task"]["ranks"].get("layer2.conv")
        return 0.01 if choice is None else round((1 - choice["rank"] / 8) ** 2, 6)

    service.agent(value=value).work()
    layers = service.get(f"/v1/studies/{study}/importance")["layers"]
    assert max(layers, key=lambda layer: layer["importance"])["name"] == "layer2.conv"


def test_without_a_greedy_start_no_sensitivity_is_measured(service):
    told = service.get(f"/v1/studies/{service.submit()['id']}/sensitivity")
    assert (told["state"], told["layers"]) == ("not_asked_for", [])


def test_the_sensitivity_is_told_as_it_was_measured(service, profile):
    service.prepare(profile=profile)
    study = service.submit(n_trials=3, warm_starts=["greedy"])["id"]
    path = f"/v1/studies/{study}/sensitivity"
    assert service.get(path)["state"] == "pending"
    agent = service.agent()
    seen = {}
    while job := agent.claim():
        if job["task"]["kind"] == "sensitivity":
            seen = job["task"]["choices"]
            change = {name: [0.1 * (len(some) - at) for at in range(len(some))] for name, some in seen.items()}
            assert agent.post(job, "complete", outcome={"kind": "sensitivity", "change": change}).status_code == 204
        else:
            agent.complete(job)
    told = service.get(path)
    Sensitivity.model_validate(told)
    assert told["state"] == "measured"
    assert {layer["name"]: [point["ranks"] for point in layer["points"]] for layer in told["layers"]} == seen
    for layer in told["layers"]:
        change = [point["change"] for point in layer["points"]]
        assert change == pytest.approx([0.1 * (len(change) - at) for at in range(len(change))])
        fractions = [point["macs_fraction"] for point in layer["points"]]
        assert fractions == sorted(fractions)
        assert all(0 < fraction < 1 for fraction in fractions)


def test_a_sensitivity_that_could_not_be_measured_says_so(service, profile):
    service.prepare(profile=profile)
    study = service.submit(n_trials=2, warm_starts=["greedy"])["id"]
    agent = service.agent()
    while job := agent.claim():
        if job["task"]["kind"] == "sensitivity":
            agent.fail(job)
            break
        agent.complete(job)
    assert service.get(f"/v1/studies/{study}/sensitivity")["state"] == "failed"


@pytest.mark.parametrize("what", ["history", "rank-map", "importance", "sensitivity"])
def test_an_unknown_study_has_none(service, what):
    answer = service.http.get(f"/v1/studies/sty_none/{what}")
    assert (answer.status_code, answer.json()["code"]) == (404, "study_not_found")
