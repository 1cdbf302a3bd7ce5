"""One trial: compress at the given ranks, re-estimate the feature statistics, measure the proxy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import proxy
from ranksearch.contracts.jobs import CompressTask, TrialOutcome, TrialTask
from ranksearch.contracts.profiles import Cost
from worker.evaluation.measured import first_image, result_of
from worker.evaluation.profile import SOLVER
from worker.evaluation.session import Session
from worker.evaluation.stopwatch import Stopwatch

__all__ = ["calibrated", "measure_trial"]


def measure_trial(session: Session, task: TrialTask, files: Mapping[str, Path]) -> TrialOutcome:
    """The metric of the compressed network.

    Raises:
        DatasetError: the network does not take these images.
        ProxyError: the ranks do not fit the network, or something is not finite.
    """
    dense = session.network(task.model, files[task.model.sha256])
    images = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, dense)
    # The dense network's logits and moments are the study's, not this trial's: made once, before the clock starts.
    reference = session.reference(task.model, dense, task.validation, images)
    calibration = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, dense)
    session.moments(task.model, dense, task.calibration, calibration)
    clock = Stopwatch(session.device)
    small = calibrated(session, task, files, clock)
    with clock.part("validation"):
        score = proxy.score(small, images, reference=reference, metric=task.metric)
    seconds = clock.seconds()
    cost = proxy.cost(small, (first_image(images),))
    return TrialOutcome(
        kind="trial", result=result_of(score, Cost(macs=cost.macs, params=cost.params), seconds, session)
    )


def calibrated(
    session: Session, task: TrialTask | CompressTask, files: Mapping[str, Path], clock: Stopwatch
) -> nn.Module:
    """The compressed network with its feature statistics re-estimated on the calibration images."""
    torch.manual_seed(task.seed)
    dense = session.network(task.model, files[task.model.sha256])
    images = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, dense)
    hashes = session.hashes(task.model, dense)
    moments = session.moments(task.model, dense, task.calibration, images)
    ranks: dict[str, dict[str, Any]] = {
        name: choice.model_dump(by_alias=True, exclude_none=True) for name, choice in task.ranks.items()
    }
    with clock.part("decomposition"):
        factors = proxy.factorize(dense, ranks, session.factors, hashes=hashes, solver=SOLVER)
    with clock.part("assembly"):
        small = proxy.assemble(dense, factors)
    with clock.part("calibration"):
        proxy.calibrate(small, images.only(), reference=moments, level="statistics")
    return small
