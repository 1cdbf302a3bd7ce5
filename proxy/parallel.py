"""Independent pieces of work on the threads that torch would give to one operation.

Thousands of operations of some microseconds each gain nothing from a second thread inside each of them and, when the
cores are busy, wait for it at every barrier: ten times slower was seen. Whole pieces side by side, one thread each, use
the same cores without a barrier; torch gives up the interpreter's lock while it computes. What a piece computes is
also independent of the machine's core count then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

__all__ = ["in_parallel", "single_threaded"]


def in_parallel(pieces: Sequence[Callable[[], None]], *, threads: int | None = None) -> None:
    """Do all pieces, in any order; the first error is raised when all have ended.

    Args:
        pieces: touch nothing in common but what they write once; the longest first.
        threads: how many at a time; None takes torch's number.
    """
    before = torch.get_num_threads()
    wanted = min(before if threads is None else threads, len(pieces))
    with single_threaded():
        if wanted <= 1:
            for piece in pieces:
                piece()
            return
        grad = torch.is_grad_enabled()

        def alone(piece: Callable[[], None]) -> None:
            torch.set_num_threads(1)  # OpenMP keeps the number per thread
            with torch.set_grad_enabled(grad):
                piece()

        with ThreadPoolExecutor(wanted) as pool:
            for done in [pool.submit(alone, piece) for piece in pieces]:
                done.result()


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread inside each operation, the process's own number after it."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
