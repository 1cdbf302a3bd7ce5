"""One trial: compress at the given ranks, calibrate, measure the proxy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import proxy
from ranksearch.contracts.jobs import CompressTask, LatencyTask, TrialOutcome, TrialTask
from ranksearch.contracts.profiles import Cost
from worker.evaluation.calibration import calibrate
from worker.evaluation.measured import first_image, latency_of, result_of
from worker.evaluation.pieces import in_pieces
from worker.evaluation.profile import SOLVER
from worker.evaluation.racing import falls_behind
from worker.evaluation.session import Session
from worker.evaluation.shared_factors import fetch_shared
from worker.evaluation.stopwatch import Stopwatch

__all__ = ["calibrated", "measure_trial", "origin_of"]


def measure_trial(session: Session, task: TrialTask, files: Mapping[str, Path]) -> TrialOutcome:
    """The metric of the compressed network; of the first batches alone where it loses its race.

    Raises:
        DatasetError: the network does not take these images.
        ProxyError: the ranks do not fit the network, or something is not finite.
    """
    dense = session.network(task.model, files[task.model.sha256])
    images = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, dense)
    # What is measured of the dense network is the study's, not this trial's: made once, before the clock starts.
    reference = session.metric_reference(task.model, dense, task.validation, images, task.metric)
    calibration = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, dense)
    session.calibration_reference(task.model, dense, task.calibration, calibration, task.level)
    clock = Stopwatch(session.device)
    small = calibrated(session, task, files, clock)
    with clock.part("validation"):
        stop = falls_behind(task.race, len(images))
        with in_pieces(small, images.at_once), in_pieces(dense, images.at_once):
            score = proxy.score(small, images, reference=reference, metric=task.metric, stop=stop)
    seconds = clock.seconds()
    counted = proxy.cost(small, first_image(images).positional)
    cost = Cost(macs=counted.macs, params=counted.params)
    latency = latency_of(small, images, session, dense) if task.measure_latency and score.complete else None
    return TrialOutcome(
        kind="trial", result=result_of(score, cost, seconds, session, latency), pruned=not score.complete
    )


def calibrated(
    session: Session, task: TrialTask | CompressTask | LatencyTask, files: Mapping[str, Path], clock: Stopwatch
) -> nn.Module:
    """The compressed network, calibrated on the calibration images at the task's level."""
    torch.manual_seed(task.seed)
    dense = session.network(task.model, files[task.model.sha256])
    images = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, dense)
    hashes = session.hashes(task.model, dense)
    reference = session.calibration_reference(task.model, dense, task.calibration, images, task.level)
    ranks: dict[str, dict[str, Any]] = {
        name: choice.model_dump(by_alias=True, exclude_none=True) for name, choice in task.ranks.items()
    }
    with clock.part("decomposition"):
        fetch_shared(session, dense, ranks.items(), hashes)
        factors = proxy.factorize(dense, ranks, session.factors, hashes=hashes, solver=SOLVER)
    with clock.part("assembly"):
        small = proxy.assemble(dense, factors)
    with clock.part("calibration"):
        calibrate(small, images, reference, task.level, session.device, sweeps=task.sweeps)
    session.calibrated.keep(origin_of(task), small)
    return small


def origin_of(task: TrialTask | CompressTask | LatencyTask) -> tuple[object, ...]:
    """All that a calibrated network depends on: two tasks of the same origin have the same one."""
    images = task.calibration
    ranks = sorted((name, choice.model_dump_json(by_alias=True)) for name, choice in task.ranks.items())
    where = (images.blob.sha256, images.start, images.stop)
    return task.model.sha256, tuple(ranks), where, task.batch_size, task.level, task.sweeps, task.seed
