"""Tucker-2 under an error bound: the pair of ranks with the fewest parameters.

``min R_in S + R_out T + R_in R_out D  s.t.  ‖Y − Ŷ‖ ≤ ε ‖Y‖``: the first step of TKD-CPD (Phan et al., ECCV 2020,
arXiv 2008.05441; ICASSP 2021). The papers alternate eigendecompositions that keep the fewest eigenvectors; then
whichever mode is visited first takes all the slack. Here all pairs compete:

- **For certain within the bound.** One rotation of Y into the eigenbases of its two Gram matrices tells the energy that
  the truncated HOSVD keeps at every pair (:func:`proxy.tucker2.captured_energies`); HOOI starts there and only gains.
- **For certain out of it.** No bases at ranks (i, j) keep more than the i leading eigenvalues of the one Gram matrix,
  or the j leading ones of the other. What cost more than the cheapest certain pair is out, too.
- **In between**, HOOI decides, one pair at a time. Each run also makes its estimate: a rotation into *its* bases shows
  what neighbouring pairs keep at least, which is how the next pair is chosen. A pair that fails takes all smaller ones
  with it.

Shapes: T output channels, S input channels, D kernel positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from proxy.kernel import Kernel, gram, leading
from proxy.tucker2 import Tucker2, captured_energies

__all__ = ["least_tucker2"]


def least_tucker2(
    stack: Sequence[Kernel],
    shares: Sequence[float],
    bound: float,
    solve: Callable[[tuple[int, int]], Sequence[Tucker2]],
    *,
    failures: int | None = None,
) -> tuple[int, int] | None:
    """The ranks (R_out, R_in) with the fewest parameters whose Tucker-2 meets the bound, common to a layer's groups.

    Exact, as far as ``solve`` is, when every pair in doubt is tried: on small kernels always, on large ones the
    search ends after some failures in a row, most promising first. Six sufficed to find the best pair on each of 16
    cases (four kernels of a ResNet-56, bounds 0.2 to 0.8) where all pairs could be tried.

    Args:
        stack: the groups' kernels, of one shape, each of unit norm or zero; not all zero.
        shares: of the groups in the layer's energy.
        bound: ε, relative error of all groups together.
        solve: pair → every group's Tucker-2 decomposition, at least as good as the truncated HOSVD.
        failures: pairs in a row that may miss the bound before the search ends; None fits it to the kernel's size.

    Returns:
        The pair; None where the full ranks miss the bound by round-off.
    """
    out, inn, depth = stack[0].size
    wanted = 1 - bound * bound
    where = stack[0].tensor.device
    rows = torch.arange(1, out + 1, dtype=torch.float64, device=where)[:, None]
    columns = torch.arange(1, inn + 1, dtype=torch.float64, device=where)
    params = out * rows + inn * columns + depth * rows * columns
    # A core mode larger than the other two together would hold empty directions.
    possible = (rows <= columns * depth) & (columns <= rows * depth)
    energies = _summed(shares, [captured_energies(kernel) for kernel in stack])
    sure = possible & (energies >= wanted)
    best = _cheapest(sure, params)
    if best is None:
        return None
    doubt = possible & ~sure & (_summed(shares, [_ceilings(kernel) for kernel in stack]) >= wanted)
    patience = failures if failures is not None else max(3, min(60, int(8e6 / (len(stack) * stack[0].tensor.numel()))))
    missed = 0
    while missed < patience:
        doubt &= params < params[best]
        pair = _next(doubt, energies, params, wanted)
        if pair is None:
            break
        found = solve((pair[0] + 1, pair[1] + 1))
        around = [_around(kernel, own) for kernel, own in zip(stack, found, strict=True)]
        energies = torch.maximum(energies, _summed(shares, around))
        if sum(share * own.error**2 for share, own in zip(shares, found, strict=True)) <= bound * bound:
            best, missed = pair, 0
        else:
            missed += 1
            doubt[: pair[0] + 1, : pair[1] + 1] = False
        doubt[pair] = False
    return best[0] + 1, best[1] + 1


def _summed(shares: Sequence[float], energies: Sequence[Tensor]) -> Float[Tensor, "T S"]:
    return torch.stack([share * own.cpu() for share, own in zip(shares, energies, strict=True)]).sum(0)


def _cheapest(allowed: Bool[Tensor, "T S"], params: Float[Tensor, "T S"]) -> tuple[int, int] | None:
    if not bool(allowed.any()):
        return None
    index = int(torch.where(allowed, params, torch.inf).argmin())
    return divmod(index, params.shape[1])


def _next(
    doubt: Bool[Tensor, "T S"], energies: Float[Tensor, "T S"], params: Float[Tensor, "T S"], wanted: float
) -> tuple[int, int] | None:
    """The cheapest pair expected to fit; where none is, the one that is expected to miss by least."""
    expected = _cheapest(doubt & (energies >= wanted), params)
    if expected is not None or not bool(doubt.any()):
        return expected
    index = int(torch.where(doubt, energies, -torch.inf).argmax())
    return divmod(index, params.shape[1])


def _ceilings(kernel: Kernel) -> Float[Tensor, "T S"]:
    """The most energy that any bases of ranks (i + 1, j + 1) can keep, a hair more for round-off."""
    tensor = kernel.tensor
    kept = [
        torch.linalg.eigvalsh(gram(tensor.transpose(0, mode).flatten(1))).flip(0).clamp_min(0).cumsum(0).cpu()
        for mode in (0, 1)
    ]
    return torch.minimum(kept[0][:, None], kept[1]) * (1 + 1e-6)


def _around(kernel: Kernel, found: Tucker2) -> Float[Tensor, "T S"]:
    """Energies kept at all pairs by the bases that a HOOI solution completes to, best directions first."""
    seen_out = torch.einsum("tsd,sb->tbd", kernel.tensor, found.inn)
    seen_inn = torch.einsum("tsd,ta->sad", kernel.tensor, found.out)
    out, inn = (leading(gram(seen.flatten(1))).to(kernel.tensor) for seen in (seen_out, seen_inn))
    rotated = torch.einsum("tsd,ta,sb->abd", kernel.tensor, out, inn)
    return rotated.double().square().sum(2).cumsum(0).cumsum(1).cpu()
