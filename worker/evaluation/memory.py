"""What is done where a device runs out of memory: the same work, with fewer images at once.

A task's batches stay what they are: the race compares them one by one, and a BatchNorm that is re-estimated averages
over them. Only the forward passes are cut into pieces, so that results are the same up to the order of sums. What
cannot be cut, the re-estimation of a BatchNorm's statistics on a batch, is done on the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from ranksearch.contracts.errors import EvaluationError
from ranksearch.contracts.jobs import Task
from worker.evaluation.faults import ran_out_of_memory
from worker.evaluation.session import Session

__all__ = ["with_fewer_at_once"]

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def with_fewer_at_once(session: Session, task: Task, work: Callable[[], Result]) -> Result:
    """Do a task; where memory runs out, empty the device and do it again with half as many images at once.

    What was enough is kept for the tasks that follow on the same network.

    Raises:
        EvaluationError: ``evaluation_out_of_memory``: it runs out for single images, with nothing else in memory.
    """
    batch_size = getattr(task, "batch_size", 1)
    key = task.model.sha256, batch_size
    at_once, emptied = session.enough.get(key, batch_size), False
    while True:
        session.at_once = at_once
        try:
            return work()
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            told = " ".join(str(error).split())[:300]
        # Only here, where no frame of the failed attempt holds its tensors any more.
        session.forget()
        if at_once == 1 and emptied:
            session.enough.pop(key, None)
            raise _exhausted(session, task, told)
        at_once, emptied = (at_once + 1) // 2, True
        session.enough[key] = at_once
        log.warning("out of memory: %s goes on with %d images at once (%s)", task.kind, at_once, told)


def _exhausted(session: Session, task: Task, told: str) -> EvaluationError:
    memory = session.memory_bytes
    size = "" if memory is None else f" of {memory / 2**30:.1f} GiB"
    single = "even for single images" if hasattr(task, "batch_size") else "with nothing else in it"
    return EvaluationError(
        "evaluation_out_of_memory",
        f"the memory{size} of {session.device_name} is not enough for this {task.kind}, {single}",
        got=told,
        expected="a device with more memory" if memory is None else f"a device with more than {memory / 2**30:.1f} GiB",
        mend="start a worker on a larger device, or use a smaller network or smaller images",
        device=session.device_name,
        memory_bytes=memory,
    )
