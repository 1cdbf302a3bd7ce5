"""Workers as processes: several devices, draining, versions, clocks that are wrong, and pauses beyond the lease."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.system.watching import ENDED, assert_exact, running, suspended_in_a_trial, wait_for

pytestmark = pytest.mark.slow
TRIALS = 12
AN_HOUR_AHEAD = """
import time, datetime
for name in ("time", "time_ns"):
    real, ahead = getattr(time, name), 3600 * (10**9 if name == "time_ns" else 1)
    setattr(time, name, lambda real=real, ahead=ahead: real() + ahead)
"""
ANOTHER_VERSION = """
import importlib.metadata
importlib.metadata.version = lambda name: "99.0.1"
"""
WORKER = """
import sys
from worker.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def start(local, tmp_path):
    """Start a worker as a process, after some Python where asked for; its log is ``worker.log`` in ``tmp_path``."""
    started = []

    def start(*options, prelude="", name="box"):
        given = ["--url", local.url, "--name", name, "--cache-dir", str(tmp_path / "cache"), "--devices", "cpu"]
        with (tmp_path / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", prelude + WORKER, *given, *options],
                env={**os.environ, "RANKSEARCH_TOKEN": local.token},
                stdout=log,
                stderr=log,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def listed(client, state="idle"):
    return {worker.name: worker for worker in client.workers.list() if worker.state == state}


def test_each_device_of_a_machine_is_a_worker_that_evaluates_with_its_labels_and_memory(local, start, submit):
    start("--devices", "cpu,cpu", "--label", "site=berlin", "--label", "rack=4")
    with local.client() as client:
        workers = wait_for(lambda: len(found := listed(client)) == 2 and found)
        assert set(workers) == {"box#0", "box#1"}
        for worker in workers.values():
            assert worker.labels == {"site": "berlin", "rack": "4"}
            assert 0 < worker.memory_bytes <= psutil.virtual_memory().total
        for seed, (working, drained) in enumerate((("box#0", "box#1"), ("box#1", "box#0"))):
            client.workers.undrain(workers[working].id)
            client.workers.drain(workers[drained].id)
            handle = submit(client, n_trials=2, seed=seed)
            handle.wait(timeout=240)
            assert_exact(client, handle, 2)
            assert {trial.worker for trial in client.studies.trials(handle.id)} == {workers[working].id}


def test_a_drained_worker_finishes_its_trial_and_ends_well(local, start, submit):
    process = start("--exit-when-drained")
    with local.client() as client:
        handle = submit(client, n_trials=TRIALS)
        trial = wait_for(lambda: running(client, handle.id))
        client.workers.drain(trial.worker)
        assert process.wait(60) == 0
        trials = list(client.studies.trials(handle.id))
        assert trials[trial.number].state in ENDED
        assert [each.state for each in trials if each.state == "RUNNING"] == []
        start()
        handle.wait(timeout=240)
        assert_exact(client, handle, TRIALS)


def test_a_worker_of_another_version_ends_with_what_to_do(start, tmp_path):
    process = start(prelude=ANOTHER_VERSION)
    assert process.wait(60) == 1
    log = (tmp_path / "worker.log").read_text()
    assert "99.0.1" in log
    assert "install" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("lease_seconds", [60])  # an hour is beyond it, and no pause of a busy machine is
def test_a_worker_whose_clock_is_an_hour_ahead_keeps_its_leases(local, start, submit):
    start(prelude=AN_HOUR_AHEAD)
    with local.client() as client:
        handle = submit(client, n_trials=TRIALS)
        handle.wait(timeout=240)
        assert_exact(client, handle, TRIALS)
        assert {trial.attempts for trial in client.studies.trials(handle.id)} == {1}


def test_a_worker_paused_beyond_its_lease_has_its_late_result_refused_and_goes_on(local, start, submit, tmp_path):
    process = start(name="paused")
    with local.client() as client:
        handle = submit(client, n_trials=TRIALS)
        paused = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        trial = wait_for(lambda: suspended_in_a_trial(client, handle.id, paused))
        other = start(name="other")
        taken = wait_for(
            lambda: next(
                (t for t in client.studies.trials(handle.id) if t.number == trial.number and t.worker != trial.worker),
                None,
            )
        )
        assert taken.ranks == trial.ranks
        for each in paused:
            each.resume()
        handle.wait(timeout=240)
        assert_exact(client, handle, TRIALS)
        assert next(t for t in client.studies.trials(handle.id) if t.number == trial.number).worker == taken.worker
        os.kill(other.pid, signal.SIGTERM)
        other.wait(60)
        again = submit(client, n_trials=2, seed=1)
        again.wait(timeout=240)
        assert {t.worker for t in client.studies.trials(again.id)} == {trial.worker}
    log = (tmp_path / "worker.log").read_text()
    assert "is no longer ours" in log or "the outcome is not wanted any more" in log


def test_a_second_sigterm_ends_a_worker_at_once(local, start):
    process = start()
    with local.client() as client:
        wait_for(lambda: listed(client))
        service = psutil.Process(local.service.pid)
        service.suspend()  # now nothing can be handed back, nor a goodbye be said
        try:
            process.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.terminate()
            assert process.wait(60) == 128 + signal.SIGTERM
        finally:
            service.resume()
