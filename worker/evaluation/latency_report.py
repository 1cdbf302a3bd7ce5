"""A trial's network beside the dense one: timed in every way of running them, and layer by layer."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from ranksearch.contracts.errors import RankSearchError
from ranksearch.contracts.jobs import LatencyOutcome, LatencyTask
from ranksearch.contracts.latency import LatencyReport, LatencyRow, LatencyRuntime, Layout, Measured
from worker.evaluation.layer_latency import layer_latencies
from worker.evaluation.session import Session
from worker.evaluation.stopwatch import Stopwatch
from worker.evaluation.timing import in_turns
from worker.evaluation.trial import calibrated, origin_of
from worker.evaluation.ways import Prepared, Way, laid_out, prepared, ways_of

__all__ = ["measure_latencies", "measured_rows"]

log = logging.getLogger(__name__)

_SECONDS = 3.0
"""That a row may take, about."""
_ROUNDS = 40
_FEWEST = 12
"""With which the interval of the speedup leaves two rounds on either side out;"""
_LONGEST = 60.0
"""seconds after which there are no more all the same."""
_BLOCK = 0.005
_WORDS = 300
"""Characters of a reason."""


def measure_latencies(session: Session, task: LatencyTask, files: Mapping[str, Path], output: Path) -> LatencyOutcome:
    """Compress and calibrate as the trial did, and time both networks as the task says.

    A way of running them that does not work here is a row that says why.

    Raises:
        DatasetError: the network does not take the calibration images.
        ProxyError: the ranks do not fit the network, or something is not finite.
    """
    start = time.perf_counter()
    dense = session.network(task.model, files[task.model.sha256])
    compressed = session.calibrated.get(origin_of(task)) or calibrated(session, task, files, Stopwatch(session.device))
    load = _load()
    layout: Layout = "channels_last" if session.device.type == "cpu" else "contiguous"  # as a session's images are
    ends = sorted({task.batches[0], task.batches[-1]})
    inputs = {batch: laid_out(session.example_inputs(dense, batch), layout) for batch in ends}
    rows = list(measured_rows((dense, compressed), task.runtimes, task.batches, session.device, output))
    report = LatencyReport(
        device=session.device_name,
        threads=torch.get_num_threads(),
        cores=os.cpu_count(),
        load=load,
        versions=_versions(task.runtimes),
        rows=rows,
        layer_dtype=str(inputs[ends[0]][0].dtype).removeprefix("torch."),
        layer_layout=layout,
        layers=layer_latencies(dense, compressed, task.ranks, inputs),
        seconds=time.perf_counter() - start,
    )
    return LatencyOutcome(report=report)


def measured_rows(
    networks: tuple[nn.Module, nn.Module],
    runtimes: Sequence[LatencyRuntime],
    batches: Sequence[int],
    device: torch.device,
    folder: Path,
) -> Iterator[LatencyRow]:
    """Every way of running both networks, at every batch size.

    Args:
        networks: dense and compressed, of a model document.
        runtimes: what is to run them.
        batches: images a pass.
        device: that torch runs them on.
        folder: where files may be written.
    """
    for way in ways_of(runtimes, device):
        ready: Prepared | str
        try:
            ready = prepared(way, networks, folder)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why this row has no figures
            ready = _why(way, error)
        for batch in batches:
            yield _row(way, batch, ready)
        del ready
        _let_memory_go(way.device)


def _row(way: Way, batch: int, ready: Prepared | str) -> LatencyRow:
    measured: Measured | None = None
    why_not = ready if isinstance(ready, str) else None
    if not isinstance(ready, str):
        try:
            calls = ready(batch)
            turns = in_turns(
                calls, way.device, seconds=_SECONDS, most=_ROUNDS, least=_FEWEST, longest=_LONGEST, block=_BLOCK
            )
            measured = turns.compared()
        except Exception as error:  # noqa: BLE001 - as above
            why_not = _why(way, error)
    on_cpu = way.device.type == "cpu"
    return LatencyRow(
        runtime=way.runtime,
        device="cpu" if on_cpu else torch.cuda.get_device_name(way.device),
        dtype=str(way.dtype).removeprefix("torch."),
        batch=batch,
        layout=way.layout,
        threads=torch.get_num_threads() if on_cpu else None,
        measured=measured,
        why_not=why_not,
    )


def _why(way: Way, error: Exception) -> str:
    """In one line."""
    log.info("%s was not timed", way.runtime, exc_info=error)
    if isinstance(error, RankSearchError):
        told = [error.detail, error.got]
        return ": ".join(str(one) for one in told if one)[:_WORDS]
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_WORDS]


def _let_memory_go(device: torch.device) -> None:
    gc.collect()  # networks and what was compiled of them refer to each other
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _load() -> float | None:
    """Of the machine, in the minute before; None where it is not told."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _versions(runtimes: Sequence[LatencyRuntime]) -> dict[str, str]:
    found = {"torch": str(torch.__version__)}
    if "onnxruntime" in runtimes:
        try:
            found["onnxruntime"] = version("onnxruntime")
        except PackageNotFoundError:
            log.info("no ONNX Runtime here")
    return found
