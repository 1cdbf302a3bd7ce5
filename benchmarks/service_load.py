"""How much does the service add to a trial, how many trials a second does it take, and how does that grow?

Workers that evaluate nothing, over HTTP, on the same machine as the service; on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
from filled_study import FilledStudy
from fleet import SITES, Claimed, Fleet, SyntheticWorker, Watcher, fleet, quantile
from page import Page, options
from service_load_page import CROWD, LINEAR_SECONDS, PARAMETERS, STREAMS, WORKERS, write

from service.storage.engine import Database
from tests.postgres import PostgresServer, find_binaries

QUESTION = (__doc__ or "").splitlines()[0]
CROWD_SECONDS = 10.0
"""That a trial takes where many workers are connected."""
FIRST = frozenset({"baseline", "sensitivity"})
"""What a study has done before its first trial."""
ROUNDS = 3
USERS = {"anna": 400, "ben": 120, "carla": 60}
"""Of equal weight; and how many trials each has queued."""


def main() -> None:
    """Measure on both databases and write the page."""
    parser = options(QUESTION)
    parser.add_argument("--only", choices=("sqlite", "postgresql"), help="one database alone")
    chosen = parser.parse_args()
    page = Page("The service under load", QUESTION)
    page.text(
        f"One service process, {PARAMETERS} layers of 16 ranks, the product's default sampler. Workers claim and"
        " complete over HTTP and evaluate nothing, unless it is said how long they pretend to; they, the service and"
        " the database share the machine's two cores. Other requests of a trial (renewals) are left out."
        f" The machine's own speed wanders from minute to minute: trials a second are measured {ROUNDS} times, the"
        " databases, the samplers and Optuna in turns; medians, and the range in brackets."
    )
    found: dict[str, dict[str, Any]] = {}
    with databases(chosen.only) as urls:
        for name, url in urls.items():
            print(f"-- {name}", flush=True)
            found[name] = {"sync_ms": sync_ms(), **measured(url, quick=chosen.quick)}
        print("-- in turns", flush=True)
        for name, rates in in_turns(urls, *((1, 150, 10) if chosen.quick else (ROUNDS, 400, 20))).items():
            found[name]["throughput"] = rates
    write(page, found, chosen)


@contextlib.contextmanager
def databases(only: str | None) -> Iterator[dict[str, Any]]:
    """Name → what gives the URL of a new database."""
    with contextlib.ExitStack() as stack:
        urls: dict[str, Any] = {}
        if only != "postgresql":
            urls["SQLite"] = lambda: None
        if only != "sqlite":
            binaries = find_binaries()
            if binaries is None:
                raise SystemExit("no PostgreSQL here (Debian's package is `postgresql`); --only sqlite does without")
            server = PostgresServer(binaries, {"max_connections": "200"})  # as durable as it is installed
            stack.callback(server.remove)
            server.start()
            urls["PostgreSQL"] = lambda: server.url(server.create())
        yield urls


@contextlib.contextmanager
def served(url: Any) -> Iterator[Fleet]:  # noqa: ANN401 - what gives a URL
    """A new service on a new database."""
    with served_openly(url) as (running, _):
        yield running


@contextlib.contextmanager
def served_openly(url: Any) -> Iterator[tuple[Fleet, Database]]:  # noqa: ANN401 - what gives a URL
    """The same, and its database."""
    with tempfile.TemporaryDirectory() as folder:
        given = url()
        with fleet(Path(folder), given) as running:
            database = Database(given or f"sqlite:///{Path(folder) / 'data' / 'ranksearch.db'}")
            try:
                yield running, database
            finally:
                database.close()


def measured(url: Any, *, quick: bool) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Everything about one database."""
    few = 4 if quick else 1
    found: dict[str, Any] = {}
    with served(url) as one:
        found["overhead"] = overhead(one, 300 // few)
        found["linear"] = linear(one, 160 // few)
    with served(url) as one:
        found["fairness"] = fairness(one)
    with served(url) as one:
        found["crowd"] = crowd(one, 20.0 if quick else 60.0)
    with served_openly(url) as (one, database):
        found["trials"] = by_trials(one, database, (100, 1000, 10_000) if quick else (100, 300, 1000, 3000, 10_000))
    with served(url) as one:
        found["studies"] = by_studies(one, (1, 10, 100) if quick else (1, 10, 100, 1000))
    for name, value in found.items():
        print(name, value, flush=True)
    return found


def sync_ms(writes: int = 200) -> float:
    """What this machine's disk takes to have 4 KiB written for good, median: PostgreSQL waits for it at each commit."""
    took = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(writes):
            file.write(bytes(4096))
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return 1e3 * quantile(took, 0.5)


def trials_of(workers: list[SyntheticWorker]) -> list[Claimed]:
    """What they saw of trials, without each one's first: the connection is opened and caches are filled there."""
    return [job for worker in workers for job in worker.jobs[1:] if job.kind == "trial"]


def overhead(one: Fleet, trials: int) -> dict[str, float]:
    """Of one worker, in milliseconds."""
    one.submit(trials)
    seen = trials_of(one.work(1))
    parts = {
        "claim": [job.claim for job in seen],
        "sampling": [job.sampling for job in seen],
        "completion": [job.completion for job in seen],
        "added": [job.added for job in seen],
    }
    return {
        f"{part} {share}": 1e3 * quantile(values, share)
        for part, values in parts.items()
        for share in (0.5, 0.95, 0.99)
    }


def in_turns(urls: Mapping[str, Any], rounds: int, trials: int, own: int) -> dict[str, dict[str, Any]]:
    """Name → sampler → rates, round by round; ``optuna``: of its own ask and tell."""
    found: dict[str, dict[str, Any]] = {name: {"auto": [], "random": [], "optuna": []} for name in urls}
    with contextlib.ExitStack() as stack:
        fleets = {name: stack.enter_context(served(url)) for name, url in urls.items()}
        for _ in range(rounds):
            for name, one in fleets.items():
                for sampler in ("auto", "random"):
                    found[name][sampler].append(throughput(one, trials, sampler))
                found[name]["optuna"].append(optunas(urls[name], own))
                print(name, {word: rates[-1] for word, rates in found[name].items()}, flush=True)
    return found


def throughput(one: Fleet, trials: int, sampler: str) -> dict[str, float]:
    """Of eight workers with nothing to evaluate."""
    one.submit(trials, sampler=sampler)
    used, start = one.cpu_seconds(), time.perf_counter()
    seen = trials_of(one.work(WORKERS))
    took = time.perf_counter() - start
    return {
        "per_second": trials / took,
        "cpu_ms": 1e3 * (one.cpu_seconds() - used) / trials,
        "sampling_ms": 1e3 * quantile([job.sampling for job in seen], 0.5),
    }


def linear(one: Fleet, trials: int) -> float:
    """How much of eight workers' time is spent on trials that take half a second."""
    one.submit(trials)
    workers = [SyntheticWorker(one, f"l{number}", LINEAR_SECONDS).start() for number in range(WORKERS)]
    for worker in workers:
        worker.join()
    jobs = [job for worker in workers for job in worker.jobs if job.kind == "trial"]
    first, last = min(job.at for job in jobs), max(job.at + job.claim + job.worked + job.completion for job in jobs)
    return trials * LINEAR_SECONDS / (WORKERS * (last - first))


def fairness(one: Fleet) -> dict[str, Any]:
    """Jain's index of the worker-seconds that three users get while all of them have work waiting."""
    tokens = {name: one.user(name) for name in USERS}
    owners = {one.submit(count, tokens[name]): name for name, count in USERS.items()}
    workers = [SyntheticWorker(one, f"f{number}", 0.1).start() for number in range(WORKERS)]
    least = min(USERS, key=lambda name: USERS[name])
    mine = next(study for study, name in owners.items() if name == least)
    while one.study(mine)["progress"]["waiting"]:
        time.sleep(0.1)
    for worker in workers:
        worker.stopping.set()
        worker.join()
    got = dict.fromkeys(USERS, 0.0)
    for job in (job for worker in workers for job in worker.jobs if job.study in owners):
        got[owners[job.study or ""]] += job.worked
    return {"seconds": got, "jain": sum(got.values()) ** 2 / (len(got) * sum(value**2 for value in got.values()))}


def crowd(one: Fleet, seconds: float) -> dict[str, float]:
    """Two hundred connected workers, a hundred open streams."""
    before = one.memory()
    studies = [one.submit(2000, sampler="random") for _ in range(10)]
    _some(one, 2 * len(studies), 1, kinds=FIRST)  # or all workers would wait for these, and claim in one moment
    watchers = [Watcher(one, studies[number % len(studies)]) for number in range(STREAMS)]
    workers = []
    for number in range(CROWD):  # as a fleet comes: one after another, not all in one moment
        workers.append(SyntheticWorker(one, f"c{number}", CROWD_SECONDS, wait=10.0).start())
        time.sleep(CROWD_SECONDS / CROWD)
    start = time.perf_counter()
    time.sleep(seconds)
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        worker.join()
    jobs = [job for worker in workers for job in worker.jobs if job.at >= start and job.kind == "trial"]
    problems = [problem for worker in workers for problem in worker.problems]
    events = sum(watcher.events for watcher in watchers)
    found = {
        "claims_per_second": len(jobs) / seconds,
        "claim_ms 0.5": 1e3 * quantile([job.claim for job in jobs], 0.5),
        "claim_ms 0.99": 1e3 * quantile([job.claim for job in jobs], 0.99),
        "events": events,
        "problems": len(problems),
        "memory_before": before,
        "memory": one.memory(),
    }
    for watcher in watchers:
        watcher.close()
    return found


def by_trials(one: Fleet, database: Database, marks: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """A study as it grows: what a claim and a completion take after so many of its trials."""
    found: dict[int, dict[str, float]] = {}
    study = one.submit(marks[-1] + 100)
    _some(one, 10, 1)
    hand = FilledStudy(database, study, marks[-1], SITES)
    for mark in marks:
        hand.fill(mark)
        _some(one, 5, 1)  # the service reads what was written beside it
        found[mark] = _typical(trials_of(_some(one, 40, 1)))
    return found


def by_studies(one: Fleet, marks: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """What they take beside so many studies of a hundred trials that wait."""
    found: dict[int, dict[str, float]] = {}
    there = 0
    for mark in marks:
        new = mark - there
        for _ in range(new):
            one.submit(100)
        there = mark
        _some(one, 2 * new, WORKERS, kinds=FIRST)  # theirs, which go first, but not before what is under way
        found[mark] = _typical(trials_of(_some(one, 40, 1)))
    return found


def _some(one: Fleet, jobs: int, workers: int, kinds: frozenset[str] | None = None) -> list[SyntheticWorker]:
    """Workers that stop once they have done so many jobs together, of these kinds if named, or nothing is left."""
    crew = [SyntheticWorker(one, f"s{number}") for number in range(workers if jobs > workers else 1)]
    if jobs <= 0:
        return []
    for worker in crew:
        worker.start()
    while _done(crew, kinds) < jobs and any(worker.alive for worker in crew):
        time.sleep(0.01)
    for worker in crew:
        worker.stopping.set()
        worker.join()
    return crew


def _done(crew: list[SyntheticWorker], kinds: frozenset[str] | None) -> int:
    return sum(kinds is None or job.kind in kinds for worker in crew for job in list(worker.jobs))


def _typical(seen: list[Claimed]) -> dict[str, float]:
    parts = {"claim": [job.claim for job in seen], "completion": [job.completion for job in seen]}
    parts["sampling"] = [job.sampling for job in seen]
    return {name: 1e3 * quantile(values, 0.5) for name, values in parts.items()}


def optunas(url: Any, trials: int) -> float:  # noqa: ANN401 - what gives a URL
    """Optuna's own ask and tell on its own storage: eight processes, twenty parameters, the cheapest sampler."""
    with tempfile.TemporaryDirectory() as folder:
        # Its own five seconds were seen to be too few for eight processes on a slow disk.
        address = url() or f"sqlite:///{Path(folder) / 'optuna.db'}?timeout=60"
        optuna.create_study(study_name="s", storage=address)
        with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
            list(pool.map(_ask_and_tell, [address] * WORKERS, [1] * WORKERS))  # processes and connections
            start = time.perf_counter()
            list(pool.map(_ask_and_tell, [address] * WORKERS, [trials] * WORKERS))
            return WORKERS * trials / (time.perf_counter() - start)


def _ask_and_tell(address: str, trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="s", storage=address, sampler=optuna.samplers.RandomSampler())
    for _ in range(trials):
        trial = study.ask()
        value = sum(trial.suggest_int(f"layer{number}", 0, 15) for number in range(PARAMETERS))
        study.tell(trial, value)


if __name__ == "__main__":
    sys.exit(main())
