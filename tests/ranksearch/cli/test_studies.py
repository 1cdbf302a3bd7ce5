import json

import pytest

from ranksearch.contracts.studies import Best, Pareto
from tests.ranksearch import wire

OTHER = "sty_zzzzzzzzzzzzzzzz"


@pytest.fixture
def two(service):
    """A younger study "second" before the first."""
    younger = wire.study(id=OTHER, name="second")
    service.answers["GET", "/v1/studies"] = wire.page(younger, wire.study())
    service.answers["GET", f"/v1/studies/{OTHER}"] = younger


@pytest.mark.parametrize(
    ("reference", "study"),
    [
        (wire.STUDY, wire.STUDY),
        ("first", wire.STUDY),
        ("fir", wire.STUDY),
        ("sty_01", wire.STUDY),
        ("latest", OTHER),
        ("second", OTHER),
    ],
)
def test_a_study_is_found(ranksearch, two, reference, study):
    assert json.loads(ranksearch("status", reference, "--json").stdout)["id"] == study


def test_a_name_that_two_have_is_refused(ranksearch, two):
    done = ranksearch("status", "sty_")
    assert (done.exit_code, "2 studies answer to sty_" in done.stderr) == (5, True)


def test_a_name_that_nobody_has_is_not_found(ranksearch, two):
    assert ranksearch("status", "third").exit_code == 4


def test_a_whole_name_goes_before_a_beginning(ranksearch, service):
    longer = wire.study(id=OTHER, name="first again")
    service.answers["GET", "/v1/studies"] = wire.page(longer, wire.study())
    assert json.loads(ranksearch("status", "first", "--json").stdout)["id"] == wire.STUDY


def test_status_lists_the_studies(ranksearch, two):
    lines = ranksearch("status").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["id", OTHER, wire.STUDY]


def test_status_as_json_is_a_list(ranksearch, two):
    assert [study["name"] for study in json.loads(ranksearch("status", "--json").stdout)] == ["second", "first"]


def test_status_without_studies_says_how_to_submit_one(ranksearch, service):
    service.answers["GET", "/v1/studies"] = wire.page()
    done = ranksearch("status")
    assert (done.stdout, "ranksearch submit MODEL DATA" in done.stderr) == ("", True)


def test_no_studies_as_json_is_an_empty_list(ranksearch, service):
    service.answers["GET", "/v1/studies"] = wire.page()
    assert json.loads(ranksearch("status", "--json").stdout) == []


def test_status_says_why_nothing_moves(ranksearch, service):
    waiting = wire.study(waiting_for="no worker is connected")
    service.answers["GET", f"/v1/studies/{wire.STUDY}"] = waiting
    assert "no worker is connected" in ranksearch("status", wire.STUDY).stdout


def test_long_lines_are_not_cut_where_nobody_looks(ranksearch, service):
    service.answers["GET", "/v1/studies"] = wire.page(wire.study(name="n" * 200))
    assert "n" * 200 in ranksearch("status").stdout


def test_brackets_in_names_are_text(ranksearch, service):
    service.answers["GET", "/v1/studies"] = wire.page(wire.study(name="[bold]x[/nope]"))
    assert "[bold]x[/nope]" in ranksearch("status").stdout


def test_best_as_json_is_what_the_url_answers(ranksearch):
    shown = json.loads(ranksearch("best", wire.STUDY, "--json").stdout)
    assert shown == json.loads(Best.model_validate(wire.best()).model_dump_json(by_alias=True))


def test_best_shows_every_layer(ranksearch):
    out = ranksearch("best", wire.STUDY).stdout
    assert "cp3 7" in out
    assert "(1) no rank is cheaper" in out


def test_best_shows_macs_and_params_with_their_words(ranksearch):
    out = ranksearch("best", wire.STUDY).stdout
    assert "macs       1 M → 333 k: compression ratio 3.0×, 33.3% remain" in out
    assert "params     5 k → 2.5 k: compression ratio 2.0×, 50.0% remain" in out


def test_best_compares_accuracy_with_the_dense_network(ranksearch):
    assert "accuracy   95.00% dense → 90.00% compressed" in ranksearch("best", wire.STUDY).stdout


def test_best_never_speaks_of_flops(ranksearch):
    assert "flop" not in ranksearch("best", wire.STUDY).stdout.lower()


def test_best_says_that_no_latency_was_measured(ranksearch):
    assert "no latency measured" in ranksearch("best", wire.STUDY).stdout


def test_best_of_a_front_points_to_the_front(ranksearch, service):
    request = wire.request(objectives=["proxy", "macs"])
    service.answers["GET", f"/v1/studies/{wire.STUDY}"] = wire.study(request=request)
    assert f"ranksearch pareto {wire.STUDY}" in ranksearch("best", wire.STUDY).stderr


def test_best_of_one_objective_speaks_of_no_front(ranksearch):
    assert ranksearch("best", wire.STUDY).stderr == ""


def test_pareto_shows_the_front(ranksearch):
    lines = ranksearch("pareto", wire.STUDY).stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["trial", "origin", "kl", "macs", "accuracy"],
        ["4", "search", "0.01", "400", "k", "90.00%"],
        ["7", "search", "0.04", "200", "k", "90.00%"],
    ]


def test_pareto_as_json_is_what_the_url_answers(ranksearch):
    shown = json.loads(ranksearch("pareto", "first", "--json").stdout)
    assert shown == json.loads(Pareto.model_validate(wire.pareto()).model_dump_json(by_alias=True))


def test_a_front_that_nobody_is_on_yet(ranksearch, service):
    service.answers["GET", f"/v1/studies/{wire.STUDY}/pareto"] = wire.pareto(points=[])
    done = ranksearch("pareto", wire.STUDY)
    assert (done.stdout, "ranksearch watch" in done.stderr) == ("", True)


def test_status_tells_accuracy_in_per_cent(ranksearch, service):
    known = wire.study(best_value=0.9, best_trial=3, dense_value=0.95)
    service.answers["GET", f"/v1/studies/{wire.STUDY}"] = known
    out = ranksearch("status", wire.STUDY).stdout
    assert "best       accuracy 90.00% (trial 3)\ndense      accuracy 95.00%" in out


def test_pull_writes_the_model(ranksearch, tmp_path):
    done = ranksearch("pull", wire.STUDY, "-o", tmp_path / "m.safetensors")
    assert (done.stdout.strip(), (tmp_path / "m.safetensors").read_bytes()) == (
        str(tmp_path / "m.safetensors"),
        b"compressed",
    )


def test_pull_says_how_true_the_file_is(ranksearch, tmp_path):
    done = ranksearch("pull", wire.STUDY, "-o", tmp_path)
    assert done.stdout.strip() == str(tmp_path / "compressed.safetensors")
    assert "the same as the network on 256 images, to 1e-07 of the outputs' range" in done.stderr


def test_pull_as_json(ranksearch, tmp_path):
    done = json.loads(ranksearch("pull", wire.STUDY, "-o", tmp_path / "m", "--json").stdout)
    assert done == {
        "study": wire.STUDY,
        "artifact": "compressed.safetensors",
        "path": str(tmp_path / "m"),
        "id": "job_art",
        "trial": 3,
        "tuned": False,
        "format": "document",
        "blob": {"sha256": wire.sha256(b"compressed"), "size": 10},
        "parity": wire.parity(),
        "macs": None,
        "params": None,
    }


def test_pull_of_another_trial_in_another_format_asks_for_it_and_waits(ranksearch, service, tmp_path):
    made = {"id": "job_new", "name": "trial-7.onnx", "kind": "onnx_model", "format": "onnx", "trial": 7}
    service.answers |= {
        ("POST", f"/v1/studies/{wire.STUDY}/artifacts"): wire.artifact(state="pending", **made),
        ("GET", f"/v1/studies/{wire.STUDY}/artifacts/job_new"): [
            wire.artifact(state="pending", **made),
            wire.artifact(b"onnx", **made),
        ],
        ("GET", f"/v1/studies/{wire.STUDY}/artifacts/job_new/content"): b"onnx",
    }
    done = ranksearch("pull", wire.STUDY, "--trial", "7", "--format", "onnx", "-o", tmp_path)
    assert (tmp_path / "trial-7.onnx").read_bytes() == b"onnx", done.stderr
    assert "trial-7.onnx is being made" in done.stderr
    (asked,) = [json.loads(request.content) for request in service.requests if request.method == "POST"]
    assert asked == {"trial": 7, "format": "onnx", "tuned": None}


def test_pull_of_a_trial_that_did_not_complete_says_what_to_do(ranksearch, service, tmp_path):
    refusal = ("trial_not_complete", 409, {"detail": "no network is made of trial 7", "mend": "name a complete trial"})
    service.answers["POST", f"/v1/studies/{wire.STUDY}/artifacts"] = refusal
    done = ranksearch("pull", wire.STUDY, "--trial", "7", "-o", tmp_path)
    assert done.exit_code != 0
    assert "name a complete trial" in done.stderr


def test_pull_where_nothing_can_be_written_is_no_traceback(ranksearch, tmp_path):
    (tmp_path / "file").write_text("")
    done = ranksearch("pull", wire.STUDY, "-o", tmp_path / "file" / "m")
    assert (done.exit_code, done.stderr.startswith("error: ")) == (1, True)


def test_cancel_shows_the_study(ranksearch):
    assert "cancelled" in ranksearch("cancel", wire.STUDY).stdout


@pytest.mark.parametrize("command", ["models", "datasets", "workers"])
def test_lists_as_json(ranksearch, command):
    assert len(json.loads(ranksearch(command, "--json").stdout)) == 1


@pytest.mark.parametrize(("command", "shown"), [("models", "net"), ("datasets", "1×8×8"), ("workers", "box")])
def test_lists_as_tables(ranksearch, command, shown):
    assert shown in ranksearch(command).stdout


@pytest.mark.parametrize("command", ["models", "datasets", "workers"])
def test_empty_lists_say_what_to_do(ranksearch, service, command):
    service.answers["GET", f"/v1/{command}"] = wire.page()
    assert "ranksearch" in ranksearch(command).stderr


@pytest.mark.parametrize("command", ["models", "datasets"])
def test_uploads(ranksearch, tmp_path, command):
    (tmp_path / "x.safetensors").write_bytes(b"x")
    done = ranksearch(command, "upload", tmp_path / "x.safetensors", "--json")
    assert json.loads(done.stdout)["id"] in {wire.MODEL, wire.DATASET}


@pytest.mark.parametrize("command", ["models", "datasets"])
def test_an_upload_of_nothing_is_bad_input_and_says_what_to_do(ranksearch, tmp_path, command):
    done = ranksearch(command, "upload", tmp_path / "nothing")
    assert (done.exit_code, "mend: check the path" in done.stderr) == (5, True)
