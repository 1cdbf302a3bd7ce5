"""The one way of timing: blocks of calls, taken in turns, so that whatever else the machine does falls on all alike.

A block is a ``blocked_autorange`` of :mod:`torch.utils.benchmark`: what is asked for is called once more before it, so
that caches, threads and clocks are where they are in steady use. From round to round the order is reversed, so that a
machine that gets slower steadily favours nobody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles

import torch
from torch.utils.benchmark import Timer

from ranksearch.contracts.latency import Measured, Timing

__all__ = ["Turns", "in_turns", "medians_ms"]

_FEW = 6
"""Rounds below which the sign test tells nothing at 95 %: with six, all six have to agree."""


@dataclass(frozen=True)
class Turns:
    """Seconds of one call by contender and round, each the mean over a block.

    Args:
        seconds: contender → round → seconds.
        passes: contender → how many calls were timed.
    """

    seconds: list[list[float]]
    passes: list[int]

    def median_ms(self, contender: int) -> float:
        """The median over the rounds."""
        return 1000 * median(self.seconds[contender])

    def timing(self, contender: int) -> Timing:
        """Median and spread over the rounds."""
        own = self.seconds[contender]
        first, _, third = quantiles(own, n=4, method="inclusive") if len(own) > 1 else [own[0]] * 3
        return Timing(median_ms=1000 * median(own), iqr_ms=1000 * (third - first), passes=self.passes[contender])

    def compared(self, dense: int = 0, compressed: int = 1) -> Measured:
        """One contender against another, round by round: what disturbs both leaves their ratio alone."""
        ratios = sorted(one / other for one, other in zip(self.seconds[dense], self.seconds[compressed], strict=True))
        low, high = _interval(ratios)
        return Measured(
            dense=self.timing(dense),
            compressed=self.timing(compressed),
            speedup=median(ratios),
            speedup_low=low,
            speedup_high=high,
            rounds=len(ratios),
        )


@contextmanager
def _as_networks_are_run() -> Iterator[None]:
    """With TF32 where a GPU has it, as by torch's default; a session's evaluations do without."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@torch.inference_mode()
@_as_networks_are_run()
def in_turns(
    calls: Sequence[Callable[[], object]],
    device: torch.device,
    *,
    seconds: float,
    most: int,
    least: int = 1,
    longest: float = math.inf,
    block: float = 0.0,
) -> Turns:
    """Time calls in turns.

    Args:
        calls: the contenders.
        device: whose queue is drained before and after each block.
        seconds: after so long no further round begins, once there are ``least``.
        most: rounds at most.
        least: rounds that are made, however long they take up to ``longest``; the first one always is.
        longest: seconds after which no round begins in any case.
        block: seconds a block lasts at least; 0: blocks of one call, each after one that is not counted.
    """
    threads, clock = torch.get_num_threads(), partial(_now, device)
    timers = [Timer("call()", globals={"call": call}, timer=clock, num_threads=threads) for call in calls]
    order = list(range(len(calls)))
    times: list[list[float]] = [[] for _ in calls]
    passes, start = [0] * len(calls), time.perf_counter()
    for number in range(most):
        if number and time.perf_counter() - start > (seconds if number >= least else max(seconds, longest)):
            break
        for contender in order if number % 2 == 0 else reversed(order):
            measured = timers[contender].blocked_autorange(min_run_time=block)
            times[contender].append(measured.mean)
            passes[contender] += measured.number_per_run * len(measured.raw_times)
    return Turns(times, passes)


def medians_ms(
    calls: Sequence[Callable[[], object]], device: torch.device, *, seconds: float, rounds: int
) -> list[float]:
    """The median time of each call in milliseconds; the first round always runs."""
    turns = in_turns(calls, device, seconds=seconds, most=rounds)
    return [turns.median_ms(contender) for contender in range(len(calls))]


def _interval(ascending: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of their median between two of them: the sign test's, which assumes nothing of their spread.

    As many as ``skipped`` lie on either side of it, with ``2 P(X ≤ skipped) ≤ 5 %`` for X binomial of a half.
    """
    count = len(ascending)
    if count < _FEW:
        return None, None
    skipped, mass, term = -1, 0.0, 0.5**count
    while 2 * (mass + term) <= 0.05:  # noqa: PLR2004 - 95 %
        mass += term
        skipped += 1
        term *= (count - skipped) / (skipped + 1)
    return ascending[skipped], ascending[count - 1 - skipped]


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
