"""An error bound → the ranks with the fewest parameters within it.

Shapes: T output channels, S input channels, ``k…`` the kernel's own axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from proxy.decompose import SolverOptions, refuse_shape, solved
from proxy.errors import UnsupportedMethod
from proxy.kernel import Kernel
from proxy.ranks import Ranks, maximum_ranks, show_ranks
from proxy.svd import tail_errors
from proxy.tucker2 import captured_energies

__all__ = ["ranks_for_error"]


def ranks_for_error(
    weight: Float[Tensor, "T S *k"],
    method: str,
    relative_error: float,
    **options: Any,  # noqa: ANN401 - as decompose
) -> dict[str, Any]:
    """The ranks with the fewest parameters whose relative error is at most the bound.

    ``svd`` and ``spatial_svd``: exact, from the singular values. ``tucker2``: the cheapest pair by the truncated
    HOSVD, then smaller pairs as long as HOOI keeps the bound. ``cp3``: bisection over the rank with the
    solver asked for; its error falls with the rank but for the solver's luck, so the result is a rank that
    meets the bound while a slightly smaller one missed it.

    Args:
        weight: not changed.
        method: name of the decomposition.
        relative_error: the bound, from 0 to 1.
        **options: those of :func:`decompose`.

    Returns:
        ``{"rank": r}`` or ``{"ranks": {"out": …, "in": …}}``; the maximum where no rank meets the bound.
    """
    kernel = Kernel(weight, options.pop("device", None))
    dtype = options.pop("dtype", None)
    solver = SolverOptions(**options)
    reason = refuse_shape(method, kernel.shape)
    if reason is not None:
        raise UnsupportedMethod(reason, got=f"a weight of shape {kernel.shape}")

    def error(ranks: Ranks) -> float:
        return solved(kernel, method, ranks, solver, dtype).relative_error

    top = maximum_ranks(method, kernel.shape)
    if kernel.is_zero:
        found = tuple(1 for _ in top)
    elif method in ("svd", "spatial_svd"):
        values = (kernel.matrix_svd if method == "svd" else kernel.separable_svd)[1]
        errors = tail_errors(kernel, values)
        found = (next((rank for rank, value in enumerate(errors, 1) if value <= relative_error), top[0]),)
    elif method == "tucker2":
        found = _least_tucker2(kernel, relative_error, top, error)
    else:
        found = (_bisected(top[0], lambda rank: error((rank,)) <= relative_error),)
    return show_ranks(method, found)


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


def _least_tucker2(kernel: Kernel, bound: float, top: Ranks, error: Callable[[Ranks], float]) -> Ranks:
    """The cheapest pair that the HOSVD meets the bound with, then down by single ranks under HOOI."""
    out, inn, depth = kernel.size

    def params(pair: Ranks) -> int:
        return out * pair[0] + inn * pair[1] + depth * pair[0] * pair[1]

    enough = captured_energies(kernel)[: top[0], : top[1]] >= 1 - bound * bound
    pairs: list[Ranks] = [(i + 1, j + 1) for i, j in enough.nonzero().tolist()]
    best = min(pairs, key=params, default=top)
    while True:
        smaller = [pair for pair in ((best[0] - 1, best[1]), (best[0], best[1] - 1)) if min(pair) >= 1]
        fitting = [pair for pair in smaller if _possible(pair, depth) and error(pair) <= bound]
        if not fitting:
            return best
        best = min(fitting, key=params)


def _possible(pair: Ranks, depth: int) -> bool:
    """A core mode larger than the other two together would hold empty directions."""
    return pair[0] <= pair[1] * depth and pair[1] <= pair[0] * depth
