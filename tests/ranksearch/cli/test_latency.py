"""``ranksearch latency``."""

import json

import pytest

from ranksearch.contracts.latency import LatencyComparison
from tests.ranksearch import wire

PATH = f"/v1/studies/{wire.STUDY}/latency"


@pytest.fixture
def measured(service):
    """A trial whose latency is asked for, and there at the second look."""
    lost = wire.latency_row("torch_compile", measured=None, why_not="the sandbox lets it start no program")
    layers = [wire.layer_latency("conv", (1.0, 0.5), (9.0, 9.1)), wire.layer_latency("head", (1.0, 1.5), (9.0, 12.0))]
    ready = wire.latency_comparison(report=wire.latency_report(wire.latency_row(), lost, layers=layers))
    service.answers["POST", PATH] = wire.latency_comparison("pending")
    service.answers["GET", f"{PATH}/job_lat"] = [wire.latency_comparison("pending"), ready]
    return ready


def test_it_waits_and_shows_every_way_each_layer_and_the_verdict(ranksearch, measured):
    done = ranksearch("latency", "first")
    assert done.exit_code == 0, done.stderr
    assert "trial 3 is being timed" in done.stderr
    out = done.stdout
    assert "1.50× (1.47–1.53)" in out
    assert "not measured (1)" in out
    assert "(1) the sandbox lets it start no program" in out
    assert [line.split() for line in out.splitlines() if line.startswith("head")] == [
        ["head", "cp3", "7", "25%", "150%", "133%", "leave", "dense"]
    ]
    assert "trial 3: Faster: 1.50× as fast at batch 1." in out


def test_options_are_the_requests(ranksearch, service, measured):
    ranksearch("latency", "first", "--trial", "7", "--batch", "4", "--batch", "1", "--runtime", "torch", "--again")
    (asked,) = [json.loads(request.content) for request in service.requests if request.method == "POST"]
    assert asked == {"trial": 7, "batches": [1, 4], "runtimes": ["torch"], "again": True}


def test_as_json_it_is_the_report(ranksearch, measured):
    shown = json.loads(ranksearch("latency", "first", "--json").stdout)
    assert LatencyComparison.model_validate(shown) == LatencyComparison.model_validate(measured)
    assert shown["report"]["layers"][1]["leave_dense"] is True


@pytest.mark.parametrize("options", [("--batch", "0"), ("--runtime", "tensorrt")])
def test_settings_that_make_no_sense_are_bad_input(ranksearch, measured, options):
    done = ranksearch("latency", "first", *options)
    assert (done.exit_code, done.stderr.startswith("error: ")) == (5, True)


def test_a_trial_that_is_not_complete_is_refused_with_what_to_do(ranksearch, service):
    refusal = ("trial_not_complete", 409, {"detail": "no network is made of trial 7", "mend": "name a complete trial"})
    service.answers["POST", PATH] = refusal
    done = ranksearch("latency", "first", "--trial", "7")
    assert done.exit_code != 0
    assert "name a complete trial" in done.stderr
