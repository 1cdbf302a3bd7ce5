"""CP decompositions of many kernels at once, as their solvers pass them on.

Shapes: n kernels, T output channels, S input channels, D kernel positions, R the largest rank of the stack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["CPStack", "FactorTriple", "gram_product", "half_solved_rows", "padding", "regularized", "solved_rows"]

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


def gram_product(first: Float[Tensor, "n I R"], second: Float[Tensor, "n J R"]) -> Float[Tensor, "n R R"]:
    """``Γ = FᵀF * SᵀS``: the Gram matrix of the two factors' Khatri–Rao product."""
    gamma: Tensor = first.mT @ first
    return gamma.mul_(second.mT @ second)


def regularized(
    form: Callable[[], Float[Tensor, "n R R"]], ridge: Float[Tensor, "n R"], floor: Float[Tensor, "n 1"]
) -> Float[Tensor, "n R R"]:
    """The Cholesky factor of ``Γ + diag(ridge) + floor·I``; the floor is raised where that is not positive definite.

    Gram matrices of over-ranked or degenerate factors are singular up to round-off.

    Args:
        form: makes Γ; what it returns is overwritten, so that at large ranks one such matrix is enough.
        ridge: added to the diagonal.
        floor: added, too, at first.
    """
    for attempt in range(_ATTEMPTS):
        lower = form()
        lower.diagonal(dim1=1, dim2=2).add_(ridge).add_(floor)
        info = torch.empty(len(lower), dtype=torch.int32, device=lower.device)
        torch.linalg.cholesky_ex(lower, out=(lower, info))
        failed = info > 0
        if attempt == _ATTEMPTS - 1 or not bool(failed.any()):
            return lower
        del lower
        floor = torch.where(failed[:, None], floor * 100, floor)
    raise AssertionError("there is an attempt")


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
