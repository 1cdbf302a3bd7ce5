"""An error bound → the ranks with the fewest parameters within it.

Shapes: T output channels, S input channels, ``k…`` the kernel's own axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from proxy.errors import UnsupportedMethod
from proxy.factors import energy_shares
from proxy.kernel import kernels
from proxy.layout import Layout
from proxy.options import SolverOptions
from proxy.ranks import Ranks, maximum_ranks, show_ranks
from proxy.solvers import refuse_shape, solved_many
from proxy.svd import tail_errors
from proxy.tucker2 import captured_energies

__all__ = ["ranks_for_error"]


def ranks_for_error(
    weight: Float[Tensor, "I J *k"],
    method: str,
    relative_error: float,
    *,
    groups: int = 1,
    transposed: bool = False,
    **options: Any,  # noqa: ANN401 - as decompose
) -> dict[str, Any]:
    """The ranks with the fewest parameters whose relative error is at most the bound.

    ``svd`` and ``spatial_svd``: exact, from the singular values. ``tucker2``: the cheapest pair by the truncated
    HOSVD, then smaller pairs as long as HOOI keeps the bound. ``cp3``: bisection over the rank with the
    solver asked for; its error falls with the rank but for the solver's luck, so the result is a rank that
    meets the bound while a slightly smaller one missed it.

    Args:
        weight: in its layer's own layout; not changed.
        method: name of the decomposition.
        relative_error: the bound on the error of the whole weight, from 0 to 1.
        groups: of the layer; all have the same ranks.
        transposed: the weight is that of a transposed convolution.
        **options: those of :func:`decompose`.

    Returns:
        ``{"rank": r}`` or ``{"ranks": {"out": …, "in": …}}``; the maximum where no rank meets the bound.
    """
    stack = kernels(weight, Layout(groups, transposed), options.pop("device", None))
    shares = energy_shares([kernel.scale for kernel in stack])
    dtype = options.pop("dtype", None)
    solver = SolverOptions(**options)
    shape = stack[0].shape
    reason = refuse_shape(method, shape)
    if reason is not None:
        raise UnsupportedMethod(reason, got=f"a weight of shape {shape}")

    def error(ranks: Ranks) -> float:
        found = solved_many([(kernel, method, ranks) for kernel in stack], solver, dtype)
        return _together(shares, [factors.relative_error for factors in found])

    top = maximum_ranks(method, shape)
    if all(kernel.is_zero for kernel in stack):
        found = tuple(1 for _ in top)
    elif method in ("svd", "spatial_svd"):
        values = [kernel.matrix_svd[1] if method == "svd" else kernel.separable_svd[1] for kernel in stack]
        tails = zip(*(tail_errors(kernel, own) for kernel, own in zip(stack, values, strict=True)), strict=True)
        errors = [_together(shares, tail) for tail in tails]
        found = (next((rank for rank, value in enumerate(errors, 1) if value <= relative_error), top[0]),)
    elif method == "tucker2":
        captured = torch.stack([p * captured_energies(kernel) for p, kernel in zip(shares, stack, strict=True)]).sum(0)
        enough = captured[: top[0], : top[1]] >= 1 - relative_error * relative_error
        found = _least_tucker2(stack[0].size, relative_error, enough, error)
    else:
        found = (_bisected(top[0], lambda rank: error((rank,)) <= relative_error),)
    return show_ranks(method, found)


def _together(shares: Sequence[float], errors: Sequence[float]) -> float:
    """The relative error of a layer from its groups' errors and shares of the energy."""
    return sqrt(sum(share * error**2 for share, error in zip(shares, errors, strict=True)))


def _bisected(top: int, fits: Callable[[int], bool]) -> int:
    """The least rank that fits, if fitting is monotone; the top where nothing fits below it."""
    low, high = 0, 1
    while high < top and not fits(high):  # doubling first: the large ranks are the dear ones
        low, high = high, min(2 * high, top)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle
    return high


def _least_tucker2(
    size: tuple[int, int, int], bound: float, enough: Bool[Tensor, "T S"], error: Callable[[Ranks], float]
) -> Ranks:
    """The cheapest pair that the HOSVD meets the bound with, then down by single ranks under HOOI."""
    out, inn, depth = size

    def params(pair: Ranks) -> int:
        return out * pair[0] + inn * pair[1] + depth * pair[0] * pair[1]

    pairs: list[Ranks] = [(i + 1, j + 1) for i, j in enough.nonzero().tolist()]
    best = min(pairs, key=params, default=tuple(enough.shape))
    while True:
        smaller = [pair for pair in ((best[0] - 1, best[1]), (best[0], best[1] - 1)) if min(pair) >= 1]
        fitting = [pair for pair in smaller if _possible(pair, depth) and error(pair) <= bound]
        if not fitting:
            return best
        best = min(fitting, key=params)


def _possible(pair: Ranks, depth: int) -> bool:
    """A core mode larger than the other two together would hold empty directions."""
    return pair[0] <= pair[1] * depth and pair[1] <= pair[0] * depth
