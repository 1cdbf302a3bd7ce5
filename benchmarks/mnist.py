"""How small do low-rank factors make a CP decomposition of MNIST digits?

The experiment of Phan et al., *Canonical Polyadic Tensor Decomposition with Low-Rank Factor Matrices*, ICASSP 2021: the
first 500 test images as a 28 × 28 × 500 tensor, relative error against parameters.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from page import Page, options, shared_data
from plot import line_plot

from proxy.cp3 import CP, CPOptions, cp3
from proxy.kernel import Kernel
from proxy.low_rank_cp import LowRankCP, Triple, fit
from proxy.low_rank_cp_bound import least_ranks

QUESTION = __doc__.splitlines()[0]
IMAGES = 500
BOUNDS = (0.25, 0.3, 0.35, 0.4, 0.461, 0.5, 0.55, 0.6)
RANKS = (3, 5, 8, 12, 16, 20, 25, 30, 40, 60, 80, 100)
REFERENCE_RANKS = (14, 14, 20)
PLAIN, TWO_STEPS, GIVEN, FOUND = (
    "plain CP",
    "TKD-CPD in two steps",
    "low-rank CP, ranks given (Algorithm 1)",
    "low-rank CP, ranks found (Algorithm 2)",
)


class Point(NamedTuple):
    """One decomposition."""

    rank: int
    ranks: Triple | None
    params: int
    error: float
    seconds: float


def main() -> None:
    """Decompose and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    chosen = parser.parse_args()
    ranks = (5, 12, 20, 40, 60) if chosen.quick else RANKS
    bounds = (0.35, 0.461, 0.6) if chosen.quick else BOUNDS
    kernel = digits(chosen.data)
    starts, points = plain_cps(kernel, ranks)
    found = best_of(kernel, starts, bounds)
    given, two_steps = at_ranks(kernel, found)
    lines = {PLAIN: points, TWO_STEPS: two_steps, GIVEN: given, FOUND: found}
    write(lines, chosen, kernel, starts)


def digits(folder: Path) -> Kernel:
    """The first test images, between 0 and 1."""
    images = np.load(folder / "mnist.npz")["x_test"][:IMAGES] / 255
    return Kernel(torch.from_numpy(images).permute(1, 2, 0).contiguous())


def plain_cp(tensor: Kernel, rank: int) -> CP:
    """CP by ALS alone."""
    return cp3([(tensor, rank)], CPOptions(stabilise=False, max_sweeps=1000, tolerance=1e-6))[0]


def plain_cps(kernel: Kernel, ranks: tuple[int, ...]) -> tuple[dict[int, CP], list[Point]]:
    """Plain CP by ALS: rank → decomposition, and its points."""
    starts, points = {}, []
    for rank in ranks:
        start = time.perf_counter()
        starts[rank] = plain_cp(kernel, rank)
        seconds = time.perf_counter() - start
        points.append(Point(rank, None, rank * sum(kernel.size), starts[rank].error, seconds))
    return starts, points


def best_of(kernel: Kernel, starts: dict[int, CP], bounds: tuple[float, ...]) -> list[Point]:
    """Algorithm 2 under each bound: of all CP ranks that reach it, the one with the fewest parameters in the end."""
    points = []
    for bound in bounds:
        reached = []
        for rank, start in starts.items():
            begin = time.perf_counter()
            result = least_ranks(kernel, start, bound) if start.error < bound else None
            if result is not None:
                seconds = time.perf_counter() - begin
                reached.append(Point(rank, result.ranks, result.params, result.error, seconds))
        points += [min(reached, key=lambda point: point.params)] if reached else []
    return points


def at_ranks(kernel: Kernel, found: list[Point]) -> tuple[list[Point], list[Point]]:
    """At the ranks that Algorithm 2 found: Algorithm 1 from the two steps, and these two steps themselves."""
    given, two_steps = [], []
    for point in found:
        assert point.ranks is not None  # noqa: S101 - Algorithm 2 has ranks
        begin = time.perf_counter()
        nested = in_two_steps(kernel, point.ranks, point.rank)
        between = time.perf_counter()
        fitted = fit(kernel, nested, point.ranks, max_sweeps=500, tolerance=1e-6)
        end = time.perf_counter()
        two_steps.append(Point(point.rank, point.ranks, nested.params, nested.error, between - begin))
        given.append(Point(point.rank, point.ranks, fitted.params, fitted.error, end - begin))
    return given, two_steps


def in_two_steps(kernel: Kernel, ranks: Triple, rank: int) -> LowRankCP:
    """Tucker decomposition by HOOI, then CP of its core."""
    bases = [leading(kernel.tensor, mode, rank) for mode, rank in enumerate(ranks)]
    for _ in range(20):
        for mode in range(3):
            others = [None if other == mode else basis for other, basis in enumerate(bases)]
            bases[mode] = leading(projected(kernel.tensor, others), mode, ranks[mode])
    core = Kernel(projected(kernel.tensor, bases))
    inside = plain_cp(core, rank)
    error = float((1 - core.scale**2 + (core.scale * inside.error) ** 2) ** 0.5)
    one, two, three = bases
    return LowRankCP((one, two, three), (inside.out, inside.inn, inside.space * core.scale), error)


def leading(tensor: torch.Tensor, mode: int, rank: int) -> torch.Tensor:
    """The leading left singular vectors of the mode's unfolding."""
    return torch.linalg.svd(tensor.movedim(mode, 0).flatten(1), full_matrices=False)[0][:, :rank]


def projected(tensor: torch.Tensor, bases: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """The tensor in these bases, None for a mode left as it is."""
    for mode, basis in enumerate(bases):
        if basis is not None:
            tensor = torch.tensordot(tensor.movedim(mode, -1), basis, 1).movedim(-1, mode)
    return tensor


def write(lines: dict[str, list[Point]], chosen: argparse.Namespace, kernel: Kernel, starts: dict[int, CP]) -> None:
    """The page and its picture."""
    page = Page("CP of MNIST digits with low-rank factors", QUESTION)
    page.text(
        f"The experiment of Phan et al., ICASSP 2021: the first {IMAGES} test images of MNIST, divided by 255, as a"
        f" {' × '.join(map(str, kernel.size))} tensor. Parameters: R Σ I_n of a plain CP, Σ r_n (I_n + R) with low-rank"
        " factors. Algorithm 2 is run from plain CPs of several R and the best is taken; the two steps (Tucker by HOOI,"
        " then CP of the core) and Algorithm 1, started from them, get the R and the ranks that it found, so that each"
        " row has one number of parameters."
    )
    folder = chosen.page.parent if chosen.page else Path(__file__).parent / "pages"
    line_plot(
        folder / "mnist.svg",
        {label: [(point.params, point.error) for point in points] for label, points in lines.items()},
        x_label="parameters",
        y_label="relative error",
        log_x=True,
        log_y=True,
    )
    page.text("![relative error against parameters](mnist.svg)")
    page.table(
        ["plain CP, R", "parameters", "relative error", "s"],
        [(point.rank, f"{point.params:,}", f"{point.error:.3f}", f"{point.seconds:.1f}") for point in lines[PLAIN]],
    )
    page.table(
        ["R", "ranks", "parameters", f"**{FOUND}**", GIVEN, TWO_STEPS, "plain CP of as many, interpolated", "s"],
        rows(lines),
    )
    gains = [interpolated(lines[PLAIN], point.params) / point.error - 1 for point in lines[GIVEN]]
    page.text(
        f"The error of a plain CP of as many parameters differs from Algorithm 1's by {min(gains):+.1%} to"
        f" {max(gains):+.1%}: where that is positive, the low-rank factors pay."
    )
    top = max(starts)
    reference = fit(kernel, LowRankCP.of(starts[top]), REFERENCE_RANKS, max_sweeps=500, tolerance=1e-6)
    page.text(f"At R = {top} and ranks {REFERENCE_RANKS}, {reference.params:,} parameters: {reference.error:.3f}.")
    page.figures = {label: [point._asdict() for point in points] for label, points in lines.items()}
    page.write("mnist", chosen, ["torch", "matplotlib"])


def rows(lines: dict[str, list[Point]]) -> list[tuple[object, ...]]:
    """The methods side by side; seconds are Algorithm 2's, its start apart."""
    return [
        (
            point.rank,
            ", ".join(map(str, point.ranks or ())),
            f"{point.params:,}",
            f"**{point.error:.3f}**",
            f"{one.error:.3f}",
            f"{two.error:.3f}",
            f"{interpolated(lines[PLAIN], point.params):.3f}",
            f"{point.seconds:.1f}",
        )
        for point, one, two in zip(lines[FOUND], lines[GIVEN], lines[TWO_STEPS], strict=True)
    ]


def interpolated(points: list[Point], params: int) -> float:
    """The plain CP's error at this number of parameters, straight in both logarithms."""
    x, y = (np.log([getattr(point, name) for point in points]) for name in ("params", "error"))
    return float(np.exp(np.interp(np.log(params), x, y)))


if __name__ == "__main__":
    main()
