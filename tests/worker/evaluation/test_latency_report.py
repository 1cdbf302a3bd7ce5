"""A trial's network beside the dense one: what is known to be slower is reported so, whatever runs it."""

import copy
import shutil
import time

import pytest
import torch

import ranksearch
from ranksearch.contracts.jobs import LatencyTask
from ranksearch.contracts.ranks import LayerRanks
from tests.worker.evaluation.conftest import Work
from worker.evaluation import evaluate, latency_report, layer_latency, onnx_model, ways
from worker.evaluation.latency_report import measured_rows
from worker.evaluation.layer_latency import layer_latencies
from worker.evaluation.session import Session
from worker.protocol import Assignment

CPU = torch.device("cpu")
RANKS = {"second": LayerRanks(method="cp3", rank=9), "first": LayerRanks(method="cp3", rank=6)}


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """One thread, since a busy machine keeps two waiting for each other, and rounds enough for some to be disturbed."""
    for module in (latency_report, layer_latency):
        monkeypatch.setattr(module, "_SECONDS", 0.0)
        monkeypatch.setattr(module, "_FEWEST", 20)
        monkeypatch.setattr(module, "_BLOCK", 0.001)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return Work(tmp_path_factory.mktemp("documents"))


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return Session(device="cpu", cache_dir=tmp_path_factory.mktemp("factors"), threads=1)


def task_of(work, **changes):
    given = {"ranks": work.ranks, "batches": [1, 4], "runtimes": ["torch"], "batch_size": 16, "seed": 0}
    return LatencyTask(model=work.model, calibration=work.selection(0, 20), **{**given, **changes})


@pytest.fixture(scope="module")
def dense(work):
    return ranksearch.load(work.folder / "model")


def padded(network, seconds):
    """The same network, whose every pass takes so long at least."""
    slow = copy.deepcopy(network)
    slow.register_forward_hook(lambda *_: time.sleep(seconds))
    return slow


def rows_of(networks, runtimes, batches, folder):
    return list(measured_rows(networks, runtimes, batches, CPU, folder))


def test_a_network_that_sleeps_is_slower_in_every_row_and_by_what_it_sleeps(dense, tmp_path):
    rows = rows_of((dense, padded(dense, 0.01)), ["torch"], [1, 4], tmp_path)
    assert [(row.batch, row.layout) for row in rows] == [
        (1, "contiguous"),
        (4, "contiguous"),
        (1, "channels_last"),
        (4, "channels_last"),
    ]
    assert {row.measured.speed for row in rows} == {"slower"}
    assert all(row.measured.compressed.median_ms >= 10 for row in rows)
    assert {(row.device, row.dtype, row.threads) for row in rows} == {("cpu", "float32", 1)}


def test_a_dense_network_that_sleeps_leaves_the_compressed_one_faster(dense, tmp_path):
    for row in rows_of((padded(dense, 0.01), dense), ["torch"], [1], tmp_path):
        assert row.measured.speed == "faster"
        assert row.measured.speedup > 1.5


class Multiplied(torch.nn.Module):
    """A product of a known size behind a pooling."""

    def __init__(self, width):
        super().__init__()
        self.wide = torch.nn.Linear(3, width)
        self.square = torch.nn.Linear(width, width)

    def forward(self, x):
        return self.square(self.wide(x.mean((2, 3))))


def test_onnx_runtime_takes_longer_for_a_product_that_is_four_thousand_times_as_large(tmp_path):
    torch.manual_seed(0)
    networks = []
    for width in (16, 1024):
        ranksearch.pack(Multiplied(width).eval(), (torch.randn(2, 3, 8, 8),), tmp_path / str(width))
        networks.append(ranksearch.load(tmp_path / str(width)))
    before = sorted(tmp_path.iterdir())
    for row in rows_of(networks, ["onnxruntime"], [1, 8], tmp_path):
        assert (row.layout, row.device, row.why_not) == ("contiguous", "cpu", None)
        assert row.measured.speed == "slower"
        assert row.measured.speedup < 0.7
    assert sorted(tmp_path.iterdir()) == before


def test_networks_are_left_as_they_were(dense, tmp_path):
    small = copy.deepcopy(dense)
    rows_of((dense, small), ["torch"], [2], tmp_path)
    for network in (dense, small):
        assert not any(module.training for module in network.modules())
        assert all(weight.is_contiguous() and weight.dtype == torch.float32 for weight in network.parameters())


def test_a_way_that_does_not_work_is_a_row_that_says_why(session, work, monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_model, "find_spec", lambda _name: None)
    monkeypatch.setattr(ways, "_COMPILE_SECONDS", -1.0)
    task = task_of(work, runtimes=["torch", "torch_compile", "onnxruntime"], batches=[2])
    answer = evaluate(session, Assignment(number=1, task=task, files=work.files, output=tmp_path))
    assert answer.problem is None
    why = {row.runtime: row.why_not for row in answer.outcome.report.rows if row.measured is None}
    assert set(why) == {"torch_compile", "onnxruntime"}
    assert "compiling took more than" in why["torch_compile"]
    assert "cannot write ONNX files" in why["onnxruntime"]


def test_a_batch_that_memory_is_too_short_for_costs_its_rows_alone(dense, tmp_path):
    def runs_out(_module, given):
        if len(given[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    greedy = copy.deepcopy(dense)
    greedy.register_forward_pre_hook(runs_out)
    rows = rows_of((dense, greedy), ["torch"], [1, 4], tmp_path)
    assert [(row.batch, row.measured is None) for row in rows[:2]] == [(1, False), (4, True)]
    assert "out of memory" in rows[1].why_not


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler here")
def test_what_torch_compiles_is_timed_where_a_compiler_may_be_started(dense, tmp_path):
    rows = rows_of((dense, padded(dense, 0.0)), ["torch_compile"], [2], tmp_path)
    assert [(row.runtime, row.why_not) for row in rows] == [("torch_compile", None)]
    assert rows[0].measured.rounds == 20


def test_a_compiler_that_may_not_be_started_is_told_in_words():
    refused = ways._not_compiled(RuntimeError("PermissionError: [Errno 1]\n\nSet TORCHDYNAMO_VERBOSE=1 for more"))
    assert "sandbox" in refused.detail
    missing = ways._not_compiled(RuntimeError("InvalidCxxCompiler: none works\n\nSet TORCHDYNAMO_VERBOSE=1 for more"))
    assert missing.got == "InvalidCxxCompiler: none works"


def inputs(*batches):
    return {batch: (torch.zeros(batch, 3, 8, 8),) for batch in batches}


def test_each_factorised_layer_is_timed_with_its_macs_beside(dense, work):
    small = work.compressed()
    found = {layer.name: layer for layer in layer_latencies(work.net, small, RANKS, inputs(1, 4))}
    assert list(found) == ["first", "second"]  # in forward order
    second = found["second"]
    assert second.dense_macs == 16 * 12 * 9 * 16  # outputs x inputs x kernel x positions
    by_hand = 9 * (12 * 64 + 9 * 16 + 16 * 16)  # into 9 channels, 3x3 of each with stride 2, out to 16
    assert second.macs_fraction == pytest.approx(by_hand / second.dense_macs)
    assert [time.batch for time in second.times] == [1, 4]
    for layer in found.values():
        for timed in layer.times:
            assert timed.time_fraction == pytest.approx(1 / timed.measured.speedup)
            assert timed.measured.rounds == 20


@pytest.mark.parametrize("slow", ["dense", "compressed"])
def test_a_layer_is_left_dense_where_its_factorised_form_is_slower(work, slow):
    networks = {"dense": copy.deepcopy(work.net), "compressed": work.compressed()}
    networks[slow].second.register_forward_hook(lambda *_: time.sleep(0.01))
    found = layer_latencies(networks["dense"], networks["compressed"], {"second": RANKS["second"]}, inputs(1))
    (layer,) = found
    assert layer.leave_dense == (slow == "compressed")
    assert layer.times[0].measured.speed == ("slower" if slow == "compressed" else "faster")


def test_layers_that_stay_dense_are_not_timed(work):
    choices = {"second": RANKS["second"], "first": LayerRanks(method="dense")}
    assert [one.name for one in layer_latencies(work.net, work.compressed(), choices, inputs(1))] == ["second"]


def test_the_report_says_under_which_conditions(session, work, tmp_path):
    answer = evaluate(session, Assignment(number=1, task=task_of(work), files=work.files, output=tmp_path))
    report = answer.outcome.report
    assert (report.device, report.threads, report.layer_layout) == ("cpu", 1, "channels_last")
    assert report.versions == {"torch": str(torch.__version__)}
    assert {row.runtime for row in report.rows} == {"torch"}
    assert [layer.name for layer in report.layers] == ["first", "second"]
    assert report.load is None or report.load >= 0
    assert report.seconds > 0


def test_half_precision_is_measured_on_a_gpu_alone():
    told = [(way.runtime, str(way.device), str(way.dtype)) for way in ways.ways_of(["torch", "onnxruntime"], CPU)]
    assert {dtype for _, _, dtype in told} == {"torch.float32"}
    on_gpu = ways.ways_of(["torch", "torch_compile", "onnxruntime"], torch.device("cuda"))
    assert {way.dtype for way in on_gpu if way.runtime != "onnxruntime"} == {torch.float32, torch.float16}
    assert [str(way.device) for way in on_gpu if way.runtime == "onnxruntime"] == ["cpu"]
