from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.postgres import postgres

__all__ = ["postgres"]

# Before torch is imported, here and in every process that a test starts: several of them share the cores, and what one
# thread sums up it sums up in the same order each time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that runs something in the background has it ignore Ctrl-C, and so would all that is started from here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples at each run. What is slow on a busy machine is no fault.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


def pytest_collection_finish() -> None:
    """What lives as long as the process need not be looked through whenever a test has its memory let go."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """A command that was run in this process set up its log lines, for a stream that ended with its test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    result = yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    return result
