"""A score of the numerics as the wire's result."""

from __future__ import annotations

from torch import nn

import proxy
from ranksearch.contracts.profiles import Cost, Latency
from ranksearch.contracts.studies import Seconds, TrialResult
from worker.evaluation.images import Images
from worker.evaluation.latency import measure_latency, one_image
from worker.evaluation.session import Session

__all__ = ["first_image", "latency_of", "result_of"]


def result_of(
    score: proxy.Score, cost: Cost, seconds: Seconds, session: Session, latency: Latency | None = None
) -> TrialResult:
    """What was measured, what the network costs and how long it took."""
    return TrialResult(
        value=score.value,
        dense_value=score.dense_value,
        accuracy=score.accuracy,
        kl=score.kl,
        loss=score.loss,
        features=score.features,
        outputs=score.outputs,
        batch_values=None if score.batch_means is None else list(score.batch_means),
        latency=latency,
        images=score.count,
        cost=cost,
        seconds=seconds,
        device=session.device_name,
    )


def first_image(images: Images) -> proxy.Inputs:
    """One image, ``(1, C, H, W)``, or the inputs of one: what a cost is counted on."""
    return next(images.only())[:1]


def latency_of(network: nn.Module, images: Images, session: Session, dense: nn.Module | None = None) -> Latency:
    """Of one image; with the dense network given, both in turns."""
    image = [one_image(tensor) for tensor in next(images.only()).positional]
    return measure_latency(network, image, device_name=session.device_name, dense=dense)
