"""Workers are killed and stopped in the middle of studies; the trials come out exactly as many as asked for."""

import contextlib
import signal

import psutil

from tests.system.watching import ENDED, assert_exact, suspended_in_a_trial, wait_for

TRIALS = 16


def kill_in_the_middle(local, client, submit, how):
    worker = psutil.Process(local.start_worker().pid)
    handle = submit(client, n_trials=TRIALS)
    wait_for(lambda: any(trial.state in ENDED for trial in client.studies.trials(handle.id)))
    children = worker.children(recursive=True)  # all are there, once one trial has ended
    trial = wait_for(lambda: suspended_in_a_trial(client, handle.id, [worker, *children]))
    worker.send_signal(how)
    for each in [worker, *children]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.resume()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    psutil.wait_procs(children, timeout=60)
    assert not any(child.is_running() for child in children)
    return handle, trial


def test_a_killed_workers_trial_is_done_again_by_another_and_counts_once(local, submit):
    with local.client() as client:
        handle, trial = kill_in_the_middle(local, client, submit, signal.SIGKILL)
        local.start_worker()
        handle.wait(timeout=240)
        assert_exact(client, handle, TRIALS)
        again = list(client.studies.trials(handle.id))[trial.number]
        assert again.ranks == trial.ranks
        assert again.worker != trial.worker


def test_a_worker_told_to_stop_hands_its_trial_back_at_once(local, submit):
    with local.client() as client:
        handle, trial = kill_in_the_middle(local, client, submit, signal.SIGTERM)
        states = {t.number: t.state for t in client.studies.trials(handle.id)}
        assert states[trial.number] in {"WAITING", *ENDED}
        assert "RUNNING" not in states.values()
        local.start_worker()
        handle.wait(timeout=240)
        assert_exact(client, handle, TRIALS)


def test_two_workers_share_a_study(local, submit):
    with local.client() as client:
        local.start_worker()
        local.start_worker()
        handle = submit(client, n_trials=TRIALS)
        handle.wait(timeout=240)
        assert_exact(client, handle, TRIALS)
