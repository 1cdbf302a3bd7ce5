"""Weights, methods, ranks → factors; the other way round, see :mod:`proxy.error_bound`.

A layer is one kernel or, grouped, several: problems are taken apart into kernels, the kernels solved
(:mod:`proxy.solvers`), and the groups' factors joined.

Shapes: T output channels, S input channels, ``k…`` the kernel's own axes, D their product.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.cp_ladder import climbed
from proxy.errors import RankOutOfRange
from proxy.factors import Factors, joined
from proxy.kernel import Kernel, kernels, refuse_type
from proxy.layout import ORDINARY, Layout
from proxy.options import SolverOptions
from proxy.parallel import side_by_side
from proxy.solvers import checked, cp3_factors, solved_many

__all__ = ["Ladder", "Problem", "decompose", "decompose_many", "rank_ladder", "rank_ladders"]


class Problem(NamedTuple):
    """One weight to decompose.

    Args:
        weight: of a layer, in its own layout; not changed.
        method: name of the decomposition.
        ranks: in any form that :func:`decompose` takes.
        layout: groups of the layer, and whether it is a transposed convolution.
    """

    weight: Float[Tensor, "I J *k"]
    method: str
    ranks: object
    layout: Layout = ORDINARY


def decompose(
    weight: Float[Tensor, "I J *k"],
    method: str,
    ranks: object,
    *,
    groups: int = 1,
    transposed: bool = False,
    solver: str = "epc",
    max_error_slack: float = 0.01,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    max_sweeps: int | None = None,
    tolerance: float = 1e-3,
    objective: str = "sensitivity",
) -> Factors:
    """The factors of one weight.

    Args:
        weight: of a convolution ``(T, S/groups, k…)``, a transposed one ``(S, T/groups, k…)`` or a linear layer
            ``(T, S)``; not changed.
        method: ``svd``, ``spatial_svd``, ``tucker2``, ``cp3`` or ``tucker2_cp3``.
        ranks: of every group: ``{"rank": 48}``, ``{"ranks": {"out": 32, "in": 24}}``, an int or a sequence in the
            order (output, input).
        groups: of the layer; each is decomposed on its own, all with the same ranks.
        transposed: the weight is that of a transposed convolution.
        solver: ``epc``, ``als`` or ``tensorly``; the matrix methods are exact whatever it says, and Tucker-2
            knows ``tensorly`` and its own.
        max_error_slack: by how much EPC may raise the relative error, as a fraction of it; where the decomposition
            explains less than it leaves over, of what it explains (:func:`proxy.cp3.slackened`).
        seed: same seed, device, thread count and options: same factors, whatever else was decomposed before.
        dtype: type of the factors; the weight's by default. The work is done in float32 or wider in any case.
        device: where the work is done and the factors live; the weight's by default.
        max_sweeps: most sweeps of ALS or HOOI; None fits it to the size of the kernel.
        tolerance: stop ALS or HOOI when a sweep lowers the error by less than this fraction of it.
        objective: EPC only: what is kept small, ``sensitivity`` (Phan et al., ECCV 2020) or ``energy``, that of the
            rank-one terms (Phan, Tichavský, Cichocki, arXiv 1709.08349).

    Raises:
        NotFinite: NaN or infinity in the weight, or factors too large or too small for their type.
        RankOutOfRange: ranks malformed, below one or above the maximum.
        ShapeMismatch: not a weight, or not one of so many groups.
        UnsupportedMethod: no such method or solver, or not for this shape; an option that makes no sense.
    """
    options = SolverOptions(solver, max_error_slack, seed, max_sweeps, tolerance, objective)
    return _layers([Problem(weight, method, ranks, Layout(groups, transposed))], options, dtype, device)[0]


def decompose_many(
    problems: Iterable[Problem | tuple[Float[Tensor, "I J *k"], str, object]],
    *,
    solver: str = "epc",
    max_error_slack: float = 0.01,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    max_sweeps: int | None = None,
    tolerance: float = 1e-3,
    objective: str = "sensitivity",
) -> list[Factors]:
    """The factors of many problems, in their order: the same as :func:`decompose` of each.

    To the bit for a problem alone, and again from the same problems in the same order. In company, CP decompositions
    are solved in stacks, whose round-off the sweeps amplify: seen on real kernels in single precision, relative errors
    that differ by 1e-5 of themselves and reconstructions that differ by up to 2e-3 of their norm.

    A problem is ``(weight, method, ranks)``, or a :class:`Problem` where the layer is grouped or transposed. What
    several ranks of one weight share (its SVDs) is computed once; give the same tensor object to profit. Options
    and errors are those of :func:`decompose`.
    """
    options = SolverOptions(solver, max_error_slack, seed, max_sweeps, tolerance, objective)
    return _layers([Problem(*problem) for problem in problems], options, dtype, device)


def _layers(
    problems: Sequence[Problem],
    options: SolverOptions,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> list[Factors]:
    """Problems → kernels → factors of each kernel → factors of each layer."""
    refuse_type(dtype)
    stacks: dict[tuple[int, Layout], list[Kernel]] = {}  # the problems hold their tensors: an id stays its own
    for weight, _, _, layout in problems:
        if (id(weight), layout) not in stacks:
            stacks[id(weight), layout] = kernels(weight, layout, device)
    stacked = [stacks[id(problem.weight), problem.layout] for problem in problems]
    tasks = [(kernel, p.method, p.ranks) for p, stack in zip(problems, stacked, strict=True) for kernel in stack]
    parts = iter(solved_many(tasks, options, dtype))
    return [
        joined([next(parts) for _ in stack], [kernel.scale for kernel in stack], tuple(p.weight.shape), p.layout)
        for p, stack in zip(problems, stacked, strict=True)
    ]


class Ladder(NamedTuple):
    """One weight to decompose at several ranks.

    Args:
        weight: of a layer, in its own layout; not changed.
        method: name of the decomposition.
        ranks: each in any form that :func:`decompose` takes, in any order.
        layout: groups of the layer, and whether it is a transposed convolution.
    """

    weight: Float[Tensor, "I J *k"]
    method: str
    ranks: Sequence[object]
    layout: Layout = ORDINARY


def rank_ladder(
    weight: Float[Tensor, "I J *k"],
    method: str,
    ranks: Sequence[object],
    *,
    groups: int = 1,
    transposed: bool = False,
    sweeps: int = 4,
    **options: Any,  # noqa: ANN401 - as decompose
) -> list[Factors]:
    """The factors of one weight at many ranks, for little more than the price of a few.

    A CP decomposition climbs: each rank starts from the one below it and the strongest terms of what that leaves over
    (:mod:`proxy.cp_ladder`). So the factors are not those of :func:`decompose`, which starts every rank afresh and
    sweeps to the end: up to the middle of a grid they are as good, towards its top, where errors are small, the last
    part of the error is missing; more ``sweeps`` buy most of it back. The damping that keeps them stable is the
    same; the correction is left out, and so is the end in double precision of nearly exact ones. For a first look at
    a layer; studies use :func:`decompose_many`. The other methods give what :func:`decompose` gives.

    Args:
        weight: as :func:`decompose`.
        method: as :func:`decompose`.
        ranks: each in any form that :func:`decompose` takes, in any order.
        groups: of the layer.
        transposed: the weight is that of a transposed convolution.
        sweeps: of ALS at every rank above the lowest.
        **options: those of :func:`decompose`.

    Returns:
        The factors, in the order of the ranks.

    Raises:
        ProxyError: as :func:`decompose`.
    """
    return rank_ladders([Ladder(weight, method, ranks, Layout(groups, transposed))], sweeps=sweeps, **options)[0]


def rank_ladders(
    ladders: Iterable[Ladder | tuple[Float[Tensor, "I J *k"], str, Sequence[object]]],
    *,
    sweeps: int = 4,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    **options: Any,  # noqa: ANN401 - as decompose
) -> list[list[Factors]]:
    """The ladders of many weights, side by side; see :func:`rank_ladder`."""
    solver = SolverOptions(**options)
    refuse_type(dtype)
    if sweeps < 1:
        raise RankOutOfRange("a rung of the ladder needs a sweep", got=sweeps, expected="1 or more")
    given = [Ladder(*ladder) for ladder in ladders]
    found: dict[int, list[Factors]] = {}

    def climb(at: int) -> None:
        found[at] = _climbed(given[at], solver, sweeps, dtype, device)

    order = sorted(range(len(given)), key=lambda at: -given[at].weight.numel())
    side_by_side([(given[at].weight.numel(), device or given[at].weight.device, partial(climb, at)) for at in order])
    return [found[at] for at in range(len(given))]


def _climbed(
    ladder: Ladder, options: SolverOptions, sweeps: int, dtype: torch.dtype | None, device: torch.device | str | None
) -> list[Factors]:
    stack = kernels(ladder.weight, ladder.layout, device)
    shape = tuple(ladder.weight.shape)
    scales = [kernel.scale for kernel in stack]
    if ladder.method != "cp3" or options.solver == "tensorly" or any(kernel.is_zero for kernel in stack):
        tasks = [(kernel, ladder.method, ranks) for ranks in ladder.ranks for kernel in stack]
        parts = iter(solved_many(tasks, options, dtype))
        return [joined([next(parts) for _ in stack], scales, shape, ladder.layout) for _ in ladder.ranks]
    if dtype is not None:
        for kernel in stack:
            kernel.weight_dtype = dtype
    wanted = [checked(stack[0], ladder.method, ranks)[0] for ranks in ladder.ranks]
    rungs = sorted(set(wanted))
    by_kernel = climbed(stack, rungs, options.cp, sweeps=sweeps) if rungs else []
    layers = {
        rank: joined(
            [cp3_factors(kernel, own[step], "ladder") for kernel, own in zip(stack, by_kernel, strict=True)],
            scales,
            shape,
            ladder.layout,
        )
        for step, rank in enumerate(rungs)
    }
    return [layers[rank] for rank in wanted]
