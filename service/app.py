"""The composition root: the only place that knows the concrete classes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from ranksearch.contracts.errors import UnavailableError
from service.access.bootstrap import admit_bootstrap_token
from service.access.verification import Verifier
from service.api import (
    artifacts,
    documents,
    events,
    exposition,
    factors,
    finetunes,
    health,
    insights,
    jobs,
    latencies,
    people,
    sessions,
    studies,
)
from service.api.access import OPEN_PATHS, Gate, check_routes, documented_scheme
from service.api.attempts import SignInAttempts
from service.api.job_threads import JobThreads
from service.api.limits import BodyLimit
from service.api.logs import RequestLog
from service.api.pace import BodyPace
from service.api.problems import install_problems
from service.api.readiness import ReadinessCheck
from service.api.relay import Relay
from service.api.single_sign_on import open_provider
from service.dashboard.pages import OPEN_BELOW, OPEN_PAGES, install_dashboard
from service.dashboard.problem_pages import ProblemPages
from service.metrics import Metrics
from service.scheduling.backend import OPTUNA, Backend
from service.scheduling.bell import Bell
from service.scheduling.gauges import DatabaseGauges
from service.scheduling.mirroring import mirror
from service.scheduling.outages import forgive_outage
from service.scheduling.reconcile import sweep
from service.scheduling.retention import Retention
from service.scheduling.shared_bell import SharedBell
from service.scheduling.waiting_room import WaitingRoom
from service.search.optuna_records import OptunaRecords
from service.settings import Settings
from service.storage.blob_bucket import BucketBlobStore
from service.storage.blob_directory import DirectoryBlobStore
from service.storage.blobs import BlobStore
from service.storage.bucket_address import BucketAddress
from service.storage.engine import Database
from service.storage.migrations import migrate
from service.version import VERSION

__all__ = ["close_backend", "create_app", "open_backend"]

log = logging.getLogger(__name__)

_TOGETHER_SECONDS = 1.0
"""A trial that begins and ends within them is written once."""
_SHARED_JOB_THREADS = 2
"""On PostgreSQL a thread waits for the server half of its time."""


def open_backend(settings: Settings, metrics: Metrics | None = None) -> Backend:
    """Open the stores, bring the schema to the newest version and finish what a crash left unfinished."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.url)
    with database.alone("start", patient=True):  # the first of several services makes the tables, the others wait
        migrate(database)
        admit_bootstrap_token(database, settings.token)
        records = OptunaRecords(database)
    bell = SharedBell(database) if database.is_shared else Bell()
    backend = Backend(settings, database, _blob_store(settings), records, bell, metrics or Metrics())
    backend.metrics.registry.register(DatabaseGauges(backend))
    forgive_outage(backend)
    mirror(backend)
    return backend


def _blob_store(settings: Settings) -> BlobStore:
    bucket = _bucket(settings)
    return DirectoryBlobStore(settings.blobs_dir) if bucket is None else BucketBlobStore(bucket, settings.spool_dir)


def _bucket(settings: Settings) -> BucketAddress | None:
    return None if settings.blobs_url is None else BucketAddress.parse(settings.blobs_url)


def close_backend(backend: Backend) -> None:
    """Tell Optuna the last news, and close the stores."""
    backend.bell.close()
    try:
        mirror(backend)
    except Exception:
        log.exception("Optuna could not be told the last news; it will be at the next start")
    backend.records.close()
    backend.database.close()


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. Its stores are open while its lifespan lasts.

    Raises:
        InputError: the settings name a blob store that nobody knows.
    """
    _bucket(settings)  # refused here, by its name, and not when the stores are opened
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        backend = await run_in_threadpool(open_backend, settings, metrics)
        verifier = Verifier(backend.database)
        relay, waiting_room = Relay(backend, verifier), WaitingRoom(backend)
        app.state.backend, app.state.verifier = backend, verifier
        app.state.relay, app.state.waiting_room = relay, waiting_room
        app.state.job_threads = JobThreads(_SHARED_JOB_THREADS if backend.database.is_shared else 1)
        app.state.readiness = ReadinessCheck(backend, settings.ready_seconds)
        loops = [
            asyncio.create_task(_sweep_now_and_then(backend, verifier)),
            asyncio.create_task(relay.examine_now_and_then()),
            asyncio.create_task(waiting_room.attend()),
            asyncio.create_task(_mirror_when_rung(backend)),
            asyncio.create_task(_collect_now_and_then(backend)),
            asyncio.create_task(backend.bell.hear()),
        ]
        try:
            yield
        finally:
            backend.bell.close()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await relay.close()
            await run_in_threadpool(close_backend, backend)

    app = FastAPI(
        title="ranksearch",
        version=VERSION,
        summary="Makes trained CNNs several times cheaper: a joint search of all layers' decomposition ranks.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from another host
        redoc_url=None,
    )
    app.state.metrics = metrics
    install_problems(app)
    app.state.sign_in_attempts, app.state.oidc = SignInAttempts(), open_provider(settings)
    _include_routers(app)
    app.add_middleware(BodyLimit, limit=settings.max_json_bytes)
    app.add_middleware(BodyPace, seconds=settings.body_seconds, bytes_per_second=settings.body_bytes_per_second)
    install_dashboard(app)
    opened = OPEN_PATHS | OPEN_PAGES | ({"/metrics"} if settings.metrics_open else set())
    app.add_middleware(Gate, open_paths=opened, open_below=OPEN_BELOW)
    app.add_middleware(RequestLog, metrics=metrics)
    app.add_middleware(ProblemPages)
    check_routes(app, opened, OPEN_BELOW)
    return app


def _include_routers(app: FastAPI) -> None:
    for router in (health.router, sessions.router):
        app.include_router(router)
    locked = [Depends(documented_scheme)]
    made_of_trials = (artifacts.router, finetunes.router, latencies.router)
    of_studies = (studies.router, *made_of_trials, insights.router, events.router)
    # Routes are tried one after another, and most requests by far are workers'.
    for router in (jobs.router, exposition.router, documents.router, *of_studies, people.router, factors.router):
        app.include_router(router, dependencies=locked)


async def _sweep_now_and_then(backend: Backend, verifier: Verifier) -> None:
    while True:
        await asyncio.sleep(backend.settings.sweep_seconds)
        try:
            with backend.metrics.sweep_seconds.time():
                await run_in_threadpool(sweep, backend)
            await run_in_threadpool(verifier.note_uses)
        except Exception:
            backend.metrics.sweeps_failed.inc()
            log.exception("the sweep failed; it will be tried again")


async def _collect_now_and_then(backend: Backend) -> None:
    """Apart from the sweep: a slow store must not keep leases from expiring."""
    retention = Retention(backend)
    while True:
        await asyncio.sleep(backend.settings.collect_seconds)
        try:
            await run_in_threadpool(retention.collect)
        except UnavailableError as problem:
            log.warning("the collection has to wait: %s", " ".join(str(problem).split()))
        except Exception:
            log.exception("the collection failed; it will be tried again")


async def _mirror_when_rung(backend: Backend) -> None:
    """Many trials that end in one moment are told together: that is most of what telling costs.

    Now and then without being rung: another service may have gone before it told its own.
    """
    with backend.bell.listening(OPTUNA) as ear:
        while True:
            await ear.wait(backend.settings.sweep_seconds)
            await asyncio.sleep(_TOGETHER_SECONDS)
            ear.clear()
            try:
                await run_in_threadpool(mirror, backend)
            except Exception:
                log.exception("Optuna could not be told; it will be tried again")
