import json
import shlex

import pytest
from typer.testing import CliRunner

from ranksearch.cli import app
from ranksearch.contracts.study_requests import StudyRequest
from tests.ranksearch import wire

STUDY = ("GET", f"/v1/studies/{wire.STUDY}")


@pytest.fixture
def asked(ranksearch, service):
    """Submit with these options; what the service was asked for."""

    def submit(*options):
        done = ranksearch("submit", wire.MODEL, wire.DATASET, *options)
        assert done.exit_code == 0, done.stderr
        sent = [r for r in service.requests if (r.method, r.url.path) == ("POST", "/v1/studies")]
        return json.loads(sent[-1].content)

    return submit


def test_the_defaults_are_the_contracts(asked):
    images = {
        "calibration": {"dataset": wire.DATASET, "stop": 300},
        "validation": {"dataset": wire.DATASET, "start": 300},
    }
    request = StudyRequest.model_validate({"model": wire.MODEL, "constraints": {"macs": "40%"}, **images})
    assert asked("--no-watch") == request.model_dump(mode="json")


@pytest.mark.parametrize(
    ("options", "members"),
    [
        ("--n-trials 7", {"n_trials": 7}),
        ("--seed 3", {"seed": 3}),
        ("--methods cp3,svd", {"methods": ["cp3", "svd"]}),
        ("--metric kl", {"metric": "kl"}),
        ("--name x", {"name": "x"}),
        ("--batch-size 9", {"batch_size": 9}),
        ("--keep-dense a --keep-dense b", {"keep_dense": ["a", "b"]}),
        ("--level statistics", {"level": "statistics"}),
        ("--sampler tpe", {"sampler": "tpe"}),
        ("--pruner none", {"pruner": "none"}),
        ("--warm-starts vbmf,greedy", {"warm_starts": ["vbmf", "greedy"]}),
        ("--warm-starts none", {"warm_starts": []}),
        ("--search-images 32,70", {"search_images": {"calibration": 32, "validation": 70}}),
        ("--search-images 32,all", {"search_images": {"calibration": 32, "validation": None}}),
        ("--search-images all", {"search_images": {"calibration": None, "validation": None}}),
        ("--finalists 0", {"finalists": 0}),
        ("--timeout 90", {"timeout": 90}),
        ("--plateau 20", {"plateau": 20}),
        ("--target 0.9", {"target": 0.9}),
        ("--max-drop 0.01", {"max_drop": 0.01, "objectives": ["macs"]}),
        ("--max-drop 0.01 --objectives params", {"max_drop": 0.01, "objectives": ["params"]}),
        ("--objectives proxy,macs", {"objectives": ["proxy", "macs"], "max_drop": None}),
        ("--priority -7", {"priority": -7}),
        ("--max-parallel 4", {"max_parallel": 4}),
        ("--require device=cuda", {"requirements": {"device": "cuda", "memory_bytes": None, "labels": {}}}),
        (
            "--require memory=1.5GiB --require site=berlin --require rack=7",
            {"requirements": {"device": None, "memory_bytes": 3 * 2**29, "labels": {"site": "berlin", "rack": "7"}}},
        ),
        ("--require memory=16GB", {"requirements": {"device": None, "memory_bytes": 16 * 10**9, "labels": {}}}),
        ("--from-study first --from-study sty_0", {"from_studies": [wire.STUDY, wire.STUDY]}),
    ],
)
def test_an_option_becomes_a_member(asked, options, members):
    request = asked(*options.split())
    assert {member: request[member] for member in members} == members


@pytest.mark.parametrize(
    "wanted",
    ["cuda", "=cuda", "device=", "device=gpu", "memory=much", "memory=16Gib", "memory=0", "site=a --require site=b"],
)
def test_a_requirement_that_is_none_is_bad_input(ranksearch, service, wanted):
    done = ranksearch("submit", wire.MODEL, wire.DATASET, "--require", *wanted.split())
    assert (done.exit_code, "expected" in done.stderr) == (5, True)
    assert not any(request.method == "POST" for request in service.requests)


@pytest.mark.parametrize(
    ("options", "bounds"),
    [
        ("", {"macs": "40%"}),
        ("--macs 1200 --params 50%", {"macs": 1200, "params": "50%"}),
        ("--latency-ms 4.5", {"latency_ms": 4.5}),
        ("--latency-ms 4", {"latency_ms": 4}),
        ("--latency-ms 50%", {"latency_ms": "50%"}),
        ("--max-drop 0.01", {}),
        ("--max-drop 0.01 --macs 60%", {"macs": "60%"}),
        ("--objectives proxy,macs", {}),
    ],
)
def test_bounds(asked, options, bounds):
    assert asked(*options.split())["constraints"] == {"macs": None, "params": None, "latency_ms": None, **bounds}


@pytest.mark.parametrize(
    "options",
    [
        "--search-images 32",
        "--search-images a,b",
        "--search-images 0,5",
        "--latency-ms fast",
        "--objectives macs",
        "--objectives proxy,macs --max-drop 0.01",
        "--sampler bayes",
        "--timeout 0",
        "--warm-starts best",
    ],
)
def test_what_cannot_be_used_is_bad_input(ranksearch, options):
    assert ranksearch("submit", wire.MODEL, wire.DATASET, *options.split()).exit_code == 5


def test_an_earlier_study_that_nobody_knows_is_not_found(ranksearch):
    assert ranksearch("submit", wire.MODEL, wire.DATASET, "--from-study", "nobody").exit_code == 4


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


def test_the_nearest_command_repeats_what_was_asked_for(ranksearch, infeasible):
    words = "--macs 1% --latency-ms 4.5 --sampler tpe --from-study first --search-images 32,70 --timeout 90.0"
    done = ranksearch("submit", wire.MODEL, wire.DATASET, *words.split())
    command = shlex.split(done.stderr.partition("can be met: ")[2])
    pairs = set(zip(command[4::2], command[5::2], strict=True))
    given = words.replace("--macs 1%", "--macs 123456").split()
    assert pairs == set(zip(given[::2], given[1::2], strict=True))


def test_the_nearest_latency_is_part_of_the_command(ranksearch, service):
    extra = {"nearest_feasible": {"latency_ms": 2.5}}
    service.answers["POST", "/v1/studies"] = ("budget_infeasible", 422, {"detail": "no", "extra": extra})
    assert "--latency-ms 2.5" in ranksearch("submit", wire.MODEL, wire.DATASET, "--latency-ms", "1").stderr


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


def test_without_anything_it_says_what_it_takes_and_gives_an_example(ranksearch, service):
    done = ranksearch("submit")
    assert done.exit_code == 2
    assert "ranksearch submit model.safetensors images.safetensors" in " ".join((done.stdout + done.stderr).split())
    assert service.requests == []
