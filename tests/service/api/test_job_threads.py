"""Workers' requests take turns in a few threads of their own."""

from __future__ import annotations

import asyncio
import threading

import pytest
from starlette.concurrency import run_in_threadpool

from service.api.job_threads import JobThreads


class Counted:
    """Use cases that are in progress until they are let go; ``full`` once so many are."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.begun, self.running, self.most = [], 0, 0
        self.full, self.go_on = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def __call__(self, number: int, *, doubled: bool = False) -> int:
        with self._lock:
            self.begun.append(number)
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == self.count:
                self.full.set()
        assert self.go_on.wait(30)
        with self._lock:
            self.running -= 1
        return 2 * number if doubled else number


@pytest.mark.parametrize("count", [1, 3])
def test_so_many_run_at_once_in_the_order_in_which_they_came(count):
    async def all_of_them():
        threads = JobThreads(count)
        tasks = []
        for number in range(9):
            tasks.append(asyncio.create_task(threads.run(counted, number, doubled=True)))
            await asyncio.sleep(0)
        assert await run_in_threadpool(counted.full.wait, 30)  # in a thread of the others, who do not wait for these
        counted.go_on.set()
        return await asyncio.gather(*tasks)

    counted = Counted(count)
    assert asyncio.run(all_of_them()) == [2 * number for number in range(9)]
    assert counted.most == count
    assert sorted(counted.begun[:count]) == list(range(count))
    if count == 1:
        assert counted.begun == list(range(9))


def test_what_is_raised_reaches_the_caller():
    def fail():
        raise ValueError("no")

    async def tried():
        await JobThreads(1).run(fail)

    with pytest.raises(ValueError, match="no"):
        asyncio.run(tried())
