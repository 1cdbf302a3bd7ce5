import json
import shlex

import pytest
from typer.testing import CliRunner

from ranksearch.cli import app
from tests.ranksearch import wire

STUDY = ("GET", f"/v1/studies/{wire.STUDY}")


def test_the_defaults_are_the_contracts(ranksearch, service):
    ranksearch("submit", wire.MODEL, wire.DATASET, "--no-watch")
    asked = json.loads(next(r for r in service.requests if r.url.path == "/v1/studies").content)
    assert (asked["constraints"], asked["n_trials"], asked["seed"]) == ({"macs": "40%", "params": None}, 100, 0)


def test_options_are_passed_on(ranksearch, service):
    words = "--macs 1200 --params 50% --n-trials 7 --seed 3 --methods cp3,svd --metric kl --name x --batch-size 9"
    ranksearch("submit", wire.MODEL, wire.DATASET, *words.split(), "--keep-dense", "a", "--keep-dense", "b")
    asked = json.loads(next(r for r in service.requests if r.url.path == "/v1/studies").content)
    del asked["calibration"], asked["validation"], asked["n_startup_trials"]
    assert asked == {
        "model": wire.MODEL,
        "constraints": {"macs": 1200, "params": "50%"},
        "n_trials": 7,
        "seed": 3,
        "methods": ["cp3", "svd"],
        "keep_dense": ["a", "b"],
        "metric": "kl",
        "name": "x",
        "batch_size": 9,
    }


def test_without_a_terminal_it_does_not_wait(ranksearch, service):
    assert ranksearch("submit", wire.MODEL, wire.DATASET).exit_code == 0


def test_the_best_url_is_shown(ranksearch):
    out = ranksearch("submit", wire.MODEL, wire.DATASET).stdout
    assert f"http://service.test/v1/studies/{wire.STUDY}/best" in out


def test_json_is_the_study(ranksearch):
    assert json.loads(ranksearch("submit", wire.MODEL, wire.DATASET, "--json").stdout)["id"] == wire.STUDY


def test_watch_waits_for_the_end(ranksearch, service):
    service.answers[STUDY] = [wire.study(), wire.study("completed", 10)]
    done = ranksearch("submit", wire.MODEL, wire.DATASET, "--watch", "--json")
    assert json.loads(done.stdout)["state"] == "completed"


def test_a_study_that_failed_is_1(ranksearch, service):
    error = wire.problem("dataset_shape_mismatch", 422, detail="every trial failed alike")
    service.answers[STUDY] = wire.study("failed", error=error)
    done = ranksearch("submit", wire.MODEL, wire.DATASET, "--watch")
    assert (done.exit_code, "every trial failed alike" in done.stderr) == (1, True)


def test_a_study_that_was_cancelled_is_1(ranksearch, service):
    service.answers[STUDY] = wire.study("cancelled")
    assert ranksearch("submit", wire.MODEL, wire.DATASET, "--watch").exit_code == 1


@pytest.fixture
def infeasible(service):
    nearest = {"macs": 123_456, "macs_percent": "12.4%"}
    service.answers["POST", "/v1/studies"] = (
        "budget_infeasible",
        422,
        {"detail": "no ranks meet this", "extra": {"nearest_feasible": nearest}},
    )


def test_an_infeasible_budget_is_5_with_the_nearest_command(ranksearch, infeasible):
    words = ["submit", wire.MODEL, wire.DATASET, "--name", "my net", "--macs", "1%", "--params", "50%"]
    done = ranksearch(*words)
    command = done.stderr.partition("can be met: ")[2].strip()
    assert (done.exit_code, shlex.split(command)) == (
        5,
        [
            "ranksearch",
            *["submit", wire.MODEL, wire.DATASET, "--name", "my net"],
            *["--macs", "123456", "--params", "50%"],
        ],
    )


def test_the_nearest_command_is_one_that_works(ranksearch, service, infeasible):
    done = ranksearch("submit", wire.MODEL, wire.DATASET, "--macs", "1%", "--no-watch", "--keep-dense", "a")
    service.answers["POST", "/v1/studies"] = wire.study()
    command = shlex.split(done.stderr.partition("can be met: ")[2])
    assert ranksearch(*command[1:]).exit_code == 0


def test_the_nearest_command_does_not_repeat_the_token(ranksearch, infeasible):
    assert "hush" not in ranksearch("submit", wire.MODEL, wire.DATASET, "--macs", "1%", "--token", "hush").stderr


def test_with_json_the_command_is_a_member_of_the_problem(ranksearch, infeasible):
    done = ranksearch("submit", wire.MODEL, wire.DATASET, "--macs", "1%", "--json")
    extra = json.loads(done.stderr)["extra"]
    assert (extra["nearest_feasible"]["macs"], "--macs 123456" in extra["command"]) == (123_456, True)


def test_a_wrong_budget_is_bad_input(ranksearch):
    assert ranksearch("submit", wire.MODEL, wire.DATASET, "--macs", "forty").exit_code == 5


def test_a_missing_file_is_bad_input(ranksearch):
    assert ranksearch("submit", "no.safetensors", wire.DATASET).exit_code == 5


def test_no_data_is_bad_input(ranksearch):
    assert ranksearch("submit", wire.MODEL).exit_code == 5


def test_worker_hands_over_its_options_but_not_the_token(monkeypatch):
    called = {}
    monkeypatch.setattr(
        "os.execve", lambda program, words, environment: called.update(words=words, environment=environment)
    )
    monkeypatch.setenv("RANKSEARCH_TOKEN", "before")
    CliRunner().invoke(app, ["worker", "--url", "http://x", "--token", "hush", "--device", "cpu"])
    assert called["words"][1:] == ["-m", "worker", "--url", "http://x", "--device", "cpu"]
    assert called["environment"]["RANKSEARCH_TOKEN"] == "hush"  # noqa: S105 - made up


def test_an_inspection_that_does_not_move_says_why(ranksearch, service):
    waiting = wire.model("inspecting", waiting_for="no worker is connected")
    service.answers["GET", f"/v1/models/{wire.MODEL}"] = [waiting, waiting, waiting, wire.model()]
    assert ranksearch("submit", wire.MODEL, wire.DATASET).stderr.count("no worker is connected") == 1


def test_watch_tells_line_by_line_where_there_is_no_terminal(ranksearch, service):
    service.answers[STUDY] = [wire.study(), wire.study("completed", 10)]
    lines = ranksearch("submit", wire.MODEL, wire.DATASET, "--watch").stdout.splitlines()
    assert lines[:2] == ["0/10 trials, running", "10/10 trials, completed"]
