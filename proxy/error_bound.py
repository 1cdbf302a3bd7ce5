"""An error bound → the ranks with the fewest parameters within it.

Shapes: T output channels, S input channels, ``k…`` the kernel's own axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

from jaxtyping import Float
from torch import Tensor

from proxy.bisection import least_that_fits
from proxy.errors import UnsupportedMethod
from proxy.factors import energy_shares
from proxy.kernel import Kernel, kernels, refuse_type
from proxy.layout import Layout
from proxy.options import SolverOptions
from proxy.ranks import Ranks, maximum_ranks, show_ranks
from proxy.solvers import refuse_shape, solved_many
from proxy.svd import tail_errors
from proxy.tucker2 import Tucker2, hooi
from proxy.tucker2_bound import least_tucker2
from proxy.tucker2_cp3_bound import least_tucker2_cp3

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

    ``svd`` and ``spatial_svd``: exact, from the singular values. ``tucker2``: :mod:`proxy.tucker2_bound`. ``cp3``:
    bisection over the rank with the solver asked for; its error falls with the rank but for the solver's luck, so
    the result is a rank that meets the bound while a slightly smaller one missed it. ``tucker2_cp3``:
    :mod:`proxy.tucker2_cp3_bound`. The ranks are those that :func:`decompose` meets the bound with under the same
    options.

    Args:
        weight: in its layer's own layout; not changed.
        method: name of the decomposition.
        relative_error: the bound on the error of the whole weight, from 0 to 1.
        groups: of the layer; all have the same ranks.
        transposed: the weight is that of a transposed convolution.
        **options: those of :func:`decompose`.

    Returns:
        ``{"rank": r}`` or ``{"ranks": {"out": …, "in": …}}``; the maximum where no rank meets the bound.

    Raises:
        NotFinite: NaN or infinity in the weight.
        ShapeMismatch: not a weight, or not one of so many groups.
        UnsupportedMethod: no such method or solver, not for this shape, or a bound that is none.
    """
    if not 0 <= relative_error <= 1:
        raise UnsupportedMethod(
            "the bound is a fraction of the weight's norm", got=relative_error, expected="from 0 to 1"
        )
    stack = kernels(weight, Layout(groups, transposed), options.pop("device", None))
    shares = energy_shares([kernel.scale for kernel in stack])
    dtype = options.pop("dtype", None)
    refuse_type(dtype)
    solver = SolverOptions(**options)
    shape = stack[0].shape
    reason = refuse_shape(method, shape)
    if reason is not None:
        mend = "choose a method from the layer's rank grids"
        raise UnsupportedMethod(reason, got=f"a weight of shape {shape}", mend=mend)

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
        found = _least_tucker2(stack, shares, relative_error, solver, error)
    elif method == "tucker2_cp3":
        found = least_tucker2_cp3(stack, relative_error, solver, error)
    else:
        found = (least_that_fits(top[0], lambda rank: error((rank,)) <= relative_error),)
    return show_ranks(method, found)


def _together(shares: Sequence[float], errors: Sequence[float]) -> float:
    """The relative error of a layer from its groups' errors and shares of the energy."""
    return sqrt(sum(share * error**2 for share, error in zip(shares, errors, strict=True)))


def _least_tucker2(
    stack: Sequence[Kernel],
    shares: Sequence[float],
    bound: float,
    options: SolverOptions,
    error: Callable[[Ranks], float],
) -> Ranks:
    """The cheapest pair under HOOI; another solver, or round-off, may want one more."""
    out, inn = maximum_ranks("tucker2", stack[0].shape)
    sweeps = 30 if options.max_sweeps is None else options.max_sweeps

    def solve(pair: tuple[int, int]) -> list[Tucker2]:
        return [hooi(kernel, pair, max_sweeps=sweeps, tolerance=options.tolerance) for kernel in stack]

    pair = least_tucker2(stack, shares, bound, solve) or (out, inn)
    while pair != (out, inn) and error(pair) > bound:
        pair = min(out, pair[0] + 1), min(inn, pair[1] + 1)
    return pair
