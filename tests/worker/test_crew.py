import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ranksearch.contracts.errors import AccessError
from worker.crew import Crew

ROOT = Path(__file__).parents[2]


class Member:
    """Works until it is stopped, or ends with an error, or at once."""

    def __init__(self, error=None, *, done=False):
        self.error = error
        self.stopped = threading.Event()
        self.ran = threading.Event()
        if done:
            self.stopped.set()

    def run(self):
        self.ran.set()
        if self.error is not None:
            raise self.error
        assert self.stopped.wait(10)

    def stop(self):
        self.stopped.set()


def test_all_work_until_they_are_stopped():
    members = [Member(), Member()]
    crew = Crew(members)
    running = threading.Thread(target=crew.run)
    running.start()
    assert all(member.ran.wait(10) for member in members)
    crew.stop()
    running.join(10)
    assert not running.is_alive()


def test_one_that_is_done_leaves_the_others_working():
    members = [Member(done=True), Member()]
    crew = Crew(members)
    running = threading.Thread(target=crew.run)
    running.start()
    assert members[1].ran.wait(10)
    assert not members[1].stopped.is_set()
    assert running.is_alive()
    crew.stop()
    running.join(10)


def test_what_ends_one_for_good_ends_all_and_is_raised():
    members = [Member(AccessError("token_invalid", "no")), Member()]
    with pytest.raises(AccessError):
        Crew(members).run()
    assert members[1].stopped.is_set()


PROGRAM = """
import signal, threading, time
from worker.crew import Crew

class Agent:
    def __init__(self):
        self.stopped = threading.Event()

    def run(self):
        time.sleep(0.2)  # until the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert self.stopped.wait(60)

    def stop(self):
        self.stopped.set()

crew = Crew([Agent()])
signal.signal(signal.SIGTERM, lambda *_: crew.stop())
crew.run()
"""


def test_a_signal_that_the_system_gave_to_another_thread_is_heard():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=30, env={**os.environ, "PYTHONPATH": str(ROOT)})
