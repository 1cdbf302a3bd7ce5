"""One weight, one method, one rank → factors; the other way round, see :mod:`proxy.error_bound`.

This is the small interface over the solvers, one file each: :mod:`proxy.svd`, :mod:`proxy.tucker2`,
:mod:`proxy.cp3_als` with :mod:`proxy.epc`, :mod:`proxy.tensorly_reference`.

A layer is one kernel or, grouped, several: problems are taken apart into kernels, the kernels solved, and the
groups' factors joined.

Shapes: T output channels, S input channels, ``k…`` the kernel's own axes, D their product.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.cp3_als import CP, als, initial
from proxy.epc import epc
from proxy.errors import UnsupportedMethod
from proxy.factors import Factors, factor_shapes, joined
from proxy.kernel import Kernel, kernels
from proxy.layout import ORDINARY, Layout
from proxy.ranks import Ranks, names_of, parse_ranks
from proxy.sensitivity import balance, rank_one_energy, sensitivity
from proxy.svd import spatial_svd, svd
from proxy.tucker2 import tucker2

__all__ = [
    "SOLVERS",
    "Problem",
    "SolverOptions",
    "decompose",
    "decompose_many",
    "refuse_shape",
    "solved",
    "solved_many",
]

SOLVERS = ("epc", "als", "tensorly")


@dataclass(frozen=True)
class SolverOptions:
    """How to solve; everything that can change the factors of a given weight, method and ranks.

    Args:
        solver: ``epc`` (ALS, then the error-preserving correction), ``als``, or ``tensorly`` (the reference).
        max_error_slack: EPC only: how far the relative error may rise above ALS's, as a fraction of it.
        seed: of the noise on the start.
        max_sweeps: most ALS or HOOI sweeps; None fits it to the size of the kernel.
        tolerance: stop ALS or HOOI when a sweep lowers the error by less than this fraction of it.
    """

    solver: str = "epc"
    max_error_slack: float = 0.01
    seed: int = 0
    max_sweeps: int | None = None
    tolerance: float = 2e-4

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise UnsupportedMethod("there is no such solver", got=repr(self.solver), expected=f"one of {SOLVERS}")
        if not 0 <= self.max_error_slack < 1:
            raise UnsupportedMethod(
                "the slack is a fraction of the error", got=self.max_error_slack, expected="0 or more, below 1"
            )

    def deciding(self, method: str) -> tuple[object, ...]:
        """The options that decide the factors of this method, for a cache's key."""
        if method in ("svd", "spatial_svd"):
            return ()
        if self.solver == "tensorly" or method == "cp3":
            slack = self.max_error_slack if self.solver == "epc" else None
            return (self.solver, slack, self.seed, self.max_sweeps, self.tolerance)
        return (self.max_sweeps, self.tolerance)


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
    tolerance: float = 2e-4,
) -> Factors:
    """The factors of one weight.

    Args:
        weight: of a convolution ``(T, S/groups, k…)``, a transposed one ``(S, T/groups, k…)`` or a linear layer
            ``(T, S)``; not changed.
        method: ``svd``, ``spatial_svd``, ``tucker2`` or ``cp3``.
        ranks: of every group: ``{"rank": 48}``, ``{"ranks": {"out": 32, "in": 24}}``, an int or a sequence in the
            order (output, input).
        groups: of the layer; each is decomposed on its own, all with the same ranks.
        transposed: the weight is that of a transposed convolution.
        solver: ``epc``, ``als`` or ``tensorly``; the matrix methods are exact whatever it says, and Tucker-2
            knows ``tensorly`` and its own.
        max_error_slack: by how much EPC may raise the relative error, as a fraction of it.
        seed: same seed, device, thread count and options: same factors, whatever else was decomposed before.
        dtype: type of the factors; the weight's by default. The work is done in float32 or wider in any case.
        device: where the work is done and the factors live; the weight's by default.
        max_sweeps: most sweeps of ALS or HOOI; None fits it to the size of the kernel.
        tolerance: stop ALS or HOOI when a sweep lowers the error by less than this fraction of it.

    Raises:
        NotFinite: NaN or infinity in the weight.
        RankOutOfRange: ranks malformed, below one or above the maximum.
        ShapeMismatch: not a weight, or not one of so many groups.
        UnsupportedMethod: no such method or solver, or not for this shape.
    """
    options = SolverOptions(solver, max_error_slack, seed, max_sweeps, tolerance)
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
    tolerance: float = 2e-4,
) -> list[Factors]:
    """The factors of many problems, in their order: the same as :func:`decompose` of each.

    A problem is ``(weight, method, ranks)``, or a :class:`Problem` where the layer is grouped or transposed. What
    several ranks of one weight share (its SVDs) is computed once; give the same tensor object to profit. Options
    and errors are those of :func:`decompose`.
    """
    options = SolverOptions(solver, max_error_slack, seed, max_sweeps, tolerance)
    return _layers([Problem(*problem) for problem in problems], options, dtype, device)


def _layers(
    problems: Sequence[Problem],
    options: SolverOptions,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> list[Factors]:
    """Problems → kernels → factors of each kernel → factors of each layer."""
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


def solved_many(
    tasks: Sequence[tuple[Kernel, str, object]], options: SolverOptions, dtype: torch.dtype | None
) -> list[Factors]:
    """The factors of every ``(kernel, method, ranks)``, in their order."""
    return [solved(kernel, method, ranks, options, dtype) for kernel, method, ranks in tasks]


def refuse_shape(method: str, shape: Sequence[int]) -> str | None:
    """Why a method does not fit a kernel of this shape ``(T/g, S/g, k…)``; None where it does."""
    names_of(method)
    depth = prod(shape[2:])
    if method == "svd":
        return None if depth == 1 else "svd is for 1×1 convolutions and linear layers"
    if depth == 1:
        return f"a kernel of one position has no spatial mode for {method}; svd is the method for it"
    if method == "spatial_svd" and (len(shape) != 4 or min(shape[2:]) == 1):  # noqa: PLR2004 - (T, S, kh, kw)
        return "spatial_svd is for two-dimensional kernels larger than one in both directions"
    return None


def solved(kernel: Kernel, method: str, ranks: object, options: SolverOptions, dtype: torch.dtype | None) -> Factors:
    """As :func:`decompose`, for a kernel whose SVDs may be shared with other ranks."""
    reason = refuse_shape(method, kernel.shape)
    if reason is not None:
        raise UnsupportedMethod(
            reason, got=f"a weight of shape {kernel.shape}", mend="choose a method from the layer's rank grids"
        )
    parsed = parse_ranks(method, ranks, kernel.shape)
    if dtype is not None:
        kernel.weight_dtype = dtype
    if kernel.is_zero:
        return _zero(kernel, method, parsed)
    with _threads_for(kernel):
        if method == "svd":
            return svd(kernel, parsed[0])
        if method == "spatial_svd":
            return spatial_svd(kernel, parsed[0])
        if method == "tucker2":
            return _tucker2(kernel, (parsed[0], parsed[1]), options)
        return _cp3(kernel, parsed[0], options)


_ONE_THREAD_UP_TO = 1 << 20
"""Entries of a kernel: 256×256×3×3 and below."""


@contextmanager
def _threads_for(kernel: Kernel) -> Iterator[None]:
    """One thread for all but the largest kernels on the CPU, the process's own number after it.

    Thousands of operations of some microseconds each gain nothing from a second thread and, when the cores
    are busy, wait for it at every barrier: ten times slower was seen. One thread also makes the factors
    independent of the machine's core count.
    """
    before = torch.get_num_threads()
    if before == 1 or kernel.tensor.device.type != "cpu" or kernel.tensor.numel() > _ONE_THREAD_UP_TO:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _zero(kernel: Kernel, method: str, ranks: Ranks) -> Factors:
    """All-zero factors: exact, and no solver has to divide by the norm."""
    shapes = factor_shapes(method, ranks, kernel.shape)
    tensors = {name: kernel.finished(kernel.tensor.new_zeros(shape)) for name, shape in shapes.items()}
    stability = 0.0 if method == "cp3" else None
    return Factors(method, ranks, kernel.shape, tensors, 0.0, stability, stability)


def _tucker2(kernel: Kernel, ranks: tuple[int, int], options: SolverOptions) -> Factors:
    sweeps = 30 if options.max_sweeps is None else options.max_sweeps
    if options.solver == "tensorly":
        from proxy.tensorly_reference import tensorly_tucker2  # noqa: PLC0415 - only whoever asks for it needs it

        return tensorly_tucker2(kernel, ranks, max_sweeps=sweeps, tolerance=options.tolerance, seed=options.seed)
    return tucker2(kernel, ranks, max_sweeps=sweeps, tolerance=options.tolerance)


def _cp3(kernel: Kernel, rank: int, options: SolverOptions) -> Factors:
    als_sweeps, epc_sweeps = sweep_limits(kernel, rank)
    als_sweeps = als_sweeps if options.max_sweeps is None else options.max_sweeps
    if options.solver == "tensorly":
        from proxy.tensorly_reference import tensorly_cp3  # noqa: PLC0415 - only whoever asks for it needs it

        found = tensorly_cp3(kernel, rank, max_sweeps=als_sweeps, tolerance=options.tolerance, seed=options.seed)
    else:
        start = initial(kernel, rank, options.seed)
        found = als(kernel, start, max_sweeps=als_sweeps, tolerance=options.tolerance)
    if options.solver == "epc":
        bound = max(found.error * (1 + options.max_error_slack), _ROUND_OFF[kernel.tensor.dtype])
        found = epc(kernel, found, bound=bound, max_sweeps=epc_sweeps, tolerance=_EPC_TOLERANCE)
    return _cp3_factors(kernel, found, options.solver)


_ROUND_OFF = {torch.float64: 1e-7, torch.float32: 1e-4}
"""Relative errors that Gram-based formulas cannot tell from zero: the least bound EPC is given."""

_EPC_TOLERANCE = 0.03
"""EPC's first sweeps buy most of the stability; it stops when one buys less than this fraction."""


def sweep_limits(kernel: Kernel, rank: int) -> tuple[int, int]:
    """Most sweeps of ALS and of EPC by default: 60 and 12 for small kernels, down to 12 and 4 for the largest.

    An honest heuristic: the error's last per cent costs as many sweeps as all before it, and a sweep on
    512×512×9 at rank 2,000 costs ten thousand times one on 16×16×9.
    """
    work = kernel.tensor.numel() * rank
    share = min(1.0, (2e6 / work) ** 0.25)
    return max(12, round(60 * share)), max(4, round(12 * share))


def _cp3_factors(kernel: Kernel, found: CP, solver: str) -> Factors:
    balanced = balance(*found.tensors)
    rest = kernel.tensor.flatten(1) - balanced[0] @ _khatri_rao(balanced[1], balanced[2])
    scale = kernel.scale ** (1 / 3)
    names = ("out", "in", "space")
    return Factors(
        method="cp3",
        ranks=(found.out.shape[1],),
        weight_shape=kernel.shape,
        tensors={name: kernel.finished(factor, scale) for name, factor in zip(names, balanced, strict=True)},
        relative_error=float(torch.linalg.vector_norm(rest, dtype=torch.float64)),
        # Both of unit-norm kernels: ss grows with the 4/3rd power of the weight's size, so the weight's own would
        # not compare between layers.
        sensitivity=float(sensitivity(*balanced)),
        rank_one_energy=float(rank_one_energy(*balanced)),
        sweeps=found.sweeps,
        converged=found.converged,
        solver=solver,
    )


def _khatri_rao(inn: Tensor, space: Tensor) -> Float[Tensor, "R S*D"]:
    return (inn.mT[:, :, None] * space.mT[:, None, :]).flatten(1)
