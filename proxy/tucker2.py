"""Tucker-2 decomposition of a kernel by higher-order orthogonal iteration.

``Y ≈ core ×_out U ×_in V`` with orthonormal U (T, R_out), V (S, R_in). De Lathauwer, De Moor, Vandewalle, *On
the best rank-1 and rank-(R1,…,RN) approximation…*, SIAM J. Matrix Anal. 21(4), 2000; for layers, Kim et al.,
ICLR 2016.

Shapes: T output channels, S input channels, D kernel positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.factors import Factors
from proxy.kernel import Kernel, gram, leading

__all__ = ["Tucker2", "captured_energies", "core_error", "hooi", "tucker2"]


@dataclass(frozen=True, eq=False)
class Tucker2:
    """Two orthonormal bases and the core between them, of a tensor of unit norm."""

    out: Float[Tensor, "T A"]
    core: Float[Tensor, "A B D"]
    inn: Float[Tensor, "S B"]
    sweeps: int
    converged: bool

    @property
    def error(self) -> float:
        """Relative error, from the energy that the core keeps."""
        return core_error(self.core)


def tucker2(kernel: Kernel, ranks: tuple[int, int], *, max_sweeps: int = 30, tolerance: float = 1e-6) -> Factors:
    """Tucker-2 by :func:`hooi`, as the factors of the weight."""
    found = hooi(kernel, ranks, max_sweeps=max_sweeps, tolerance=tolerance)
    tensors = {
        "out": kernel.finished(found.out),
        "core": kernel.finished(found.core, kernel.scale),
        "in": kernel.finished(found.inn),
    }
    error = 0.0 if kernel.is_zero else found.error
    sweeps, converged = found.sweeps, found.converged
    return Factors("tucker2", ranks, kernel.shape, tensors, error, sweeps=sweeps, converged=converged, solver="hooi")


def hooi(kernel: Kernel, ranks: tuple[int, int], *, max_sweeps: int, tolerance: float) -> Tucker2:
    """HOOI from the truncated HOSVD.

    With V fixed, the best U is the R_out leading eigenvectors of the Gram matrix of ``Y ×_in Vᵀ``, and the energy
    captured is the sum of its leading eigenvalues; the same for V. Each half step captures at least as much.

    Args:
        kernel: the tensor, of unit norm.
        ranks: (R_out, R_in).
        max_sweeps: most sweeps over the two factors.
        tolerance: stop when a sweep lowers the error by less than this fraction of it.
    """
    rank_out, rank_in = ranks
    inn = kernel.channel_bases[1][:, :rank_in].to(kernel.tensor.dtype)
    out, last, sweeps, converged = inn, 2.0, 0, False
    while sweeps < max_sweeps and not converged:
        sweeps += 1
        reduced = torch.einsum("tsd,sb->tbd", kernel.tensor, inn)
        out = leading(gram(reduced.flatten(1)))[:, :rank_out].to(inn)
        reduced = torch.einsum("tsd,ta->sad", kernel.tensor, out)
        matrix = gram(reduced.flatten(1))
        inn = leading(matrix)[:, :rank_in].to(inn)
        captured = torch.einsum("sad,sb->abd", reduced, inn)
        error = core_error(captured)
        converged = last - error <= tolerance * error
        last = error
    core = torch.einsum("tsd,ta,sb->abd", kernel.tensor, out, inn)
    return Tucker2(out, core, inn, sweeps, converged)


def core_error(core: Float[Tensor, "A B D"]) -> float:
    """``√(‖Y‖² − ‖core‖²)`` for unit ‖Y‖ and orthonormal factors."""
    return sqrt(max(1 - float(core.double().square().sum()), 0.0))


def captured_energies(kernel: Kernel) -> Float[Tensor, "T S"]:
    """Energy that the truncated HOSVD keeps at every pair of ranks: entry (i, j) for ranks (i + 1, j + 1).

    One rotation of the whole kernel answers for all pairs; HOOI at the same ranks captures at least as much.
    """
    out, inn = (basis.to(kernel.tensor.dtype) for basis in kernel.channel_bases)
    rotated = torch.einsum("tsd,ta,sb->abd", kernel.tensor, out, inn)
    return rotated.double().square().sum(2).cumsum(0).cumsum(1)
