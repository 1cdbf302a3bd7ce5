"""What does a trial with warm factors cost beyond its own forward passes?

A trial as the evaluating child runs it (assembly from cached factors, calibration, validation) against bare forward
passes of the same compressed network over the same batches, alternating in one run; at both levels of calibration.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from page import Page, device_option, options, shared_data
from torch import nn

import proxy
import ranksearch
from ranksearch.contracts.goals import Level
from ranksearch.contracts.jobs import DataSelection, TrialTask
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.contracts.resources import Blob
from worker.allocator import keep_freed_memory
from worker.evaluation.images import Images
from worker.evaluation.session import Session
from worker.evaluation.stopwatch import Stopwatch
from worker.evaluation.trial import calibrated, measure_trial

QUESTION = __doc__.splitlines()[0]
FRACTION = 0.4
CALIBRATION = 256
LEVELS: tuple[Level, ...] = ("statistics", "reconstruction")


def main() -> None:
    """Measure and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    parser.add_argument("--images", type=int, default=1000, help="validation images (default: %(default)s)")
    device_option(parser)
    chosen = parser.parse_args()
    rounds = 3 if chosen.quick else 7
    keep_freed_memory()  # as the child does
    sys.path.insert(0, str(chosen.data))
    import cifar  # noqa: PLC0415 - lies in the folder that the user named

    page = Page("A trial against its own forward passes", QUESTION)
    page.text(
        f"Warm factors, {CALIBRATION} calibration and {chosen.images:,} validation images of CIFAR-10 in batches of 64,"
        f" cp3 at {FRACTION:.0%} of each layer's MACs; medians of {rounds} alternating rounds. What is measured of the"
        " dense network is made once a study and not counted."
    )
    rows = []
    for depth in (20,) if chosen.quick else (20, 56):
        for level in LEVELS:
            with tempfile.TemporaryDirectory() as folder:
                trial, bare, assembly = measure(cifar, depth, Path(folder), chosen, rounds, level)
            ratio = statistics.median(t / b for t, b in zip(trial, bare, strict=True))
            medians = (f"{statistics.median(x):.3f}" for x in (bare, trial, assembly))
            rows.append((f"ResNet-{depth}", level, *medians, f"{ratio:.2f}"))
            page.figures[f"resnet{depth}_{level}_ratio"] = ratio
    header = ["network", "level", "forward passes, s", "trial, s", "of that assembly, s", "**trial / passes**"]
    page.table(header, rows)
    page.text("Goal for statistics: at most 1.2. Reconstruction solves a regression for every layer besides.")
    page.write("trial_cost", chosen, ["torch"])


def measure(
    cifar: object, depth: int, work: Path, chosen: argparse.Namespace, rounds: int, level: Level
) -> tuple[list[float], ...]:
    """Seconds of trials, of the bare passes and of the assemblies."""
    dense = cifar.resnet(depth)  # type: ignore[attr-defined]  # a module from a data folder
    session = Session(device=chosen.device, cache_dir=work / "factors")
    task, files = prepared(cifar, dense, work, chosen.images)
    network = session.network(task.model, files[task.model.sha256])
    ranks = {
        site.name: LayerRanks.model_validate(
            {"method": "cp3", **min(site.grids["cp3"], key=lambda p: abs(p.macs - FRACTION * site.macs)).ranks}
        )
        for site in proxy.find_sites(network, session.example_inputs(network))
        if "cp3" in site.grids
    }
    task = task.model_copy(update={"ranks": ranks, "level": level})
    measure_trial(session, task, files)  # warms everything
    small = calibrated(session, task, files, Stopwatch(session.device))
    calibration = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, network)
    images = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, network)
    trials, passes, assemblies = [], [], []
    for _ in range(rounds):
        start = time.perf_counter()
        outcome = measure_trial(session, task, files)
        trials.append(time.perf_counter() - start)
        assemblies.append(outcome.result.seconds.assembly)
        passes.append(sum(forward_seconds(small, some, session.device) for some in (calibration, images)))
    return trials, passes, assemblies


@torch.no_grad()
def forward_seconds(network: nn.Module, images: Images, device: torch.device) -> float:
    """Of one bare pass in eval mode."""
    start = time.perf_counter()
    for batch in images.only():
        batch.into(network)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def prepared(cifar: object, dense: nn.Module, work: Path, validation: int) -> tuple[TrialTask, dict[str, Path]]:
    """A task without ranks, and its files."""
    ranksearch.pack(dense, (torch.zeros(2, 3, 32, 32),), work / "model")
    for name, split, count in (("calibration", "train", CALIBRATION), ("validation", "test", validation)):
        images, labels = cifar.images(split, count)  # type: ignore[attr-defined]  # as above
        ranksearch.pack_data(torch.from_numpy(images), labels, work / name, mean=cifar.MEAN, std=cifar.STD)  # type: ignore[attr-defined]  # as above
    blobs = {
        name: Blob(sha256=f"{index:064x}", size=0) for index, name in enumerate(("model", "calibration", "validation"))
    }
    task = TrialTask(
        model=blobs["model"],
        ranks={},
        calibration=DataSelection(blob=blobs["calibration"], start=0, stop=CALIBRATION),
        validation=DataSelection(blob=blobs["validation"], start=0, stop=validation),
        metric="accuracy",
        batch_size=64,
        seed=0,
    )
    return task, {blob.sha256: work / name for name, blob in blobs.items()}


if __name__ == "__main__":
    main()
