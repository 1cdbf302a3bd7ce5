"""Which solver answers for which method: kernels in, their factors out.

One file a solver: :mod:`proxy.svd`, :mod:`proxy.tucker2`, :mod:`proxy.cp3`, :mod:`proxy.tucker2_cp3`,
:mod:`proxy.tensorly_reference`.

Shapes: T output channels, S input channels, ``k…`` the kernel's own axes, D their product.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod

import torch

from proxy.cp3 import CP, cp3, sweep_limit
from proxy.errors import UnsupportedMethod
from proxy.factors import Factors, factor_shapes
from proxy.kernel import Kernel
from proxy.options import SolverOptions
from proxy.parallel import single_threaded
from proxy.ranks import Ranks, names_of, parse_ranks
from proxy.stability import instability
from proxy.svd import spatial_svd, svd
from proxy.tucker2 import tucker2
from proxy.tucker2_cp3 import tucker2_cp3

__all__ = ["checked", "cp3_factors", "refuse_shape", "solved", "solved_many"]


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


def checked(kernel: Kernel, method: str, ranks: object) -> Ranks:
    """The ranks of a kernel's decomposition, if there is one of this method and ranks."""
    reason = refuse_shape(method, kernel.shape)
    if reason is not None:
        raise UnsupportedMethod(
            reason, got=f"a weight of shape {kernel.shape}", mend="choose a method from the layer's rank grids"
        )
    return parse_ranks(method, ranks, kernel.shape)


def solved_many(
    tasks: Sequence[tuple[Kernel, str, object]], options: SolverOptions, dtype: torch.dtype | None
) -> list[Factors]:
    """The factors of every ``(kernel, method, ranks)``, in their order; all CP decompositions in stacks.

    An autocast around the call is left: its types are for features, and the solvers choose their own.
    """
    devices = {kernel.tensor.device.type for kernel, _, _ in tasks}
    with ExitStack() as without:
        for device in devices:
            without.enter_context(torch.autocast(device, enabled=False))
        return _found(tasks, options, dtype)


def _found(
    tasks: Sequence[tuple[Kernel, str, object]], options: SolverOptions, dtype: torch.dtype | None
) -> list[Factors]:
    parsed = [checked(kernel, method, ranks) for kernel, method, ranks in tasks]
    if dtype is not None:
        for kernel, _, _ in tasks:
            kernel.weight_dtype = dtype
    found: dict[int, Factors] = {}
    own = options.solver != "tensorly"
    single = _of_method("cp3", tasks) if own else []
    nested = _of_method("tucker2_cp3", tasks) if own else []
    for at, cp in zip(single, cp3([(tasks[at][0], parsed[at][0]) for at in single], options.cp), strict=True):
        found[at] = cp3_factors(tasks[at][0], cp, options.solver)
    triples = [(parsed[at][0], parsed[at][1], parsed[at][2]) for at in nested]
    stacked = [(tasks[at][0], ranks) for at, ranks in zip(nested, triples, strict=True)]
    found.update(zip(nested, tucker2_cp3(stacked, options), strict=True))
    for at, (kernel, method, _) in enumerate(tasks):
        if at not in found:
            found[at] = _alone(kernel, method, parsed[at], options)
    return [found[at] for at in range(len(tasks))]


def _of_method(method: str, tasks: Sequence[tuple[Kernel, str, object]]) -> list[int]:
    """Where the tasks of a method stand whose kernels are not zero."""
    return [at for at, (kernel, own, _) in enumerate(tasks) if own == method and not kernel.is_zero]


def solved(kernel: Kernel, method: str, ranks: object, options: SolverOptions, dtype: torch.dtype | None) -> Factors:
    """The factors of one kernel, whose SVDs may be shared with other ranks."""
    return solved_many([(kernel, method, ranks)], options, dtype)[0]


_ONE_THREAD_UP_TO = 1 << 20
"""Entries of a kernel: 256×256×3×3 and below."""


def _alone(kernel: Kernel, method: str, ranks: Ranks, options: SolverOptions) -> Factors:
    if kernel.is_zero:
        return _zero(kernel, method, ranks)
    if kernel.tensor.device.type == "cpu" and kernel.tensor.numel() <= _ONE_THREAD_UP_TO:
        with single_threaded():  # the factors do not depend on the machine's core count then
            return _dispatched(kernel, method, ranks, options)
    return _dispatched(kernel, method, ranks, options)


def _dispatched(kernel: Kernel, method: str, ranks: Ranks, options: SolverOptions) -> Factors:
    if method == "svd":
        return svd(kernel, ranks[0])
    if method == "spatial_svd":
        return spatial_svd(kernel, ranks[0])
    if method == "tucker2":
        return _tucker2(kernel, (ranks[0], ranks[1]), options)
    if method == "tucker2_cp3":
        return tucker2_cp3([(kernel, (ranks[0], ranks[1], ranks[2]))], options)[0]
    return _tensorly_cp3(kernel, ranks[0], options)


def _zero(kernel: Kernel, method: str, ranks: Ranks) -> Factors:
    """All-zero factors: exact, and no solver has to divide by the norm."""
    shapes = factor_shapes(method, ranks, kernel.shape)
    tensors = {name: kernel.finished(kernel.tensor.new_zeros(shape)) for name, shape in shapes.items()}
    stability = 0.0 if method in ("cp3", "tucker2_cp3") else None
    return Factors(method, ranks, kernel.shape, tensors, 0.0, stability, stability)


def _tucker2(kernel: Kernel, ranks: tuple[int, int], options: SolverOptions) -> Factors:
    sweeps = 30 if options.max_sweeps is None else options.max_sweeps
    if options.solver == "tensorly":
        from proxy.tensorly_reference import tensorly_tucker2  # noqa: PLC0415 - only whoever asks for it needs it

        return tensorly_tucker2(kernel, ranks, max_sweeps=sweeps, tolerance=options.tolerance, seed=options.seed)
    return tucker2(kernel, ranks, max_sweeps=sweeps, tolerance=options.tolerance)


def _tensorly_cp3(kernel: Kernel, rank: int, options: SolverOptions) -> Factors:
    from proxy.tensorly_reference import tensorly_cp3  # noqa: PLC0415 - only whoever asks for it needs it

    sweeps = sweep_limit(kernel.tensor.numel(), rank) if options.max_sweeps is None else options.max_sweeps
    found = tensorly_cp3(kernel, rank, max_sweeps=sweeps, tolerance=options.tolerance, seed=options.seed)
    return cp3_factors(kernel, found, options.solver)


def cp3_factors(kernel: Kernel, found: CP, solver: str) -> Factors:
    """The factors of a kernel from the decomposition of its unit-norm tensor."""
    scale = kernel.scale ** (1 / 3)
    stability = instability(found.out, found.inn, found.space)
    return Factors(
        method="cp3",
        ranks=(found.out.shape[1],),
        weight_shape=kernel.shape,
        tensors={
            "out": kernel.finished(found.out, scale),
            "in": kernel.finished(found.inn, scale),
            "space": kernel.finished(found.space, scale),
        },
        relative_error=found.error,
        # Both of unit-norm kernels: ss grows with the 4/3rd power of the weight's size, so the weight's own would
        # not compare between layers.
        sensitivity=stability["sensitivity"],
        rank_one_energy=stability["energy"],
        sweeps=found.sweeps,
        converged=found.converged,
        solver=solver,
    )
