"""The large products of a CP sweep over a stack of kernels, in blocks that stay in the cache.

``G = Y_(n) (⊙ of the other factors)``, the right-hand side of every factor's least-squares problem, is all that a
sweep needs of the kernel (MTTKRP; Kolda & Bader 2009, §3.4). Two passes over the kernel serve three factors: one
for A, and one in which ``P = Y_(1)ᵀ A`` gives B's right-hand side, B itself row by row, and with the new B that of
C. Blocks of input channels bound the memory: neither a Khatri–Rao product nor P ever exists as a whole.

Shapes: n kernels, T output channels, S input channels, D kernel positions, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Products"]

_BLOCK_ENTRIES = 1 << 20
"""Entries of a block's intermediate: 4 MiB in single precision, about what a core's cache holds."""

_BLOCK_ENTRIES_GPU = 1 << 27
"""On an accelerator: large enough to fill it, half a GiB in single precision."""


class Products:
    """The products of one stack.

    Args:
        kernels: of unit norm each.
        rank: of the factors, for the size of the blocks.
    """

    def __init__(self, kernels: Float[Tensor, "n T S D"], rank: int) -> None:
        self.kernels = kernels
        self.rank = rank
        self.count, self.out, self.inn, self.depth = kernels.shape
        entries = _BLOCK_ENTRIES if kernels.device.type == "cpu" else _BLOCK_ENTRIES_GPU
        rows = max(1, entries // (self.count * self.depth * rank))
        self._blocks = [slice(start, start + rows) for start in range(0, self.inn, rows)]

    @cached_property
    def energy(self) -> Float[Tensor, " n"]:
        """``‖Y‖²`` in double precision: one but for round-off, which small errors have to know of."""
        return self.kernels.flatten(1).square().sum(1, dtype=torch.float64)

    @property
    def lengths(self) -> tuple[int, int, int]:
        """(T, S, D)."""
        return self.out, self.inn, self.depth

    @cached_property
    def _unfolded(self) -> Float[Tensor, "n T S*D"]:
        return self.kernels.flatten(2)

    def selected(self, chosen: Tensor) -> Products:
        """Of some of the kernels only."""
        return Products(self.kernels[chosen], self.rank)

    def for_out(self, inn: Float[Tensor, "n S R"], space: Float[Tensor, "n D R"]) -> Float[Tensor, "n T R"]:
        """``Y_(1) (B ⊙ C)``."""
        if len(self._blocks) == 1:
            return self._unfolded @ _khatri_rao(inn, space)
        total: Tensor | None = None
        for unfolded, rows in self._each():
            product = unfolded @ _khatri_rao(inn[:, rows], space)
            total = product if total is None else total.add_(product)
        assert total is not None  # noqa: S101 - a kernel has input channels
        return total

    def for_rest(
        self,
        out: Float[Tensor, "n T R"],
        space: Float[Tensor, "n D R"],
        solve: Callable[[Float[Tensor, "n s R"]], Float[Tensor, "n s R"]],
    ) -> tuple[Float[Tensor, "n S R"], Float[Tensor, "n D R"]]:
        """B, and C's right-hand side with it.

        Args:
            out: A.
            space: C as it enters B's right-hand side ``G_B = Σ_d P_d * c_d``.
            solve: rows of ``G_B`` → the same rows of B, which do not depend on each other.

        Returns:
            B and ``G_C = Σ_s P_s * b_s``.
        """
        parts: list[Tensor] = []
        target: Tensor | None = None
        for unfolded, _ in self._each():
            shared = self._shared(unfolded, out)
            part = solve((shared * space[:, None]).sum(2))
            parts.append(part)
            product = (shared * part[:, :, None]).sum(1)
            target = product if target is None else target.add_(product)
        assert target is not None  # noqa: S101 - a kernel has input channels
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1), target

    def for_inn(self, out: Float[Tensor, "n T R"], space: Float[Tensor, "n D R"]) -> Float[Tensor, "n S R"]:
        """``G_B`` alone."""
        return torch.cat([(self._shared(unfolded, out) * space[:, None]).sum(2) for unfolded, _ in self._each()], 1)

    def for_space(self, out: Float[Tensor, "n T R"], inn: Float[Tensor, "n S R"]) -> Float[Tensor, "n D R"]:
        """``G_C`` alone."""
        total: Tensor | None = None
        for unfolded, rows in self._each():
            product = (self._shared(unfolded, out) * inn[:, rows, None]).sum(1)
            total = product if total is None else total.add_(product)
        assert total is not None  # noqa: S101 - a kernel has input channels
        return total

    def residual(self, factors: tuple[Tensor, Tensor, Tensor]) -> Float[Tensor, "n T S D"]:
        """``Y − [[A, B, C]]``."""
        out, inn, space = factors
        parts = [
            torch.baddbmm(unfolded, out, _khatri_rao(inn[:, rows], space).mT, alpha=-1)
            for unfolded, rows in self._each()
        ]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, 2)).view(self.kernels.shape)

    def errors(self, factors: tuple[Tensor, Tensor, Tensor]) -> Float[Tensor, " n"]:
        """``‖Y − [[A, B, C]]‖`` from the residual itself, exact down to round-off, in double precision."""
        out, inn, space = factors
        square = torch.zeros(self.count, dtype=torch.float64, device=out.device)
        for unfolded, rows in self._each():
            rest = torch.baddbmm(unfolded, out, _khatri_rao(inn[:, rows], space).mT, alpha=-1)
            square += rest.flatten(1).square().sum(1, dtype=torch.float64)
        return square.sqrt()

    def _shared(self, unfolded: Float[Tensor, "n T s*D"], out: Float[Tensor, "n T R"]) -> Float[Tensor, "n s D R"]:
        """P."""
        return (unfolded.mT @ out).view(self.count, -1, self.depth, out.shape[2])

    def _each(self) -> Iterator[tuple[Float[Tensor, "n T s*D"], slice]]:
        for rows in self._blocks:
            yield (self._unfolded if len(self._blocks) == 1 else self.kernels[:, :, rows].flatten(2)), rows


def _khatri_rao(inn: Float[Tensor, "n S R"], space: Float[Tensor, "n D R"]) -> Float[Tensor, "n S*D R"]:
    return (inn[:, :, None] * space[:, None]).flatten(1, 2)
