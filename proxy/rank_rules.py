"""Ranks by rules that look at singular values, at rising steps of each rule's parameter.

One layer's steps belong to the same steps of all others: an allocation by a rule takes one step everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from proxy.kernel import kernels
from proxy.layout import ORDINARY, Layout
from proxy.ranks import Ranks, maximum_ranks, show_ranks
from proxy.solvers import refuse_shape
from proxy.spectra import least, shared_energies, spectra
from proxy.vbmf import group_ranks, weakened

__all__ = ["ENERGIES", "STEPS", "rank_rules", "rule_method"]

STEPS = 16

ENERGIES = (0.3, 0.4, 0.5, 0.6, 0.68, 0.75, 0.8, 0.84, 0.88, 0.91, 0.935, 0.955, 0.97, 0.982, 0.992, 0.999)
"""Shares of the energy, from daring to careful, denser towards the top, where a step costs most."""

_SCALES = tuple(step / 8 for step in range(1, 9))
_WEAKENINGS = tuple(1 - step / 8 for step in range(1, 9))


def rule_method(kernel_shape: Sequence[int]) -> str:
    """The method whose ranks the rules choose for a kernel of this shape ``(T/g, S/g, k…)``.

    Tucker-2; svd for kernels of one position.
    """
    return "tucker2" if refuse_shape("tucker2", kernel_shape) is None else "svd"


def rank_rules(
    weight: Float[Tensor, "I J *k"], *, layout: Layout = ORDINARY
) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """The method, and for each rule its ranks at each of :data:`STEPS` steps, none ever falling.

    ``energy``: :func:`proxy.energy_ranks` at :data:`ENERGIES`. ``vbmf``: :func:`proxy.vbmf_ranks`, in eighths of VB's
    ranks up to these, then weakened in eighths up to the full ranks (MUSCO). The spectra are computed once for all.

    Args:
        weight: in its layer's own layout; not changed.
        layout: of the weight.

    Raises:
        NotFinite: NaN or infinity in the weight.
        ShapeMismatch: not a weight, or not of this layout.
    """
    stack = kernels(weight, layout)
    method = rule_method(stack[0].shape)
    found = [spectra(kernel, method) for kernel in stack]
    most = maximum_ranks(method, stack[0].shape)
    energies, own = shared_energies(stack, found), group_ranks(found)

    scaled = [[max(1, round(share * rank)) for rank in own] for share in _SCALES]
    freed = [[weakened(rank, top, w) for rank, top in zip(own, most, strict=True)] for w in _WEAKENINGS]
    kept = [[least(of_rank, share) for of_rank in energies] for share in ENERGIES]
    return method, {"vbmf": _shown(method, [*scaled, *freed], most), "energy": _shown(method, kept, most)}


def _shown(method: str, steps: Sequence[Sequence[int]], most: Ranks) -> list[dict[str, Any]]:
    return [show_ranks(method, tuple(map(min, ranks, most))) for ranks in steps]
