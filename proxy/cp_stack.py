"""CP decompositions of many kernels at once, as their solvers pass them on.

Shapes: n kernels, T output channels, S input channels, D kernel positions, R the largest rank of the stack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["CPStack", "FactorTriple", "half_solved_rows", "padding", "regularized", "solved_rows"]

FactorTriple = tuple[Float[Tensor, "n T R"], Float[Tensor, "n S R"], Float[Tensor, "n D R"]]
"""A, B, C; columns beyond a kernel's own rank are zero, and stay zero in every update."""


@dataclass(frozen=True, eq=False)
class CPStack:
    """What a solver answers for a stack.

    Args:
        factors: A, B, C.
        ranks: of each kernel, ``(n,)``.
        errors: relative errors, ``(n,)``, in double precision.
        sweeps: sweeps done, ``(n,)``.
        converged: stopped because nothing changed any more, ``(n,)``.
    """

    factors: FactorTriple
    ranks: Tensor
    errors: Tensor
    sweeps: Tensor
    converged: Tensor

    def selected(self, which: Tensor) -> CPStack:
        """Some of the kernels."""
        a, b, c = self.factors
        return CPStack(
            (a[which], b[which], c[which]),
            self.ranks[which],
            self.errors[which],
            self.sweeps[which],
            self.converged[which],
        )

    def double(self) -> CPStack:
        """With factors in double precision."""
        a, b, c = self.factors
        return replace(self, factors=(a.double(), b.double(), c.double()))

    def after(self, sweeps: Tensor) -> CPStack:
        """With the sweeps of an earlier phase counted, too."""
        return replace(self, sweeps=self.sweeps + sweeps)


def padding(ranks: Tensor, like: Float[Tensor, "n I R"]) -> Float[Tensor, "n R"]:
    """One at the columns beyond each rank, in the type and on the device of a factor."""
    columns = torch.arange(like.shape[2], device=like.device)
    return (columns >= ranks[:, None]).to(like)


def regularized(
    gamma: Float[Tensor, "n R R"], ridge: Float[Tensor, "n R"], floor: Float[Tensor, "n 1"]
) -> Float[Tensor, "n R R"]:
    """The Cholesky factor of ``Γ + diag(ridge) + floor·I``; the floor is raised where that is not positive definite.

    Gram matrices of over-ranked or degenerate factors are singular up to round-off. ``gamma`` is overwritten.
    """
    diagonal = gamma.diagonal(dim1=1, dim2=2)
    original = diagonal.clone()
    raised = floor
    lower = gamma
    for _ in range(_ATTEMPTS):
        diagonal.copy_(original + ridge + raised)
        lower, info = torch.linalg.cholesky_ex(gamma)
        failed = info > 0
        if not bool(failed.any()):
            break
        raised = torch.where(failed[:, None], raised * 100, raised)
    return lower


_ATTEMPTS = 7


def solved_rows(target: Float[Tensor, "n I R"], lower: Float[Tensor, "n R R"]) -> Float[Tensor, "n I R"]:
    """``X`` with ``X L Lᵀ = G``, from the right: twice as fast as ``torch.cholesky_solve``, which works on copies."""
    half = half_solved_rows(target, lower)
    solution: Tensor = torch.linalg.solve_triangular(lower, half, upper=False, left=False)
    return solution


def half_solved_rows(target: Float[Tensor, "n I R"], lower: Float[Tensor, "n R R"]) -> Float[Tensor, "n I R"]:
    """``X`` with ``X Lᵀ = G``."""
    solution: Tensor = torch.linalg.solve_triangular(lower.mT, target, upper=True, left=False)
    return solution
