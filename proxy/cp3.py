"""CP decompositions of many kernels: which go together, in which precision, on how many threads.

Kernels of one shape and similar ranks are solved as one stack (:mod:`proxy.cp_als`, :mod:`proxy.epc`), whose
operations cost one call for all of them; what a kernel gets depends on its company by round-off only. Shapes:
T output channels, S input channels, D kernel positions, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.cp_als import Damping, als
from proxy.cp_products import Products
from proxy.cp_stack import CPStack, FactorTriple
from proxy.cp_start import Terms, slice_terms, started
from proxy.epc import epc
from proxy.kernel import Kernel
from proxy.parallel import side_by_side
from proxy.stability import balanced, objective_named

__all__ = ["CP", "CPOptions", "cp3", "separated", "slackened", "sweep_limit", "working"]


@dataclass(frozen=True, eq=False)
class CP:
    """The decomposition of one kernel of unit norm, each component balanced among its three vectors.

    Args:
        out: A, (T, R).
        inn: B, (S, R).
        space: C, (D, R).
        error: ``‖Y − [[A, B, C]]‖``, of the residual itself.
        sweeps: of both phases.
        converged: the last phase stopped because nothing changed any more.
    """

    out: Float[Tensor, "T R"]
    inn: Float[Tensor, "S R"]
    space: Float[Tensor, "D R"]
    error: float
    sweeps: int
    converged: bool


@dataclass(frozen=True)
class CPOptions:
    """How to solve.

    Args:
        stabilise: damp ALS and correct its result (:mod:`proxy.epc`); otherwise plain ALS.
        slack: by how much the correction may raise the error, as a fraction of it.
        objective: what is lowered, ``sensitivity`` or ``energy``.
        seed: of the noise on the start.
        max_sweeps: most ALS sweeps; None fits it to the size of the kernel.
        tolerance: ALS ends when a sweep lowers the error by less than this fraction of it.
    """

    stabilise: bool = True
    slack: float = 0.01
    objective: str = "sensitivity"
    seed: int = 0
    max_sweeps: int | None = None
    tolerance: float = 1e-3

    @property
    def damping(self) -> Damping:
        """Of the ALS phase."""
        objective = objective_named(self.objective)
        return Damping(objective) if self.stabilise else Damping(objective, 0.0)


def cp3(problems: Sequence[tuple[Kernel, int]], options: CPOptions) -> list[CP]:
    """The decompositions of ``(kernel, rank)``, in their order; no kernel may be zero."""
    terms = _terms(problems)
    found: dict[int, CP] = {}

    def solve(chunk: list[int]) -> None:
        chosen = [problems[at] for at in chunk]
        ranks = [rank for _, rank in chosen]
        kernels = _stacked([kernel for kernel, _ in chosen])
        start = started([terms[id(kernel)] for kernel, _ in chosen], ranks, options.seed)
        found.update(zip(chunk, _solved(kernels, start, ranks, options), strict=True))

    _each(_chunks(problems), problems, solve)
    return [found[at] for at in range(len(problems))]


def sweep_limit(entries: int, rank: int) -> int:
    """Most ALS sweeps by default: 80 for small kernels, down to 20 for the largest.

    An honest heuristic: the error's last per cent costs as many sweeps as all before it, and a sweep on 512×512×9 at
    rank 2,000 costs ten thousand times one on 16×16×9.
    """
    share = min(1.0, sqrt(sqrt(2e7 / (entries * rank))))
    return max(20, round(80 * share))


_CORRECTIONS = 10
_CORRECTION_TOLERANCE = 0.03
"""The correction's first sweeps buy most of the stability; it stops when one buys less than this fraction."""

_FINE = 0.01
"""Relative error below which single precision is left: Gram-based formulas lose the error² of 1e-6 in round-off."""


def _solved(kernels: Float[Tensor, "n T S D"], start: FactorTriple, ranks: list[int], options: CPOptions) -> list[CP]:
    """ALS, then the correction; kernels found to be nearly exact go on in double precision."""
    rank = max(ranks)
    each = torch.tensor(ranks, device=kernels.device)
    limits = [
        sweep_limit(kernels[0].numel(), own) if options.max_sweeps is None else options.max_sweeps for own in ranks
    ]
    limit = torch.tensor(limits, device=kernels.device)
    products = Products(kernels, rank)
    stack = als(products, start, each, max_sweeps=limit, tolerance=options.tolerance, damping=options.damping)
    fine = stack.errors < _FINE
    if kernels.dtype == torch.float64 or not bool(fine.any()):
        return _finished(products, stack, options)
    found: dict[int, CP] = {}
    for which, wide in ((~fine, False), (fine, True)):
        if not bool(which.any()):
            continue
        part, some = products.selected(which), stack.selected(which)
        if wide:
            part, some = Products(part.kernels.double(), rank), some.double()
            more = als(
                part,
                some.factors,
                some.ranks,
                max_sweeps=limit[which],
                tolerance=options.tolerance,
                damping=options.damping,
            )
            some = more.after(some.sweeps)
        found.update(zip(which.nonzero().flatten().tolist(), _finished(part, some, options), strict=True))
    return [found[at] for at in range(len(ranks))]


def _finished(products: Products, stack: CPStack, options: CPOptions) -> list[CP]:
    """The decompositions of a stack, corrected where the options say so."""
    if options.stabilise:
        stack = epc(
            products,
            stack,
            bounds=slackened(stack.errors, options.slack).clamp_min(_ROUND_OFF[products.kernels.dtype]),
            max_sweeps=torch.full_like(stack.ranks, _CORRECTIONS),
            tolerance=_CORRECTION_TOLERANCE,
            objective=objective_named(options.objective),
        )
    return separated(products, stack)


def slackened(errors: Tensor, slack: float) -> Tensor:
    """The bound that the correction is given: ``δ² = e² + ((1 + slack)² − 1) min(e², 1 − e²)``.

    That is ``(1 + slack) e`` where the decomposition explains more than it leaves over. At small ranks, where it does
    not, the slack is taken of what it explains, and never more than half of that: a bound of one would admit the zero
    tensor.
    """
    square = errors.double() ** 2
    explained = (1 - square).clamp_min(0)
    room = ((1 + slack) ** 2 - 1) * torch.minimum(square, explained)
    return (square + torch.minimum(room, explained / 2)).sqrt()


def separated(products: Products, stack: CPStack) -> list[CP]:
    """The decompositions of a stack, each by itself."""
    scales, _ = balanced(stack.factors)
    factors = [factor * scale for factor, scale in zip(stack.factors, scales, strict=True)]
    errors = products.errors((factors[0], factors[1], factors[2])).tolist()
    sweeps, converged, ranks = stack.sweeps.tolist(), stack.converged.tolist(), stack.ranks.tolist()
    return [
        CP(
            factors[0][at, :, :rank].contiguous(),
            factors[1][at, :, :rank].contiguous(),
            factors[2][at, :, :rank].contiguous(),
            errors[at],
            sweeps[at],
            converged[at],
        )
        for at, rank in enumerate(ranks)
    ]


_ROUND_OFF = {torch.float64: 1e-7, torch.float32: 2e-3}
"""Relative errors that Gram-based formulas cannot tell from zero: the least bound the correction is given."""

_DOUBLE_UP_TO = 1 << 12
"""Entries of a kernel up to which double precision costs no more than the overhead of the calls."""


def working(kernel: Kernel) -> Float[Tensor, "T S D"]:
    """The kernel in the precision it is solved in."""
    narrow = kernel.weight_dtype != torch.float64 and kernel.tensor.numel() > _DOUBLE_UP_TO
    return kernel.tensor.to(torch.float32 if narrow else torch.float64)


def _stacked(kernels: Sequence[Kernel]) -> Float[Tensor, "n T S D"]:
    """In their working precision; a single one is not copied."""
    working_ones = [working(kernel) for kernel in kernels]
    return working_ones[0][None] if len(working_ones) == 1 else torch.stack(working_ones)


_CHUNK_ENTRIES = 1 << 19
"""Entries of a stack's Khatri–Rao product: as large as it may be with two of them in a core's cache."""

_CHUNK_ENTRIES_GPU = 1 << 27
_CLOSE = 0.75
"""Ranks go together down to this fraction of the largest: padding costs less than it saves."""


def _chunks(problems: Sequence[tuple[Kernel, int]]) -> list[list[int]]:
    """Indices of the problems that are solved together."""
    shapes: dict[object, list[int]] = {}
    for at, (kernel, _) in enumerate(problems):
        key = (kernel.size, kernel.weight_dtype == torch.float64, kernel.tensor.device)
        shapes.setdefault(key, []).append(at)
    chunks = []
    for members in shapes.values():
        members.sort(key=lambda at: -problems[at][1])
        close: list[int] = []
        for at in members:
            if close and problems[at][1] < _CLOSE * problems[close[0]][1]:
                chunks += _split(close, problems)
                close = []
            close.append(at)
        chunks += _split(close, problems)
    return chunks


def _split(members: list[int], problems: Sequence[tuple[Kernel, int]]) -> list[list[int]]:
    """In parts of about the same number, each small enough for the cache."""
    kernel, rank = problems[members[0]]
    _, inn, depth = kernel.size
    entries = _CHUNK_ENTRIES if kernel.tensor.device.type == "cpu" else _CHUNK_ENTRIES_GPU
    most = max(1, entries // (inn * depth * rank))
    parts = ceil(len(members) / most)
    size = ceil(len(members) / parts)
    return [members[start : start + size] for start in range(0, len(members), size)]


def _terms(problems: Sequence[tuple[Kernel, int]]) -> dict[int, Terms]:
    """The start of every kernel, once for all its ranks; by the kernel's id."""
    most: dict[int, int] = {}
    for kernel, rank in problems:
        most[id(kernel)] = max(rank, most.get(id(kernel), 0))
    first = {id(kernel): (kernel, most[id(kernel)]) for kernel, _ in problems}
    unique = list(first.values())
    found: dict[int, Terms] = {}

    def start(chunk: list[int]) -> None:
        kernels = [unique[at][0] for at in chunk]
        made = slice_terms(_stacked(kernels), max(unique[at][1] for at in chunk))
        found.update({id(kernel): terms for kernel, terms in zip(kernels, made, strict=True)})

    _each(_chunks(unique), unique, start)
    return found


def _each(
    chunks: Iterable[list[int]], problems: Sequence[tuple[Kernel, int]], work: Callable[[list[int]], None]
) -> None:
    """Work on the chunks, the dearest first."""

    def cost(chunk: list[int]) -> int:
        return sum(problems[at][0].tensor.numel() * problems[at][1] for at in chunk)

    pieces = []
    for chunk in sorted(chunks, key=cost, reverse=True):
        kernel = problems[chunk[0]][0].tensor
        pieces.append((kernel.numel(), kernel.device, partial(work, chunk)))
    side_by_side(pieces)
