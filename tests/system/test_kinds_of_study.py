"""Studies of every kind through real processes: the smallest within a drop, a front, a bound on a measured latency."""

import json
import subprocess
import sys

import pytest

import ranksearch
from ranksearch.contracts.errors import BudgetInfeasible

WITHIN = 0.05


@pytest.fixture(scope="module")
def cli(deployment):
    """The command line against the shared service; what it answers as JSON."""

    def run(*words):
        command = [sys.executable, "-m", "ranksearch", *words, "--url", deployment.url, "--token", deployment.token]
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def smallest(cli, documents):
    """Submitted and waited for on the command line."""
    model, data = (str(documents / f"{name}.safetensors") for name in ("model", "data"))
    words = ("--max-drop", str(WITHIN), "--n-trials", "16", "--keep-dense", "head", "--watch")
    return cli("submit", model, data, *words)


def test_the_smallest_network_is_one_that_keeps_the_drop_on_all_images(cli, smallest):
    best = cli("best", smallest["id"])
    assert best["metric"] == "accuracy"
    assert best["result"]["dense_value"] - best["value"] <= WITHIN + 1e-9
    assert best["macs"]["fraction"] < 0.9


def test_the_smallest_network_has_the_fewest_macs_of_the_finalists_that_keep_the_drop(client, smallest):
    kept = [
        trial.final.cost.macs
        for trial in client.studies.trials(smallest["id"])
        if trial.final and trial.final.dense_value - trial.final.value <= WITHIN + 1e-9
    ]
    assert client.studies.best(smallest["id"]).macs.compressed == min(kept)


def test_trials_on_both_sides_of_the_drop_were_tried_and_told_apart(client, smallest):
    trials = [trial for trial in client.studies.trials(smallest["id"]) if trial.state == "COMPLETE"]
    assert {trial.feasible for trial in trials} == {True, False}
    for trial in trials:
        assert trial.feasible == (trial.result.dense_value - trial.value <= WITHIN + 1e-9)


def test_the_smallest_network_is_handed_out(cli, smallest, tmp_path):
    cli("pull", smallest["id"], "-o", str(tmp_path / "small.safetensors"))
    ranksearch.load(tmp_path / "small.safetensors")


@pytest.fixture(scope="module")
def front(deployment, documents):
    with deployment.client() as client:
        model, data = documents / "model.safetensors", documents / "data.safetensors"
        handle = client.submit(model, data, objectives=["proxy", "macs"], n_trials=12, seed=2)
        handle.wait(timeout=240)
        yield handle


def test_of_a_front_no_point_beats_another(front):
    points = [(point.values["proxy"], point.values["macs"]) for point in front.pareto().points]
    assert len(points) > 3
    assert points == sorted(points)
    assert [macs for _, macs in points] == sorted((macs for _, macs in points), reverse=True)


def test_a_front_on_the_command_line(cli, front):
    told = cli("pareto", front.id)
    assert [point["trial"] for point in told["points"]] == [point.trial for point in front.pareto().points]


def test_a_latency_is_measured_in_turns_with_the_dense_network(client, submit):
    handle = submit(client, budget={"macs": "60%", "latency_ms": 1000.0}, n_trials=3, pruner="none")
    handle.wait(timeout=240)
    for trial in client.studies.trials(handle.id):
        measured = trial.result.latency
        assert 0 < measured.latency_ms < 1000
        assert measured.dense_latency_ms > 0
        assert (measured.batch, measured.dtype, measured.backend) == (1, "float32", "torch")
        assert trial.feasible


def test_a_latency_that_nothing_reaches_is_refused_with_the_nearest(client, submit):
    with pytest.raises(BudgetInfeasible) as raised:
        submit(client, budget={"latency_ms": 1e-6}, n_trials=3)
    assert raised.value.extra["nearest_feasible"]["latency_ms"] > 1e-6


def test_every_warm_start_is_a_trial_like_any_other(client, submit):
    starts = ["uniform", "equal_error", "vbmf", "energy", "greedy"]
    handle = submit(client, budget="45%", n_trials=7, warm_starts=starts, pruner="none")
    handle.wait(timeout=240)
    origins = [trial.origin for trial in client.studies.trials(handle.id)]
    assert len(origins) == 7
    assert {"uniform", "equal_error", "greedy"} <= set(origins) <= {*starts, "sampler"}


def test_a_plateau_ends_a_study_before_all_its_trials(client, submit):
    handle = submit(client, budget="60%", n_trials=60, plateau=4, from_studies=[])
    handle.wait(timeout=240)
    study = handle.status()
    assert study.stopped_by == "plateau"
    assert study.progress.dropped > 0
    assert study.progress.finished == 60


def test_an_earlier_study_is_learnt_from(client, submit):
    earlier = submit(client, budget="55%", n_trials=6)
    earlier.wait(timeout=240)
    later = submit(client, budget="40%", n_trials=4, from_studies=[earlier])
    later.wait(timeout=240)
    assert "transfer" in [trial.origin for trial in client.studies.trials(later.id)]
