"""Racing: a trial that is already significantly worse than the best stops before it has seen all images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import proxy
from ranksearch.contracts.jobs import Race

__all__ = ["falls_behind", "significance"]

_FIRST_LOOK = 5  # batches: among fewer, no order of five paired differences is rare


def falls_behind(race: Race | None, batches: int) -> Callable[[proxy.Score], bool] | None:
    """For ``proxy.score(stop=…)``: whether a trial has lost, asked after every batch.

    The test is that of Optuna's ``WilcoxonPruner``, on the means of batches that both trials saw: one-sided and
    paired, so that what is hard about an image counts for neither. As there, a trial whose own mean so far is the
    better one is never stopped.

    Args:
        race: the best trial so far; None: there is none, and nobody is stopped.
        batches: of the whole measurement; after the last one there is nothing left to save.
    """
    if race is None:
        return None

    def lost(score: proxy.Score) -> bool:
        own = score.batch_means or ()
        seen = min(len(own), len(race.batch_values))
        if seen < _FIRST_LOOK or len(own) >= batches:
            return False
        ahead = sum(own[:seen]) <= sum(race.batch_values[:seen])
        return not ahead and significance(own[:seen], race.batch_values[:seen]) < race.p_value

    return lost


def significance(values: Sequence[float], best: Sequence[float]) -> float:
    """The p-value of "these are not larger than the best's": one-sided Wilcoxon signed-rank test of the differences.

    Differences of zero are split between both signs, as in Optuna's pruner.
    """
    from scipy.stats import wilcoxon  # noqa: PLC0415 - takes a second to import, and only a race needs it

    differences = [value - other for value, other in zip(values, best, strict=True)]
    return float(wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue)
