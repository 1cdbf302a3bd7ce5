"""The error model: what each site's squared relative error costs the network, learned from the trials.

A Bayesian linear model in the decomposition errors:

    guide(x) ≈ a + Σ_l (s_l + w_l θ_m(l)) e_l(x)²,
    s_l ~ N(κ w_l, (τ κ w_l)²),   θ_m ~ N(0, (τ κ)²),   a ~ N(0, σ_a²),

m(l) the method of site l, θ the difference between an error made by that method and one made by the first.

The prior says what equal error says: ``w_l`` is such that the allocation of equal relative error is a stationary
point, so ``w_l ∝ −d cost / d(e_l²)`` there: under a budget, every site's last mac then buys the same. Before any
trial the best choice is therefore equal error, and trials move it from there. Observations count the more, the
closer they are to the incumbent, as the model holds only near it.

A trial is the choice of least loss under one draw from the posterior (Thompson 1933; Russo et al., *A Tutorial on
Thompson Sampling*, 2018), within the budget and not far from the incumbent; every fourth takes the posterior's mean.
The draw spreads parallel workers over different ranks, and its width is the exploration.

Shapes: n sites, m trials, k methods besides the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.search.chains import Positions
from service.search.knapsack import least_error
from service.search.plan import Past
from service.search.space import SearchSpace

__all__ = ["ErrorModel", "learned", "posterior", "prior_weights", "propose", "uninformed"]

_TAU = 0.7
"""How far from equal error's a sensitivity may lie, relative to it."""
_MISFIT = 0.02
"""Standard deviation of what the model cannot explain, relative to the incumbent's guide."""
_OLDER_STUDY = 3.0
"""Trials of an earlier study say less: their misfit is taken so many times as large."""
_REACH = 0.5
"""How far from the incumbent's the log macs of a site may lie."""
_EXPLOIT_EVERY = 4
_LEAST = 0.05


@dataclass(frozen=True)
class ErrorModel:
    """A Gaussian over (a, s, θ) of the model, ``(1 + n + k,)``.

    Args:
        mean: of a, s and θ.
        root: L with L Lᵀ the covariance.
        weights: w ``(n,)``.
        least: the least that a squared error may cost ``(n,)``, a share of κ w: more error never helps.
        scale: κ.
    """

    mean: NDArray[np.float64]
    root: NDArray[np.float64]
    weights: NDArray[np.float64]
    least: NDArray[np.float64]
    scale: float

    @property
    def spread(self) -> NDArray[np.float64]:
        """Standard deviations of a, s and θ."""
        deviations: NDArray[np.float64] = np.sqrt((self.root**2).sum(axis=1))
        return deviations

    def losses(self, space: SearchSpace, rng: np.random.Generator, width: float) -> NDArray[np.float64]:
        """What every option costs under one draw, its deviation from the mean times ``width``; ``(n, options)``."""
        return self._costs(space, self.mean + width * self.root @ rng.standard_normal(len(self.mean)))

    def costs(self, space: SearchSpace) -> NDArray[np.float64]:
        """What every option costs by the mean, ``(n, options)``."""
        return self._costs(space, self.mean)

    def _costs(self, space: SearchSpace, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        sites, differences = drawn[1 : 1 + len(space)], np.concatenate([[0.0], drawn[1 + len(space) :], [0.0]])
        per_square = sites[:, None] + self.weights[:, None] * differences[space.methods]  # dense: −1, the last
        losses: NDArray[np.float64] = np.maximum(per_square, self.least[:, None]) * space.errors**2
        return losses

    def predict(self, space: SearchSpace, positions: Positions) -> float:
        """The mean guide at some ranks."""
        return float(self.mean @ _design(space, self.weights, positions[None])[0])


def _design(space: SearchSpace, weights: NDArray[np.float64], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """What a, s and θ are multiplied with ``(m, 1 + n + k)``, from choices ``(m, n)``."""
    squares = space.errors[space.rows, positions] ** 2
    methods = space.methods[space.rows, positions]
    others = range(1, int(space.methods.max()) + 1)
    by_method = [((methods == method) * squares) @ weights for method in others]
    columns: NDArray[np.float64] = np.column_stack([np.ones(len(positions)), squares, *by_method])
    return columns


def prior_weights(space: SearchSpace, equal: Positions, limits: Mapping[str, float]) -> NDArray[np.float64]:
    """``w_l``, their mean 1.

    The slope of log e² over the cost is fitted to the site's options, those near the allocation counting most.

    Args:
        space: the free sites.
        equal: the allocation of equal relative error, ``(n,)``.
        limits: what is bounded; several costs are added by their shares.
    """
    weights = np.ones(len(space))
    for row, site in enumerate(space.sites):
        options = slice(0, len(site.options))
        shares = sum(space.costs[word][row, options] / max(limit, 1e-9) for word, limit in limits.items())
        order = np.argsort(shares, kind="stable")
        share = np.asarray(shares, dtype=np.float64)[order]
        squares = np.minimum.accumulate(space.errors[row, options][order] ** 2)
        use = squares > 0
        if use.sum() < 2:  # noqa: PLR2004 - a slope takes two points
            continue
        here = int(np.flatnonzero(order == equal[row])[0])
        near = np.exp(-((np.log(np.maximum(share, 1e-12)) - np.log(max(share[here], 1e-12))) ** 2) / 0.16)[use]
        x, y = share[use], np.log(squares[use])
        x_mean, y_mean = np.average(x, weights=near), np.average(y, weights=near)
        spread = float(near @ (x - x_mean) ** 2)
        slope = float(near @ ((x - x_mean) * (y - y_mean))) / max(spread, 1e-30)
        square = squares[here] if squares[here] > 0 else squares[use].min()
        weights[row] = 1 / max(-slope * square, 1e-9)
    relative: NDArray[np.float64] = weights / weights.mean()
    return relative


def posterior(
    space: SearchSpace, weights: NDArray[np.float64], past: Sequence[Past], incumbent: Past, older: Sequence[Past] = ()
) -> ErrorModel:
    """What the trials teach.

    Args:
        space: the free sites.
        weights: of the prior.
        past: trials that have a guide.
        incumbent: one of them, near which the model is wanted.
        older: trials of earlier studies, with guides.
    """
    shown = [*past, *older]
    positions = np.array([trial.positions for trial in shown])
    guides = np.array([trial.guide or 0.0 for trial in shown])
    return learned(space, weights, positions, guides, incumbent.guide or 0.0, len(older))


def learned(
    space: SearchSpace,
    weights: NDArray[np.float64],
    positions: NDArray[np.int64],
    guides: NDArray[np.float64],
    best: float,
    older: int = 0,
) -> ErrorModel:
    """See :func:`posterior`.

    Args:
        space: the free sites.
        weights: of the prior.
        positions: of the trials ``(m, n)``.
        guides: of them ``(m,)``.
        best: guide of the trial near which the model is wanted.
        older: so many trials at the end are of earlier studies.
    """
    design = _design(space, weights, positions)
    here = max(best, 1e-6)
    trust = 1 / (1 + 4 * (guides / here - 1) ** 2)
    trust[len(guides) - older :] /= _OLDER_STUDY**2
    scale = _scale(design[:, 1 : 1 + len(space)] @ weights, guides, trust)
    mean, deviation = _prior(weights, design.shape[1], scale)
    deviation[0] = 0.5 * here
    seen = (design * trust[:, None]).T / (_MISFIT * here) ** 2
    precision = np.diag(1 / deviation**2) + seen @ design
    mean = np.linalg.solve(precision, mean / deviation**2 + seen @ guides).astype(np.float64)
    root = np.linalg.inv(np.linalg.cholesky(precision)).T  # precision = C Cᵀ, so its inverse is C⁻ᵀ C⁻¹
    return ErrorModel(mean, root, weights, _LEAST * scale * weights, scale)


def uninformed(space: SearchSpace, weights: NDArray[np.float64]) -> ErrorModel:
    """The prior alone, before any trial ended; its scale does not matter."""
    width = _design(space, weights, np.zeros((1, len(space)), dtype=np.int64)).shape[1]
    mean, deviation = _prior(weights, width, 1.0)
    return ErrorModel(mean, np.diag(deviation), weights, _LEAST * weights, 1.0)


def _prior(weights: NDArray[np.float64], width: int, scale: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of (a, s, θ), a's left at 0."""
    others = width - 1 - len(weights)
    mean = np.concatenate([[0.0], scale * weights, np.zeros(others)])
    deviation = np.concatenate([[0.0], _TAU * scale * weights, np.full(others, _TAU * scale)])
    return mean, deviation


def _scale(explained: NDArray[np.float64], guides: NDArray[np.float64], trust: NDArray[np.float64]) -> float:
    """κ: by how much the prior's weighted error is multiplied to give the guides; above 0."""
    fitted = float(trust @ (explained * guides)) / max(float(trust @ explained**2), 1e-30)
    return max(fitted, 1e-9)


def propose(
    space: SearchSpace,
    model: ErrorModel,
    limits: Mapping[str, float],
    incumbent: Positions,
    tried: set[tuple[int, ...]],
    rng: np.random.Generator,
    index: int,
) -> Positions | None:
    """Ranks that were not tried and have the least loss under a draw; None where there are none within the limits.

    Args:
        space: the free sites.
        model: the posterior.
        limits: absolute bounds of this trial.
        incumbent: the best choice so far ``(n,)``.
        tried: choices not to repeat.
        rng: the trial's source of randomness.
        index: of the trial.
    """
    distance = np.abs(_log_macs(space) - _log_macs(space)[space.rows, incumbent][:, None])
    reach, width = _REACH, 0.0 if index % _EXPLOIT_EVERY == 0 else 1.0
    for _ in range(24):
        allowed = (distance <= reach) & space.exists
        allowed[space.rows, incumbent] = True
        found = least_error(space, model.losses(space, rng, width), limits, allowed)
        if found is None:
            reach *= 2
        elif tuple(found.tolist()) in tried:
            width = max(width * 1.25, 1.0)
        else:
            return found
    return None


def _log_macs(space: SearchSpace) -> NDArray[np.float64]:
    macs: NDArray[np.float64] = np.log(np.maximum(space.costs["macs"], 1))
    return macs
