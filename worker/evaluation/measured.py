"""A score of the numerics as the wire's result."""

from __future__ import annotations

from torch import Tensor

import proxy
from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.studies import Seconds, TrialResult
from worker.evaluation.session import Images, Session

__all__ = ["first_image", "result_of"]


def result_of(score: proxy.Score, cost: Cost, seconds: Seconds, session: Session) -> TrialResult:
    """What was measured, what the network costs and how long it took."""
    return TrialResult(
        value=score.value,
        accuracy=score.accuracy,
        kl=score.kl,
        loss=score.loss,
        images=score.count,
        cost=cost,
        seconds=seconds,
        device=session.device_name,
    )


def first_image(images: Images) -> Tensor:
    """One image, ``(1, C, H, W)``: what a cost is counted on."""
    return next(images.only())[:1]
