"""The latency of a trial's network beside the dense one, measured by a real, confined worker."""

import json
import os
import signal

import psutil
import pytest
from typer.testing import CliRunner

import proxy
import ranksearch
from ranksearch.cli import app
from tests.system.watching import wait_for


@pytest.fixture(scope="module")
def study(deployment, documents):
    with deployment.client() as client:
        handle = client.submit(
            documents / "model.safetensors", documents / "data.safetensors", budget="40%", n_trials=3, pruner="none"
        )
        handle.wait(timeout=240)
        yield handle


@pytest.fixture(scope="module")
def told(study):
    return study.latency(batches=[1, 4], timeout=300)


def test_every_way_is_measured_or_says_why_not(told):
    rows = {(row.runtime, row.layout, row.batch): row for row in told.report.rows}
    for layout in ("contiguous", "channels_last"):
        for batch in (1, 4):
            measured = rows["torch", layout, batch].measured
            assert measured.rounds >= 12
            assert measured.speedup == pytest.approx(measured.dense.median_ms / measured.compressed.median_ms, rel=1)
    assert all(rows["onnxruntime", "contiguous", batch].measured for batch in (1, 4))
    for batch in (1, 4):
        compiled = rows["torch_compile", "contiguous", batch]
        assert compiled.measured is not None or compiled.why_not


def test_a_worker_that_may_start_no_program_says_so_of_the_compiler(client, told):
    (worker,) = [one for one in client.workers.list() if one.id == told.worker]
    if not all(measure.in_force for measure in worker.sandbox if measure.name == "no new processes"):
        pytest.skip("here the sandbox cannot keep a worker from starting programs")
    confined = [row.why_not for row in told.report.rows if row.runtime == "torch_compile"]
    assert all("sandbox lets it start no program" in (why or "") for why in confined), confined


def test_each_factorised_layer_has_its_macs_and_its_time(study, told, documents):
    best = study.best()
    assert [layer.name for layer in told.report.layers] == [
        layer.name for layer in best.layers if layer.choice["method"] != "dense"
    ]
    small = proxy.compress(ranksearch.load(documents / "model.safetensors"), told_ranks(best))
    whole = proxy.cost(small, small.example_inputs(1))
    for layer in told.report.layers:
        parts = [cost.macs for name, cost in whole.layers.items() if name.startswith(f"{layer.name}.")]
        assert layer.macs_fraction == pytest.approx(sum(parts) / layer.dense_macs)
        assert [time.batch for time in layer.times] == [1, 4]


def told_ranks(best):
    return {name: choice.model_dump(by_alias=True, exclude_none=True) for name, choice in best.ranks.items()}


def test_the_verdict_names_the_layers_that_the_report_would_leave_dense(told):
    slow = [layer.name for layer in told.report.layers if all(time.measured.speed != "faster" for time in layer.times)]
    assert told.leave_dense == slow
    assert ("not faster here" in told.verdict) or told.verdict.startswith("Faster")
    if 0 < len(slow) < len(told.report.layers):
        assert slow[0] in told.verdict


def test_asked_again_it_is_the_same_report_and_the_command_line_shows_it(deployment, study, told):
    environment = {"RANKSEARCH_URL": deployment.url, "RANKSEARCH_TOKEN": deployment.token}
    options = ["latency", study.id, "--batch", "1", "--batch", "4"]
    shown = json.loads(CliRunner().invoke(app, [*options, "--json"], env=environment).stdout)
    assert shown == json.loads(told.model_dump_json(by_alias=True))
    assert told.verdict in CliRunner().invoke(app, options, env=environment).stdout


@pytest.mark.soak
def test_a_worker_killed_while_it_measures_costs_no_report_and_leads_to_one(local, submit):
    with local.client() as client:
        worker = local.start_worker()
        study = submit(client, n_trials=1)
        study.wait(timeout=240)
        asked = client.latencies.measure(study.id, batches=[1, 2, 4, 8], runtimes=["torch"])
        wait_for(lambda: [one for one in client.workers.list() if one.task == "latency"])
        children = psutil.Process(worker.pid).children(recursive=True)
        os.kill(worker.pid, signal.SIGKILL)
        psutil.wait_procs(children, timeout=60)
        assert client.latencies.get(study.id, asked.id).state == "pending"
        local.start_worker()
        client.latencies.wait(study.id, asked.id, timeout=300)
        assert [one.state for one in client.latencies.list(study.id)] == ["ready"]
        assert client.studies.get(study.id).progress.complete == 1
