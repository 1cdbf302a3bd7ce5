"""The evaluating process: reads assignments, answers reports, ends when its agent does.

It is kept from one trial to the next, so that the network, its images and its factors stay warm.
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from worker.allocator import keep_freed_memory
from worker.protocol import Advance, Assignment, Fetched, Hello, Ready, Report, Wants, from_agent
from worker.sandbox import Policy, confine, switched_off

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Serve assignments from standard input until it closes."""
    options = _parser().parse_args(argv)
    # First of all: confining works on a single thread, and what torch loads is not to be trusted with more.
    measures = switched_off() if options.policy is None else confine(options.policy)
    keep_freed_memory()
    pipe = _reserve_standard_output()
    _say(pipe, Hello(sandbox=measures))
    assignments, answers = _read_ahead(sys.stdin.fileno())
    from worker.evaluation import Session, evaluate  # noqa: PLC0415 - torch takes seconds: first watch the agent

    session = Session(device=options.device, cache_dir=options.cache_dir, threads=options.threads)
    if options.device != "cpu":
        _say(pipe, Ready(problem=session.device_problem()))
    while True:
        assignment = assignments.get()
        session.factors.fetch = _asking(pipe, answers, assignment.number)
        _say(pipe, evaluate(session, assignment, partial(_say, pipe)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.child", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache-dir", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--policy", type=Policy.model_validate_json, help="what it may do; without it, everything")
    return parser


def _reserve_standard_output() -> BinaryIO:
    """Keep the pipe for reports alone: whatever prints from now on goes to standard error."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _say(pipe: BinaryIO, message: Hello | Ready | Report | Wants | Advance) -> None:
    pipe.write(message.line())
    pipe.flush()


def _asking(pipe: BinaryIO, answers: queue.SimpleQueue[Fetched], number: int) -> Callable[[Sequence[str]], None]:
    """Asks the agent for factors, and returns when those that others have are in the cache."""

    def ask(keys: Sequence[str]) -> None:
        _say(pipe, Wants(number=number, wants=list(keys)))
        answers.get()

    return ask


def _read_ahead(pipe: int) -> tuple[queue.SimpleQueue[Assignment], queue.SimpleQueue[Fetched]]:
    """Read assignments and answers in a thread, which ends the process at once when the agent is gone.

    A killed agent leaves no orphan that computes for nobody, on any platform. Read without Python's buffer, whose
    lock a thread must not hold when the interpreter ends.
    """
    assignments: queue.SimpleQueue[Assignment] = queue.SimpleQueue()
    answers: queue.SimpleQueue[Fetched] = queue.SimpleQueue()

    def read() -> None:
        rest = b""
        while piece := os.read(pipe, 1 << 16):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                told = from_agent(line)
                if isinstance(told, Assignment):
                    assignments.put(told)
                else:
                    answers.put(told)
        os._exit(0)

    threading.Thread(target=read, name="assignments", daemon=True).start()
    return assignments, answers


if __name__ == "__main__":
    main()
