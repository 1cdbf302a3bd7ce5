"""Where the CP solvers begin: the strongest mutually orthogonal rank-one terms of the kernels.

Shapes: n kernels, T output channels, S input channels, D kernel positions, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.cp_stack import FactorTriple

__all__ = ["Terms", "slice_terms", "started"]


@dataclass(frozen=True, eq=False)
class Terms:
    """Rank-one terms of one kernel, strongest first, orthogonal to each other.

    Args:
        out: unit columns (T, R).
        inn: unit columns (S, R).
        space: unit columns (D, R).
        strengths: ``(R,)``; their squares are the terms' energies.
    """

    out: Float[Tensor, "T R"]
    inn: Float[Tensor, "S R"]
    space: Float[Tensor, "D R"]
    strengths: Float[Tensor, " R"]


def slice_terms(kernels: Float[Tensor, "n T S D"], rank: int) -> list[Terms]:
    """The ``rank`` strongest terms of the kernels' slices along their principal spatial directions.

    With the orthogonal E of a kernel's D × D Gram matrix, ``Y = Σ_d Z_d ∘ e_d`` and ``Z_d = Σ_i σ_di u_di v_diᵀ``: a
    decomposition into D·min(T, S) mutually orthogonal rank-one terms. The R strongest are the best start of that
    form: never degenerate (their energies add up to at most ‖Y‖²), with a useful error from the first sweep, and
    defined for every rank, also above T and S, where leading singular vectors run out.
    """
    count, _, _, depth = kernels.shape
    flat = kernels.flatten(1, 2)
    _, directions = torch.linalg.eigh((flat.mT @ flat).double())
    directions = directions.to(kernels)
    slices = (flat @ directions).view(kernels.shape).movedim(3, 1)
    left, values, right = torch.linalg.svd(slices, full_matrices=False)
    per_slice = values.shape[2]
    found = []
    for at in range(count):
        strengths, order = values[at].flatten().sort(descending=True, stable=True)
        order, strengths = order[:rank], strengths[:rank]
        direction, term = order // per_slice, order % per_slice
        found.append(
            Terms(
                left[at, direction, :, term].mT, right[at, direction, term].mT, directions[at][:, direction], strengths
            )
        )
    assert depth == directions.shape[1]  # noqa: S101 - one direction for each position
    return found


_JITTER = 0.01
"""Relative size of the seeded noise on the start: enough to leave the saddle that an orthogonal start sits on."""

_EXACT_ENOUGH = 0.05
"""Below this relative error the noise shrinks with it, so that an exact start stays one."""


def started(terms: Sequence[Terms], ranks: Sequence[int], seed: int) -> FactorTriple:
    """The stack of the first R terms of each, with a little seeded noise; zero columns beyond each rank.

    The terms are a stationary point of the updates of A and B, hence the noise. It depends on the seed and the
    shape alone, so a kernel starts alike in any company.
    """
    width = max(ranks)
    noises: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for term, rank in zip(terms, ranks, strict=True):
        if rank not in noises:
            noises[rank] = _noise(term, rank, seed)
        kept = term.strengths[:rank]
        left_out = sqrt(max(1 - float(kept.double().square().sum()), 0.0))
        size = _JITTER * min(1.0, left_out / _EXACT_ENOUGH)
        factors = (term.out[:, :rank] * kept, term.inn[:, :rank] * (kept > 0), term.space[:, :rank] * (kept > 0))
        for factor, noise, part in zip(factors, noises[rank], parts, strict=True):
            moved = factor + noise * (size * torch.linalg.vector_norm(factor, dim=0))
            part.append(torch.nn.functional.pad(moved, (0, width - moved.shape[1])))
    return torch.stack(parts[0]), torch.stack(parts[1]), torch.stack(parts[2])


def _noise(term: Terms, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of expected unit norm."""
    generator = torch.Generator("cpu").manual_seed(seed)
    made = [
        torch.randn(len(factor), min(rank, factor.shape[1]), generator=generator, dtype=torch.float64, device="cpu").to(
            factor
        )
        / sqrt(len(factor))
        for factor in (term.out, term.inn, term.space)
    ]
    return made[0], made[1], made[2]
