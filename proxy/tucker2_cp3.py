"""Tucker-2 whose core is a CP decomposition (TKD-CPD): a 1×1, 1×1, depthwise k×k, 1×1, 1×1 chain.

Phan et al., *Stable Low-rank Tensor Decomposition for Compression of Convolutional Neural Network*, ECCV 2020, arXiv
2008.05441 (the two steps), and Phan et al., ICASSP 2021 (the joint fit: a CP whose channel factors have low rank, see
:mod:`proxy.low_rank_cp`).

``Y ≈ [[A, B, C]]`` with ``A = U A'``, ``B = V B'``: U (T, R_out) and V (S, R_in) orthonormal, A' (R_out, R), B'
(R_in, R), C (D, R). Worth its two more layers only where R exceeds R_out and R_in, else it is a plain CP in more
parameters; :mod:`proxy.grids` says how the three go together on real kernels.

1. Tucker-2 by HOOI.
2. CP of its core. Stabilised with ``solver="epc"``, which leads the joint fit to a lower error as well: in five cases
   on kernels of a ResNet-56 by 0.1–2 %, at a sensitivity 18–56 % smaller.
3. Both together by Algorithm 1 of the ICASSP paper, which has the bases follow the CP.
4. With ``solver="epc"``, error-preserving correction of the core. U and V are orthonormal, so the error² is exactly
   that of the Tucker-2 part plus that of the core, and what the core may spend is ``δ_core² = δ² − ε²``.

Shapes: T output channels, S input channels, D kernel positions, R rank of the CP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import sqrt

import torch

from proxy.cp3 import CP, cp3, slackened, sweep_limit
from proxy.factors import Factors
from proxy.kernel import Kernel
from proxy.low_rank_cp import LowRankCP, Triple, corrected, fit
from proxy.options import SolverOptions
from proxy.parallel import side_by_side
from proxy.stability import balanced, instability, objective_named
from proxy.tucker2 import Tucker2, hooi

__all__ = ["core_cps", "tucker2_cp3"]


def tucker2_cp3(tasks: Sequence[tuple[Kernel, Triple]], options: SolverOptions) -> list[Factors]:
    """TKD-CPD of every ``(kernel, (R_out, R_in, R))``, in their order; the CPs of all cores in stacks.

    With ``solver="als"`` the correction is left out; with ``"tensorly"`` the joint fit as well: TensorLy's CP of the
    core, two steps and no more, for a reference.

    Args:
        tasks: kernels of unit norm, none zero.
        options: solver, slack of the correction, seed, sweeps of every step, tolerance.
    """
    most = _TUCKER_SWEEPS if options.max_sweeps is None else options.max_sweeps
    tuckers: dict[int, Tucker2] = {}
    found: dict[int, Factors] = {}

    def outer(at: int) -> None:
        kernel, ranks = tasks[at]
        tuckers[at] = hooi(kernel, ranks[:2], max_sweeps=most, tolerance=1e-3)

    _side_by_side(outer, tasks)
    cores = [Kernel(tuckers[at].core) for at in range(len(tasks))]
    for core, (kernel, _) in zip(cores, tasks, strict=True):
        core.weight_dtype = kernel.weight_dtype  # its precision is the weight's, not that of the steps before
    inner = core_cps([(core, ranks[2]) for core, (_, ranks) in zip(cores, tasks, strict=True)], options)

    def together(at: int) -> None:
        kernel, ranks = tasks[at]
        nested = _nested(tuckers[at], cores[at], inner[at])
        found[at] = _finished(kernel, _fitted(kernel, nested, ranks, options), ranks, options.solver)

    _side_by_side(together, tasks)
    return [found[at] for at in range(len(tasks))]


def _side_by_side(work: Callable[[int], None], tasks: Sequence[tuple[Kernel, Triple]]) -> None:
    order = sorted(range(len(tasks)), key=lambda at: -tasks[at][0].tensor.numel())
    side_by_side([(tasks[at][0].tensor.numel(), tasks[at][0].tensor.device, partial(work, at)) for at in order])


def _fitted(kernel: Kernel, found: LowRankCP, ranks: Triple, options: SolverOptions) -> LowRankCP:
    """The joint fit and the correction, as far as the solver asks for them."""
    if options.solver != "tensorly":
        most = _JOINT_SWEEPS if options.max_sweeps is None else options.max_sweeps
        found = _joint(kernel, found, ranks, max_sweeps=most, tolerance=options.tolerance)
    if options.solver != "epc":
        return found
    return corrected(
        kernel,
        found,
        bound=max(_slackened(found.error, options.max_error_slack), _ROUND_OFF[kernel.tensor.dtype]),
        max_sweeps=_EPC_SWEEPS,
        tolerance=_EPC_TOLERANCE,
        objective=objective_named(options.objective),
    )


_TUCKER_SWEEPS, _JOINT_SWEEPS, _EPC_SWEEPS = 8, 40, 12
"""Most sweeps of each step by default: the joint fit moves the bases on, so HOOI need not be finished."""

_EPC_TOLERANCE = 0.03
_ROUND_OFF = {torch.float64: 1e-7, torch.float32: 2e-3}
"""As for a plain CP, see :mod:`proxy.cp3`."""


def _slackened(error: float, slack: float) -> float:
    return float(slackened(torch.tensor(error, dtype=torch.float64), slack))


def core_cps(tasks: Sequence[tuple[Kernel, int]], options: SolverOptions) -> list[CP]:
    """The CP decompositions of cores, relative to unit norm: the one place where this method asks the CP solver."""
    if options.solver != "tensorly":
        return cp3(tasks, replace(options.cp, slack=0.0))  # the slack is for the end
    from proxy.tensorly_reference import tensorly_cp3  # noqa: PLC0415 - only whoever asks for it needs it

    return [
        tensorly_cp3(
            core,
            rank,
            max_sweeps=sweep_limit(core.tensor.numel(), rank) if options.max_sweeps is None else options.max_sweeps,
            tolerance=options.tolerance,
            seed=options.seed,
        )
        for core, rank in tasks
    ]


def _nested(tucker: Tucker2, core: Kernel, found: CP) -> LowRankCP:
    """The two steps: the bases of Tucker-2 around the CP of its core."""
    weights = (found.out.to(tucker.out), found.inn.to(tucker.out), (found.space * core.scale).to(tucker.out))
    square = tucker.error**2 + (core.scale * found.error) ** 2
    return LowRankCP(_bases(tucker.out, tucker.inn, len(found.space)), weights, sqrt(square), found.sweeps)


def _bases(out: torch.Tensor, inn: torch.Tensor, depth: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U, V and the identity for the kernel's positions, whose factor is stored as it is."""
    return out, inn, torch.eye(depth).to(out)


def _joint(kernel: Kernel, start: LowRankCP, ranks: Triple, *, max_sweeps: int, tolerance: float) -> LowRankCP:
    """Algorithm 1 from the two steps, the third factor's basis multiplied back into it."""
    limits = [min(length, ranks[2]) for length in kernel.size]
    cut = (min(ranks[0], limits[0]), min(ranks[1], limits[1]), limits[2])
    found = fit(kernel, start, cut, max_sweeps=max_sweeps, tolerance=tolerance)
    out, inn, basis = found.bases
    padded = [_padded(u, v, rank) for u, v, rank in zip((out, inn), found.weights, ranks, strict=False)]
    weights = (padded[0][1], padded[1][1], basis @ found.weights[2])
    return replace(found, bases=_bases(padded[0][0], padded[1][0], len(basis)), weights=weights)


def _padded(basis: torch.Tensor, weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As many columns as asked for where R is below R_out or R_in: more orthonormal ones, with zero weights."""
    missing = rank - basis.shape[1]
    if missing == 0:
        return basis, weight
    wide = torch.linalg.qr(torch.cat([basis.double(), torch.eye(len(basis)).to(basis.device).double()], 1))[0]
    rest = wide[:, basis.shape[1] : rank].to(basis)
    return torch.cat([basis, rest], 1), torch.nn.functional.pad(weight, (0, 0, 0, missing))


def _finished(kernel: Kernel, found: LowRankCP, ranks: Triple, solver: str) -> Factors:
    out, inn, _ = found.bases
    scales, _ = balanced((found.weights[0][None], found.weights[1][None], found.weights[2][None]))
    core = [weight * scale[0] for weight, scale in zip(found.weights, scales, strict=True)]
    stability = instability(core[0], core[1], core[2])
    approximation = torch.einsum("ar,br,dr->abd", *core)
    rest = kernel.tensor - torch.einsum("abd,ta,sb->tsd", approximation, out, inn)
    share = kernel.scale ** (1 / 3)
    tensors = {
        "out": kernel.finished(out),
        "core_out": kernel.finished(core[0], share),
        "space": kernel.finished(core[2], share),
        "core_in": kernel.finished(core[1], share),
        "in": kernel.finished(inn),
    }
    return Factors(
        method="tucker2_cp3",
        ranks=ranks,
        weight_shape=kernel.shape,
        tensors=tensors,
        relative_error=float(torch.linalg.vector_norm(rest, dtype=torch.float64)),
        # Of the core's CP: what noise on its factors does to the core it does to the kernel, U and V being orthonormal.
        sensitivity=stability["sensitivity"],
        rank_one_energy=stability["energy"],
        sweeps=found.sweeps,
        converged=found.converged,
        solver=solver,
    )
