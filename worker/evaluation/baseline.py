"""The dense network on the validation images: what every trial of a study is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import proxy
from ranksearch.contracts.jobs import BaselineTask, TrialOutcome
from ranksearch.contracts.profiles import Cost
from worker.evaluation.measured import first_image, latency_of, result_of
from worker.evaluation.pieces import in_pieces
from worker.evaluation.session import Session
from worker.evaluation.stopwatch import Stopwatch

__all__ = ["measure_dense"]


def measure_dense(session: Session, task: BaselineTask, files: Mapping[str, Path]) -> TrialOutcome:
    """The metric of the dense network. Its outputs or moments stay in the session, as the trials' reference.

    Raises:
        DatasetError: the network does not take these images.
    """
    clock = Stopwatch(session.device)
    network = session.network(task.model, files[task.model.sha256])
    path = files[task.validation.blob.sha256]
    images = session.images(task.validation, path, task.batch_size, network)
    with clock.part("validation"):
        reference = session.metric_reference(task.model, network, task.validation, images, task.metric)
        with in_pieces(network, images.at_once):
            score = proxy.score(network, images, reference=reference, metric=task.metric)
    seconds = clock.seconds()
    cost = proxy.cost(network, first_image(images).positional)
    dense = Cost(macs=cost.macs, params=cost.params)
    latency = latency_of(network, images, session) if task.measure_latency else None
    return TrialOutcome(kind="baseline", result=result_of(score, dense, seconds, session, latency))
