"""A study's fine-tunings: how each goes, what came of it, and a form that asks for more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from ranksearch.contracts import wording
from ranksearch.contracts.finetuning import FineTune, TuningPoint, TuningScore, TuningSummary

__all__ = ["CURVE_BOX", "TuningSheet"]

CURVE_BOX: Final = (240, 48)
"""Width and height of a loss curve, in its own units."""
_MARGIN: Final = 2
_FEWEST: Final = 2
"""Points that make a line."""


class TuningSheet:
    """What the page says of them.

    Args:
        finetunes: of the study, by trial.
        summary: what they have come to.
    """

    def __init__(self, finetunes: Sequence[FineTune], summary: TuningSummary | None) -> None:
        self.finetunes = finetunes
        self._summary = summary

    @property
    def agreement(self) -> str | None:
        """What the proxy was worth, in words."""
        tau = None if self._summary is None else self._summary.kendall_tau
        return None if tau is None else wording.agreement(tau)

    @property
    def choice(self) -> str | None:
        """Which network is handed out; None while none has ended."""
        if self._summary is None or not self._summary.ready:
            return None
        if self._summary.chosen is None:
            return "None of them is better than the best network was before, so that one is still handed out."
        return f"The fine-tuned network of trial {self._summary.chosen} is handed out as the study’s best."

    @staticmethod
    def score(score: TuningScore | None) -> str:
        """Accuracy where there are labels, else the divergence."""
        if score is None:
            return "–"
        return wording.metric_value("kl", score.value) if score.accuracy is None else wording.accuracy(score.accuracy)

    @staticmethod
    def change(one: FineTune) -> str:
        """What the training made of it: "+1.25 points"; nothing while that is not known."""
        if one.before is None or one.after is None:
            return ""
        if one.before.accuracy is None or one.after.accuracy is None:
            return f"{one.after.value - one.before.value:+.3g} nats".replace("-", "−")
        return f"{100 * (one.after.accuracy - one.before.accuracy):+.2f} points".replace("-", "−")

    @staticmethod
    def line(one: FineTune) -> str:
        """The loss curve as the points of an SVG polyline; logarithmic, as the last of a loss is what matters."""
        if len(one.curve) < _FEWEST:
            return ""
        width, height = CURVE_BOX
        levels = [math.log(max(point.loss, 1e-9)) for point in one.curve]
        low, span = min(levels), max(max(levels) - min(levels), 1e-9)
        across, down = (width - 2 * _MARGIN) / max(1, one.steps), (height - 2 * _MARGIN) / span
        places = (
            f"{_MARGIN + across * point.step:.1f},{height - _MARGIN - down * (level - low):.1f}"
            for point, level in zip(one.curve, levels, strict=True)
        )
        return " ".join(places)

    @staticmethod
    def curve_in_words(one: FineTune) -> str:
        """For those who do not see it."""
        first, last = _ends(one.curve)
        return f"Loss of trial {one.trial}: {first:.3g} at first, {last:.3g} after {one.curve[-1].step} steps"


def _ends(curve: Sequence[TuningPoint]) -> tuple[float, float]:
    return curve[0].loss, curve[-1].loss
