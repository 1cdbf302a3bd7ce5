r"""Error-preserving correction: the most stable CP decomposition within an error bound.

``min ss(A, B, C)  s.t.  ‖Y − [[A, B, C]]‖² ≤ δ²`` by alternating over the factors. Phan, Tichavský, Cichocki,
*Error Preserving Correction*, arXiv 1709.08349; with the sensitivity as objective, Phan et al., ECCV 2020,
arXiv 2008.05441.

Shapes: T output channels, S input channels, D kernel positions, R rank; factors A (T, R), B (S, R), C (D, R).

The update of A (B and C alike) is exact. In A alone ``ss = Σ_r w_r² ‖a_r‖² + const`` with ``w_r² = D‖b_r‖² +
S‖c_r‖²``. Put ``Ã = A diag(w)``, ``Z = (B ⊙ C) diag(1/w)``, ``G = Y_(1) Z``, ``Γ = ZᵀZ = Q diag(s) Qᵀ``: the
problem is the least ``‖Ã‖²`` with ``‖Y_(1) − Ã Zᵀ‖² ≤ δ²``, solved by ridge regression ``Ã = G (Γ + μI)⁻¹``
with the multiplier 1/μ. With ``f_r = ‖(G Q)_r‖²`` the error is

    err(μ) = ‖Y‖² − Σ f_r/s_r + Σ (f_r/s_r) (μ / (s_r + μ))²,

increasing in μ. Hence μ = 0 where even that misses δ², else the one root of err(μ) = δ². The former A is
feasible, so no update raises ss; round-off is guarded by taking such a round back.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, inf, log, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.cp3_als import CP
from proxy.factors import khatri_rao
from proxy.kernel import Kernel
from proxy.sensitivity import balance, sensitivity

__all__ = ["epc", "multiplier"]


def epc(kernel: Kernel, start: CP, *, bound: float, max_sweeps: int, tolerance: float) -> CP:
    """Lower the sensitivity of a CP decomposition, keeping its error within a bound.

    Args:
        kernel: the tensor, of unit norm.
        start: a decomposition whose error is at most ``bound``.
        bound: δ, the largest error allowed.
        max_sweeps: most sweeps over the three factors.
        tolerance: stop when a sweep lowers the sensitivity by less than this fraction of it.

    Returns:
        Balanced factors; their error is at most the bound up to round-off, their sensitivity at most the start's.

    Note:
        From a converged start with ``bound`` equal to its error there is hardly any room: a slack of 1 % on the
        error buys most of the stability.
    """
    best = replace(start, out=(b := balance(*start.tensors))[0], inn=b[1], space=b[2])
    value = float(sensitivity(*best.tensors))
    guesses = [1e-3, 1e-3, 1e-3]
    limit = bound * bound * (1 + _ROUND_OFF[kernel.tensor.dtype]) + _ROUND_OFF[kernel.tensor.dtype]
    sweeps = 0
    for sweeps in range(1, max_sweeps + 1):
        tensors, square = _sweep(kernel, best.tensors, bound * bound, guesses)
        now = float(sensitivity(*tensors))
        if not (now <= value and square <= limit):  # round-off, or NaN: keep what we had
            return replace(best, sweeps=start.sweeps + sweeps, converged=True)
        fallen, value = value - now, now
        best = CP(*tensors, error=sqrt(max(square, 0.0)))
        if fallen <= tolerance * value:
            return replace(best, sweeps=start.sweeps + sweeps, converged=True)
    return replace(best, sweeps=start.sweeps + sweeps, converged=False)


_ROUND_OFF = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Error² of a unit-norm tensor that the Gram-based formula cannot tell from zero."""


def _sweep(
    kernel: Kernel, tensors: tuple[Tensor, Tensor, Tensor], bound: float, guesses: list[float]
) -> tuple[tuple[Tensor, Tensor, Tensor], float]:
    """One exact update of each factor; returns balanced factors and their error²."""
    out, inn, space = tensors
    unfolded = kernel.tensor.flatten(1)
    size_out, size_inn, depth = kernel.size
    energy_inn, energy_space = _energy(inn), _energy(space)
    weight = (depth * energy_inn + size_inn * energy_space).sqrt()
    gamma = (inn.mT @ inn) * (space.mT @ space)
    out, guesses[0], _ = _updated(unfolded @ khatri_rao(inn, space), gamma, weight, bound, guesses[0])

    shared = (unfolded.mT @ out).view(size_inn, depth, -1)
    energy_out, gram_out = _energy(out), out.mT @ out
    weight = (depth * energy_out + size_out * energy_space).sqrt()
    gamma = gram_out * (space.mT @ space)
    inn, guesses[1], _ = _updated((shared * space).sum(1), gamma, weight, bound, guesses[1])

    weight = (size_out * _energy(inn) + size_inn * energy_out).sqrt()
    gamma = gram_out * (inn.mT @ inn)
    space, guesses[2], square = _updated((shared * inn[:, None, :]).sum(0), gamma, weight, bound, guesses[2])
    return balance(out, inn, space), square


def _energy(factor: Float[Tensor, "I R"]) -> Float[Tensor, " R"]:
    return (factor * factor).sum(0)


def _updated(
    target: Float[Tensor, "I R"],
    gamma: Float[Tensor, "R R"],
    weight: Float[Tensor, " R"],
    bound: float,
    guess: float,
) -> tuple[Float[Tensor, "I R"], float, float]:
    """The exact update of one factor; returns it with its μ and its error².

    Components with zero weight (both other vectors zero) get a zero vector: they take no part in the tensor.
    """
    used = weight > 0
    inverse = torch.where(used, 1 / torch.where(used, weight, torch.ones_like(weight)), torch.zeros_like(weight))
    inverse = inverse.double()
    values, vectors = torch.linalg.eigh(gamma.double() * inverse * inverse[:, None])
    rotated = (target.double() * inverse) @ vectors
    floor = float(values[-1]) * len(values) * 1e-15
    kept = values > floor  # directions of Γ below round-off carry noise only
    energies = torch.where(kept, (rotated * rotated).sum(0) / values.clamp_min(max(floor, 1e-300)), 0.0)
    least = 1 - float(energies.sum())
    mu = multiplier(energies, values.clamp_min(floor), bound - least, guess)
    scale = torch.where(kept, 1 / (values + mu).clamp_min(max(floor, 1e-300)), 0.0)
    if mu == inf:  # the bound admits the zero tensor
        return torch.zeros_like(target), guess, 1.0
    square = least + float((energies * (mu / (values + mu).clamp_min(1e-300)).square()).sum())
    factor = (rotated * scale) @ vectors.mT * inverse
    return factor.to(target.dtype), mu if mu > 0 else guess, square


def multiplier(energies: Float[Tensor, " R"], values: Float[Tensor, " R"], gap: float, guess: float) -> float:
    """The μ ≥ 0 with ``Σ e_r (μ / (s_r + μ))² = gap``.

    0 where the gap is not positive, ∞ where it is out of reach.

    Newton's method on ``log h(log μ)``, whose slope lies between 0 and 2, inside a bracket that falls back to the
    geometric mean. Ends below the root (never above: the error bound must hold), within 1e-6 of the gap.

    Args:
        energies: e_r ≥ 0.
        values: eigenvalues s_r ≥ 0.
        gap: error² still to be spent.
        guess: where to begin, such as the last sweep's μ.
    """
    if gap <= 0:
        return 0.0
    if gap >= float(energies.sum()):
        return inf
    low, high, mu = 0.0, inf, guess
    for _ in range(200):
        share = mu / (values + mu)
        terms = energies * share * share
        height = float(terms.sum())
        if height <= gap:
            low = mu
            if height >= gap * (1 - 1e-6):
                break
        else:
            high = mu
        slope = 2 * float((terms * (1 - share)).sum()) / height if height > 0 else 0.0
        # aimed a hair below the root, so that the last step lands on the feasible side
        new = mu * exp(max(-7.0, min(7.0, log(gap * (1 - 5e-7) / height) / slope))) if slope > 0 else mu * 10
        if not low < new < high:
            new = sqrt(low * high) if low > 0 and high < inf else (high / 10 if high < inf else low * 10)
        mu = new
    return low
