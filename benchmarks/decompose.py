"""How much faster are our CP decompositions than TensorLy's, to the same relative error?"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from math import inf

import tensorly as tl
import torch
from kernels import RESNET18_SHAPES, cut_rank, made_kernel, resnet_kernels
from page import Page, options, shared_data
from tensorly.decomposition import parafac
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import proxy

_MOST_SWEEPS = 1000
_REPEATS = 3
_PATIENCE = 15
"""A single kernel of TensorLy's is given up at so many times our time."""


def timed(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest repeat, after one that does not count."""
    work()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def tensorly_until(
    weight: Tensor, rank: int, error: float, init: str, most: int = _MOST_SWEEPS, limit: float = inf
) -> tuple[float, int, bool]:
    """Seconds and sweeps that ``parafac`` needs to reach a relative error, and whether it does within the limits."""
    seen = {"sweeps": 0, "error": float("inf")}

    def stop(_: object, now: object) -> bool:
        seen["sweeps"] += 1
        seen["error"] = float(now)  # type: ignore[arg-type]  # a tensor of one entry
        return seen["error"] <= error or time.perf_counter() - start > limit

    start = time.perf_counter()
    with warnings.catch_warnings():  # it warns of ranks above a mode's length, which are meant
        warnings.simplefilter("ignore")
        parafac(weight.flatten(2), rank, n_iter_max=most, tol=1e-14, init=init, random_state=0, callback=stop)
    return time.perf_counter() - start, int(seen["sweeps"]), seen["error"] <= error


def faster_threads(weight: Tensor, rank: int) -> int:
    """One thread or all of them: with which ``parafac`` sweeps faster over this kernel."""
    most = torch.get_num_threads()
    seconds = {}
    for threads in {1, most}:
        torch.set_num_threads(threads)
        runs = [tensorly_until(weight, rank, 0.0, "random", most=_TRIAL_SWEEPS)[0] for _ in range(2)]
        seconds[threads] = min(runs)
    torch.set_num_threads(most)
    return min(seconds, key=lambda threads: seconds[threads])


_TRIAL_SWEEPS = 4


def compare(problems: list[tuple[Tensor, int]], repeats: int) -> dict[str, float | str]:
    """Ours, all in one call, against TensorLy one by one, by the init that is faster in all."""
    many = [(weight, "cp3", rank) for weight, rank in problems]
    ours = timed(lambda: proxy.decompose_many(many), repeats)
    found = proxy.decompose_many(many)
    theirs = {}
    shapes = {(weight.shape, rank): (weight, rank) for weight, rank in problems}
    threads = {shape: faster_threads(*problem) for shape, problem in shapes.items()}
    before = torch.get_num_threads()
    for init in ("random", "svd"):
        runs = []
        for (weight, rank), factors in zip(problems, found, strict=True):
            torch.set_num_threads(threads[weight.shape, rank])
            limit = _PATIENCE * ours if len(problems) == 1 else inf
            runs.append(tensorly_until(weight, rank, factors.relative_error, init, limit=limit))
        torch.set_num_threads(before)
        theirs[init] = (sum(run[0] for run in runs), sum(run[1] for run in runs), sum(not run[2] for run in runs))
    init = min(theirs, key=lambda name: theirs[name][0])
    seconds, sweeps, missed = theirs[init]
    return {
        "ours_s": ours,
        "tensorly_s": seconds,
        "ratio": seconds / ours,
        "init": init,
        "error": sum(factors.relative_error for factors in found) / len(found),
        "our_sweeps": sum(factors.sweeps for factors in found) / len(found),
        "tensorly_sweeps": sweeps / len(found),
        "missed": missed,
    }


def row(name: str, got: dict[str, float | str]) -> list[str]:
    """One line of a table of comparisons."""
    missed = f" ({got['missed']} never got there)" if got["missed"] else ""
    return [
        name,
        f"{got['error']:.4f}",
        f"{got['ours_s']:.2f}",
        f"{got['our_sweeps']:.0f}",
        f"{got['tensorly_s']:.2f}{missed}",
        f"{got['tensorly_sweeps']:.0f}, {got['init']}",
        f"**{got['ratio']:.1f}**",
    ]


_HEADER = ["kernels", "mean error", "ours, s", "sweeps", "TensorLy, s", "sweeps, init", "ratio"]


def ladder(weight: Tensor, sweeps: int, repeats: int) -> dict[str, object]:
    """All grid ranks by a ladder against one decomposition at the middle rank, and against all of them afresh."""
    top = weight.numel() / (weight.shape[0] + weight.shape[1] + 9)
    ranks = sorted({max(1, round(top * 0.04 ** (1 - step / 15))) for step in range(16)})
    middle = ranks[len(ranks) // 2]
    one = timed(lambda: proxy.decompose(weight, "cp3", middle), repeats)
    climbed = timed(lambda: proxy.rank_ladder(weight, "cp3", ranks, sweeps=sweeps), repeats)
    many = [(weight, "cp3", rank) for rank in ranks]
    afresh = timed(lambda: proxy.decompose_many(many), 1)
    got = [factors.relative_error for factors in proxy.rank_ladder(weight, "cp3", ranks, sweeps=sweeps)]
    best = [factors.relative_error for factors in proxy.decompose_many(many)]
    excess = [f"{100 * (mine / other - 1):+.0f}" for mine, other in zip(got, best, strict=True)]
    return {
        "ranks": len(ranks),
        "one_s": one,
        "ladder_s": climbed,
        "afresh_s": afresh,
        "ratio": climbed / one,
        "excess_percent": excess,
    }


def shares(problems: list[tuple[Tensor, int]]) -> list[tuple[str, float]]:
    """Operation → its share of the time of one call, the dearest first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the profiler sees one thread's operations
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        proxy.decompose_many([(weight, "cp3", rank) for weight, rank in problems])
    torch.set_num_threads(threads)
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    ordered = sorted(events, key=lambda event: -event.self_cpu_time_total)[:8]
    return [(event.key, event.self_cpu_time_total / total) for event in ordered]


def _summed(seconds: list[float]) -> list[str]:
    return ["all", "", f"{seconds[0]:.2f}", "", f"{seconds[1]:.2f}", "", f"**{seconds[1] / seconds[0]:.1f}**"]


def networks(page: Page, chosen: argparse.Namespace) -> None:
    """The kernels of ResNet-56, and made ones of ResNet-18's shapes."""
    weights = list(resnet_kernels(chosen.data, 56).values())
    rows, seconds = [], [0.0, 0.0]
    for cut in (3.0,) if chosen.quick else (2.0, 3.0, 5.0):
        problems = [(weight, cut_rank(weight, cut)) for weight in weights]
        got = compare(problems, 1 if chosen.quick else _REPEATS)
        page.figures[f"resnet56 at {cut:g}x"] = got
        seconds = [seconds[0] + float(got["ours_s"]), seconds[1] + float(got["tensorly_s"])]
        rows.append(row(f"ResNet-56, all {len(problems)}, at {cut:g}×", got))
    rows.append(_summed(seconds))
    page.text("## ResNet-56\n\nOne call of `proxy.decompose_many`, the correction included. Goal: 10.")
    page.table(_HEADER, rows)
    shapes = RESNET18_SHAPES[:3] if chosen.quick else RESNET18_SHAPES
    rows, seconds = [], [0.0, 0.0]
    for out, inn in shapes:
        weight = made_kernel(out, inn)
        got = compare([(weight, cut_rank(weight, 3))], 1)
        page.figures[f"{out}x{inn}x9 at 3x"] = got
        seconds = [seconds[0] + float(got["ours_s"]), seconds[1] + float(got["tensorly_s"])]
        rows.append(row(f"{out}×{inn}×9, R = {cut_rank(weight, 3)}", got))
    rows.append(_summed(seconds))
    page.text(
        "## ResNet-18's shapes\n\nMade kernels, one at a time, at a 3× cut; their singular values decay so that "
        "the errors are those of trained kernels (`benchmarks/kernels.py`). Goal: 5."
    )
    page.table(_HEADER, rows)
    page.text("Where the time goes (share of one thread's time, ResNet-56 at 3×):")
    found = shares([(weight, cut_rank(weight, 3)) for weight in weights])
    page.table(["operation", "share"], [[f"`{name}`", f"{100 * share:.0f} %"] for name, share in found])


def ladders(page: Page, chosen: argparse.Namespace) -> None:
    """The rank ladder on layers of three sizes."""
    weights = resnet_kernels(chosen.data, 56)
    names = ["layer1.3.conv1", "layer2.3.conv2", "layer3.4.conv1"]
    layers = [(name, weights[name]) for name in names]
    if not chosen.quick:
        layers.append(("256×256×9, made", made_kernel(256, 256)))
    rows = []
    for name, weight in layers:
        for sweeps in (4, 8):
            got = ladder(weight, sweeps, 1 if chosen.quick else _REPEATS)
            page.figures[f"ladder {name}, {sweeps} sweeps"] = got
            rows.append(
                [
                    f"{name}, {sweeps} sweeps",
                    str(got["ranks"]),
                    f"{1000 * float(got['one_s']):.0f}",  # type: ignore[arg-type]  # a number
                    f"{1000 * float(got['ladder_s']):.0f}",  # type: ignore[arg-type]  # a number
                    f"{1000 * float(got['afresh_s']):.0f}",  # type: ignore[arg-type]  # a number
                    f"**{got['ratio']:.1f}**",
                    " ".join(got["excess_percent"]),  # type: ignore[arg-type]  # a list of strings
                ]
            )
    page.text(
        "## The rank ladder\n\n`proxy.rank_ladder`: all ranks of a grid, 4 to 100 % of the dense MACs, against one "
        "`proxy.decompose` at the middle rank. Goal: at most 4. The last column is what the ladder pays: by how many "
        "per cent its errors are above those of a start afresh at each rank, from the lowest rank to break-even."
    )
    page.table(["layer", "ranks", "one, ms", "ladder, ms", "afresh, ms", "ratio", "error, % above afresh"], rows)


def main() -> None:
    """Measure and write the page."""
    parser = options(__doc__ or "")
    shared_data(parser)
    chosen = parser.parse_args()
    tl.set_backend("pytorch")
    page = Page("CP decompositions against TensorLy", (__doc__ or "").strip())
    page.text(
        f"{torch.get_num_threads()} threads; TensorLy gets one where it is faster on one. Its `parafac` (pytorch "
        f"backend) runs until it reaches the relative error that ours ends with, at most {_MOST_SWEEPS} sweeps and, of "
        f"the made kernels, {_PATIENCE} times our time; of its inits the faster one counts. Ratios are TensorLy's time "
        "over ours."
    )
    networks(page, chosen)
    ladders(page, chosen)
    page.write("decompose", chosen, ["torch", "tensorly"])


if __name__ == "__main__":
    main()
