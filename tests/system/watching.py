"""Waiting for what real processes do, and counting what they did."""

import time

ENDED = {"COMPLETE", "PRUNED"}


def wait_for(condition, timeout=120.0):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return found


def running(client, study):
    """A trial under way, once at least two have ended."""
    trials = list(client.studies.trials(study))
    done = sum(trial.state in ENDED for trial in trials)
    return done >= 2 and next((trial for trial in trials if trial.state == "RUNNING"), None)


def suspended_in_a_trial(client, study, processes):
    """The trial that they hold, now that they stand still; None, and they go on, where they hold none.

    What they sent before they stood still is given the time to arrive.
    """
    for each in processes:
        each.suspend()
    time.sleep(0.3)
    trial = running(client, study)
    if not trial:
        for each in processes:
            each.resume()
    return trial


def assert_exact(client, handle, count):
    """Exactly so many trials, all measured, none twice; those that lost their race saw fewer images."""
    trials = list(client.studies.trials(handle.id))
    assert [trial.number for trial in trials] == list(range(count))
    assert {trial.state for trial in trials} <= ENDED
    progress = handle.status().progress
    assert (progress.complete + progress.pruned, progress.failed, progress.running, progress.waiting) == (
        count,
        0,
        0,
        0,
    )
