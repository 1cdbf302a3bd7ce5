"""Workers, services and the database are killed at random moments; every study ends with exactly its trials."""

from __future__ import annotations

import random
import time

import optuna
import psycopg
import pytest
from optuna.trial import TrialState

from tests.postgres import PostgresServer, find_binaries
from tests.system.soak.fleet import fleet, insist, ok, prepared

FINALISTS = 2


@pytest.fixture
def server():
    """A PostgreSQL that loses nothing when it is killed: unlike the other tests', it writes through to the disk."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here: neither pg_config nor initdb is found")
    made = PostgresServer(binaries, {"max_connections": "200"})
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.mark.soak
def test_every_study_ends_with_exactly_its_trials(tmp_path, server):
    kills, studies, n_trials = 220, 8, 150
    rng = random.Random(kills)  # noqa: S311 - no secret
    with fleet(tmp_path, server, workers=4) as made:
        request = prepared(made) | {
            "constraints": {"macs": "50%"},
            "metric": "accuracy",
            "n_trials": n_trials,
            "finalists": FINALISTS,
            "search_images": {"calibration": 10, "validation": 10},
            "sampler": "local",
        }
        ids = [submitted(made, request, number) for number in range(studies)]
        while sum(made.kills.values()) < kills:
            made.kill_one(rng)
            time.sleep(rng.uniform(0, 0.5))
            if all(state(made, study) == "completed" for study in ids[-2:]):
                ids.append(submitted(made, request, len(ids)))
        insist(lambda: finished(made, ids), seconds=600)
        print(f"\nkills {made.kills}, studies {len(ids)}, trials {len(ids) * n_trials}")  # noqa: T201 - the figures of a soak
        for study in ids:
            check_answers(made, study, n_trials)
        (database,) = {child.command[child.command.index("--database-url") + 1] for child in made.services}
        made.stop()
        check_rows(database, ids, n_trials)


def submitted(made, request, number):
    """By whichever replica answers; the key makes the repetition of a lost answer harmless."""
    headers = {"idempotency-key": f"study {number}"}
    with made.http(number % 2) as http:
        return insist(lambda: ok(http.post("/v1/studies", json=request | {"seed": number}, headers=headers)))["id"]


def state(made, study):
    with made.http() as http:
        return insist(lambda: ok(http.get(f"/v1/studies/{study}")))["state"]


def finished(made, ids):
    with made.http() as http:
        for study in ids:
            answered = ok(http.get(f"/v1/studies/{study}"))
            assert answered["state"] == "completed", answered["progress"]
            assert ok(http.get(f"/v1/studies/{study}/artifacts"))["items"][0]["state"] == "ready"


def check_answers(made, study, n_trials):
    with made.http(1) as http:
        progress = insist(lambda: ok(http.get(f"/v1/studies/{study}")))["progress"]
        assert progress["complete"] + progress["pruned"] == n_trials, progress
        assert (progress["failed"], progress["running"], progress["waiting"]) == (0, 0, 0)
        trials = []
        after = None
        while True:
            query = {"limit": 200} | ({"cursor": after} if after else {})
            page = ok(http.get(f"/v1/studies/{study}/trials", params=query))
            trials += page["items"]
            after = page["next"]
            if after is None:
                break
        assert [trial["number"] for trial in trials] == list(range(n_trials))
        assert sum(trial["final"] is not None for trial in trials) == FINALISTS


def check_rows(database, ids, n_trials):
    """Behind the API: no lease is left, events have no gaps, and Optuna knows the same trials."""
    address = database.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address) as connection:
        left = connection.execute("SELECT count(*) FROM rs_jobs WHERE state IN ('waiting', 'leased')").fetchone()
        assert left == (0,)
        for study in ids:
            numbers = [
                number
                for (number,) in connection.execute(
                    "SELECT number FROM rs_events WHERE study_id = %s ORDER BY number", (study,)
                )
            ]
            assert numbers == list(range(1, len(numbers) + 1))
    for study in ids:
        seen = optuna.load_study(study_name=study, storage=database).trials
        assert [trial.number for trial in seen] == list(range(n_trials))
        assert {trial.state for trial in seen} <= {TrialState.COMPLETE, TrialState.PRUNED}
