from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import optuna
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, _EffectiveRouteContext
from fastapi.testclient import TestClient
from optuna.storages._rdb.storage import _VersionManager
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from service.app import close_backend, create_app, open_backend
from service.scheduling.backend import Backend
from service.scheduling.mirroring import mirror
from service.settings import Settings
from tests.postgres import PostgresServer
from tests.service import synthetic
from tests.service.agent import Agent
from tests.service.bucket import S3Server, s3_server

TOKEN = "a-token-for-the-tests"  # noqa: S105 - of services that live as long as a test


@dataclass
class Running:
    """A service in this process, on real files, and the ways to reach it."""

    app: FastAPI
    http: httpx.Client
    settings: Settings
    uploaded: dict[str, str] = field(default_factory=dict)

    @property
    def backend(self) -> Backend:
        return self.app.state.backend

    def agent(self, name: str = "w1", **options: Any) -> Agent:
        return Agent(self.http, name, **options)

    def upload_model(self, document: bytes | None = None, name: str = "net") -> httpx.Response:
        return self.http.post("/v1/models", params={"name": name}, content=document or synthetic.model_document())

    def upload_dataset(self, document: bytes | None = None, name: str = "data") -> httpx.Response:
        return self.http.post("/v1/datasets", params={"name": name}, content=document or synthetic.dataset_document())

    def prepare(self, profile: Any = None, **dataset: Any) -> dict[str, str]:
        """An inspected model and a data set; their ids."""
        if not self.uploaded:
            model = self.upload_model().json()["id"]
            agent = self.agent("inspector", profile=profile)
            agent.complete(agent.must_claim("inspect"))
            data = self.upload_dataset(synthetic.dataset_document(**dataset)).json()["id"]
            self.uploaded.update(model=model, dataset=data)
        return self.uploaded

    def request(self, **changes: Any) -> dict[str, Any]:
        """A study request that is accepted: the best accuracy, which the agent makes up of the ranks."""
        ids = self.prepare()
        return {
            "model": ids["model"],
            "calibration": {"dataset": ids["dataset"], "start": 0, "stop": 20},
            "validation": {"dataset": ids["dataset"], "start": 20, "stop": 40},
            "constraints": {"macs": "50%"},
            "metric": "accuracy",
            "n_trials": 4,
            "n_startup_trials": 2,
            "warm_starts": ["uniform", "equal_error"],  # no job but the baseline before them
            **changes,
        }

    def submit(self, **changes: Any) -> dict[str, Any]:
        answer = self.http.post("/v1/studies", json=self.request(**changes))
        assert answer.status_code == 202, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def optuna(self, study: str) -> optuna.Study:
        """As Optuna's own tools see it, once it was told the latest."""
        mirror(self.backend)
        return optuna.load_study(study_name=study, storage=self.settings.url)

    def study(self, study: str) -> dict[str, Any]:
        return self.get(f"/v1/studies/{study}")

    def trials(self, study: str) -> list[dict[str, Any]]:
        return self.get(f"/v1/studies/{study}/trials?limit=200")["items"]


Start = Callable[..., Running]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="session", autouse=True)
def optuna_looks_up_its_version_once() -> Iterator[None]:
    """It executes its twelve migrations for that, at every start: most of what starting a service takes."""
    with pytest.MonkeyPatch.context() as patched:
        head = _VersionManager.get_head_version
        known: list[str] = []

        def once(self: _VersionManager) -> str:
            if not known:
                known.append(head(self))
            return known[0]

        patched.setattr(_VersionManager, "get_head_version", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def routes_are_built_once() -> Iterator[None]:
    """FastAPI builds what a route depends on for every application anew: a fifth of a second for all of them.

    Ours are the same in each, live as long as their modules, and nobody overrides what they depend on.
    """
    with pytest.MonkeyPatch.context() as patched:
        build = _EffectiveRouteContext.from_api_route
        built: dict[Any, _EffectiveRouteContext] = {}

        def once(*, original_route: APIRoute, include_context: Any) -> _EffectiveRouteContext:
            if not original_route.endpoint.__module__.startswith("service."):
                return build(original_route=original_route, include_context=include_context)
            key = id(original_route), include_context.prefix, tuple(include_context.dependencies)
            if key not in built:
                built[key] = build(original_route=original_route, include_context=include_context)
            return built[key]

        patched.setattr(_EffectiveRouteContext, "from_api_route", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def statements_are_compiled_once() -> Iterator[None]:
    """SQLAlchemy compiles a statement once for an engine, and here every test has engines of its own.

    Those of one kind have equal dialects, as no test tells an engine anything that compiling would look at.
    """
    compiled: dict[type, Any] = {}

    def shared(engine: Engine) -> Any:
        return compiled[type(engine.dialect)]

    def first(engine: Engine, cache: Any) -> None:
        compiled.setdefault(type(engine.dialect), cache)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Engine, "_compiled_cache", property(shared, first), raising=False)
        for dialect in (PGDialect_psycopg, SQLiteDialect_pysqlite):
            patched.setattr(dialect, "__eq__", lambda one, other: type(one) is type(other))
            patched.setattr(dialect, "__hash__", lambda one: hash(type(one)))
        yield


@pytest.fixture
def dialect() -> str:
    """Which database the test runs on. Where both are meant: ``on_both``, or a folder's own ``dialect``."""
    return "sqlite"


DIALECTS = ("sqlite", "postgresql")
on_both = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture
def blank_database(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database without tables."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path / 'blank.db'}"
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with postgres.database() as name:
        yield postgres.url(name)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once and copied: all the tables, ours and Optuna's, and nothing in them."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("empty"), token=TOKEN)
    close_backend(open_backend(settings))
    return settings.data_dir / "ranksearch.db"


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same on PostgreSQL; the database's name."""
    name = postgres.create()
    settings = Settings(data_dir=tmp_path_factory.mktemp("empty"), token=TOKEN, database_url=postgres.url(name))
    close_backend(open_backend(settings))
    return name


@pytest.fixture
def database_url(dialect: str, data_dir: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database with all tables and nothing in them."""
    if dialect == "sqlite":
        data_dir.mkdir()
        shutil.copy(request.getfixturevalue("sqlite_template"), data_dir)
        yield f"sqlite:///{data_dir / 'ranksearch.db'}"
        return
    template: str = request.getfixturevalue("postgres_template")
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with postgres.database(template) as name:
        yield postgres.url(name)


@pytest.fixture
def start(data_dir: Path, database_url: str) -> Iterator[Start]:
    """Starts services on the test's data directory and database; all are stopped at the end. Settings may be given."""
    usual = {
        "data_dir": data_dir,
        "database_url": database_url,
        "token": TOKEN,
        "sweep_seconds": 3600,
        "retry_base_seconds": 0,
    }
    with ExitStack() as stack:

        def started(**changes: Any) -> Running:
            settings = Settings(**{**usual, **changes})
            app = create_app(settings)
            http = TestClient(app, headers={"authorization": f"Bearer {TOKEN}"})
            stack.enter_context(http)
            return Running(app, http, settings)

        yield started


@pytest.fixture
def service(start: Start) -> Running:
    return start()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One server for all tests; each has a bucket of its own."""
    with s3_server() as server:
        yield server
