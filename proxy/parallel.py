"""Independent pieces of work on the threads that torch would give to one operation.

Thousands of operations of some microseconds each gain nothing from a second thread inside each of them and, when the
cores are busy, wait for it at every barrier: ten times slower was seen. Whole pieces side by side, one thread each, use
the same cores without a barrier; torch gives up the interpreter's lock while it computes. What a piece computes is
also independent of the machine's core count then.

Caveat: torch's thread count is the process's default for threads to come, so a thread that first meets torch while
pieces are at work stays at one. Serving threads of the same process should meet it before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

__all__ = ["in_parallel", "side_by_side", "single_threaded"]


_ALONE_FROM = 1 << 17
"""Entries of a kernel from which one operation is worth all threads: 128×128×3×3."""


def side_by_side(pieces: Sequence[tuple[int, torch.device | str, Callable[[], None]]]) -> None:
    """Do all pieces: those on large kernels one after the other on all threads, the others side by side on one each.

    Args:
        pieces: entries of the kernel, the device it is on, the work; the longest first. What runs on an accelerator
            runs one after the other, too: the device has its own order.
    """
    small = []
    for entries, device, piece in pieces:
        if entries < _ALONE_FROM and torch.device(device).type == "cpu":
            small.append(piece)
        else:
            piece()
    in_parallel(small)


def in_parallel(pieces: Sequence[Callable[[], None]]) -> None:
    """Do all pieces, in any order, as many at a time as torch has threads.

    The first error is raised; what has not begun by then is left undone.

    Args:
        pieces: touch nothing in common but what they write once; the longest first.
    """
    wanted = min(torch.get_num_threads(), len(pieces))
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
            try:
                for done in [pool.submit(alone, piece) for piece in pieces]:
                    done.result()
            except BaseException:  # an interrupt, too: what has not begun is not begun
                pool.shutdown(wait=True, cancel_futures=True)
                raise


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
