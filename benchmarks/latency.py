"""How much faster than dense is a CIFAR ResNet of a third of the MACs on this CPU, and which of its layers gain?

Equal-error ranks by one method at a time, measured as a worker answers ``ranksearch latency``: dense and compressed in
turns, in torch in both memory formats and in ONNX Runtime, a batch of 1 and of 32, and each factorised layer alone.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from cifar_networks import CifarNetwork, Images
from kernels import shared_module
from page import Page, device_option, options, shared_data

import ranksearch
from ranksearch.contracts.jobs import DataSelection, LatencyTask
from ranksearch.contracts.latency import LatencyReport, LatencyRow, LayerLatency
from ranksearch.contracts.latency_verdicts import layers_better_dense, runtime_words, standings
from ranksearch.contracts.ranks import Method
from ranksearch.contracts.resources import Blob
from service.search.allocations import equal_error
from worker.evaluation.latency_report import measure_latencies, measured_rows
from worker.evaluation.session import Session

QUESTION = __doc__.splitlines()[0]
METHODS: tuple[Method, ...] = ("cp3", "tucker2", "spatial_svd")
BUDGET = 0.33
BATCHES = [1, 32]
CALIBRATED = 128
"""Images: how long a network takes does not depend on how well it is calibrated."""
FASTER = {"faster": "faster", "slower": "slower", "alike": "within the noise"}


def main() -> None:
    """Measure and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    parser.add_argument("--work", type=Path, default=Path(".ranksearch/benchmarks"), help="keeps profiles and factors")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: %(default)s)")
    device_option(parser)
    chosen = parser.parse_args()
    reports: dict[tuple[int, Method], LatencyReport] = {}
    with tempfile.TemporaryDirectory() as folder:
        for depth in (20,) if chosen.quick else (56, 20):
            network = Timed(chosen.data, chosen.work, Path(folder), depth, chosen.threads, chosen.device)
            start = time.perf_counter()
            for method in METHODS:
                reports[depth, method] = network.report(method)
            control = network.control()
            print(f"ResNet-{depth}: {time.perf_counter() - start:.0f} s")
    page = Page("Latency of a third of the MACs, dense against compressed", QUESTION)
    write(page, reports, control, depth)
    page.write("latency", chosen, ["torch", "onnxruntime"])


class Timed:
    """A dense network, and what is measured of it.

    Args:
        data: the folder with weights and images.
        work: keeps profile and factors.
        folder: for what is written meanwhile.
        depth: 20 or 56.
        threads: of the CPU.
        device: on which torch runs them.
    """

    def __init__(self, data: Path, work: Path, folder: Path, depth: int, threads: int, device: str) -> None:
        cifar, self._images = shared_module(data), Images(data)
        self._work, self._folder, self._depth = work, folder, depth
        self._session = Session(device=device, cache_dir=work / f"factors{depth}", threads=threads)
        self._files: dict[str, Path] = {}
        ranksearch.pack(cifar.resnet(depth), (torch.zeros(2, 3, 32, 32),), folder / f"model{depth}")
        pixels, labels = cifar.images("train", CALIBRATED)
        data_document = folder / f"data{depth}"
        ranksearch.pack_data(torch.from_numpy(pixels), labels, data_document, mean=cifar.MEAN, std=cifar.STD)
        self._model, self._calibration = (self._blob(f"{name}{depth}") for name in ("model", "data"))

    def report(self, method: Method) -> LatencyReport:
        """Of the network at equal-error ranks by one method, its documents' as a worker has them."""
        network = CifarNetwork(self._images, self._work, self._depth, [method])
        positions = equal_error(network.space, network.limits(BUDGET))
        task = LatencyTask(
            model=self._model,
            ranks=network.space.ranks(positions),
            calibration=DataSelection(blob=self._calibration, start=0, stop=CALIBRATED),
            batch_size=64,
            seed=0,
            batches=BATCHES,
            runtimes=["torch", "onnxruntime"],
        )
        return measure_latencies(self._session, task, self._files, self._folder).report

    def control(self) -> list[LatencyRow]:
        """The dense network against itself: what is measured of nothing."""
        dense = self._session.network(self._model, self._files[self._model.sha256])
        ways = measured_rows((dense, dense), ["torch", "onnxruntime"], BATCHES, self._session.device, self._folder)
        return list(ways)

    def _blob(self, name: str) -> Blob:
        content = (self._folder / name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        self._files[sha256] = self._folder / name
        return Blob(sha256=sha256, size=len(content))


def write(page: Page, reports: dict[tuple[int, Method], LatencyReport], control: list[LatencyRow], depth: int) -> None:
    """What was measured: the fastest ways, every way, the layers, and what the clock makes of nothing."""
    first = next(iter(reports.values()))
    loads = [report.load for report in reports.values() if report.load is not None]
    page.text(
        f"Ranks of equal error, {BUDGET:.0%} of the MACs of all layers but the first and the linear one, which stay"
        f" dense. {first.threads} CPU thread{'' if first.threads == 1 else 's'}, single precision. Blocks of passes of"
        " both networks in turns, in an order that is reversed from round to round, each block after passes that are"
        " not counted; the speedup is the median over the rounds of dense over compressed time, in brackets its 95 %"
        f" interval by the sign test. Other work ran on the machine all the while (load {min(loads):.1f} to"
        f" {max(loads):.1f} on {os.cpu_count()} cores): ratios bear that, milliseconds do not."
    )
    page.text("## Each network run in its fastest way")
    page.text("Where that is another way for each, they were not timed in turns, and other work may tell in the ratio.")
    page.table(
        ["network", "method", "batch", "dense, ms", "compressed, ms", "speedup", "compressed is"],
        [
            (f"ResNet-{depth_}", method, *_standing(report, batch))
            for (depth_, method), report in reports.items()
            for batch in range(len(BATCHES))
        ],
    )
    page.text("## Every way")
    page.table(
        ["network", "method", "run by", "batch", "dense, ms", "compressed, ms", "speedup"],
        [
            (f"ResNet-{depth_}", method, *_row(row))
            for (depth_, method), report in reports.items()
            for row in report.rows
        ],
    )
    page.text("## Layer by layer")
    page.text(
        f"Each factorised 3×3 convolution alone, at the input that it has in its network ({first.layer_layout}), by the"
        " channels in and out: the part of the MACs and of the time that remains, medians over the layers, and how many"
        " are better left dense here (faster at neither batch size)."
    )
    page.table(
        ["network", "method", "layers", "how many", "macs", "time, batch 1", "time, batch 32", "better left dense"],
        [(f"ResNet-{depth_}", method, *row) for (depth_, method), report in reports.items() for row in _layers(report)],
    )
    page.text(f"## Nothing against nothing\n\nThe dense ResNet-{depth} timed against itself: speedups should be 1.00.")
    page.table(["run by", "batch", "one, ms", "the same, ms", "speedup"], [_row(row) for row in control])
    page.figures = {
        "reports": {f"{size} {method}": report.model_dump(mode="json") for (size, method), report in reports.items()},
        "control": [row.model_dump(mode="json") for row in control],
    }


def _standing(report: LatencyReport, number: int) -> tuple[str, ...]:
    found = standings(report.rows)[number]
    dense, compressed = found.times
    return (
        str(found.dense.batch),
        f"{dense:.3g} ({runtime_words(found.dense)})",
        f"{compressed:.3g} ({runtime_words(found.compressed)})",
        f"{found.speedup:.2f}×",
        FASTER[found.speed],
    )


def _row(row: LatencyRow) -> tuple[str, ...]:
    how = (runtime_words(row), str(row.batch))
    if row.measured is None:
        return (*how, "–", "–", row.why_not or "–")
    measured = row.measured
    times = (f"{one.median_ms:.3g} ± {one.iqr_ms / 2:.2g}" for one in (measured.dense, measured.compressed))
    low, high = measured.speedup_low or 0.0, measured.speedup_high or 0.0
    return (*how, *times, f"{measured.speedup:.2f}× ({low:.2f}–{high:.2f})")


def _layers(report: LatencyReport) -> list[tuple[object, ...]]:
    """By the layers' macs, which tell the channels apart: one line each."""
    better = set(layers_better_dense(report))
    alike: dict[str, list[LayerLatency]] = defaultdict(list)
    for layer in report.layers:
        alike[_channels(layer)].append(layer)
    return [
        (
            channels,
            len(layers),
            f"{statistics.median(layer.macs_fraction for layer in layers):.0%}",
            *(_time(layers, number) for number in range(len(BATCHES))),
            sum(layer.name in better for layer in layers),
        )
        for channels, layers in alike.items()
    ]


def _time(layers: Sequence[LayerLatency], number: int) -> str:
    return f"{statistics.median(layer.times[number].time_fraction for layer in layers):.0%}"


def _channels(layer: LayerLatency) -> str:
    """Of a CIFAR ResNet's block: the first convolution of a later stage has half the channels, and a stride."""
    stage, block, which = layer.name.split(".")
    out = 16 * 2 ** (int(stage.removeprefix("layer")) - 1)
    is_first = stage != "layer1" and block == "0" and which == "conv1"
    return f"{out // 2} → {out}, stride 2" if is_first else f"{out} → {out}"


if __name__ == "__main__":
    main()
