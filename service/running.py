"""One running service: its data directory, its socket, its announcement, its end."""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from ranksearch.contracts.errors import UnavailableError
from ranksearch.contracts.loglines import log_lines
from service.app import create_app
from service.connections import bounded_heads
from service.scheduling.backend import Backend
from service.settings import Settings
from service.storage.engine import Database
from service.storage.migrations import newest_revision, schema_revision, schema_state
from service.storage.server_check import check_server
from service.supervision import tell_supervisor

__all__ = ["DataDirInUse", "Server", "announce", "check_database", "keep_token", "lock_data_dir", "log_as_set", "serve"]

log = logging.getLogger(__name__)

_IDLE_SECONDS = 75
"""A connection without requests is kept for longer than clients and proxies keep theirs (5 and 60 seconds, mostly):
the one that closes it must be the one that would use it next, or its request meets a closed door."""


class DataDirInUse(Exception):
    """Another service runs on the same data directory."""


@contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[None]:
    """Own ``data_dir`` while the block lasts; the system gives it free when the process dies, however it dies.

    Raises:
        DataDirInUse: another process owns it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "service.lock").open("a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise DataDirInUse(
                f"another service runs on {data_dir}{_who(data_dir)}. "
                "Stop it first, or give this one a --data-dir of its own."
            ) from problem
        yield


def keep_token(data_dir: Path) -> str:
    """The token of this data directory, made at the first start; readable by its owner only."""
    path = data_dir / "token"
    if not path.exists():
        fresh = data_dir / f"token.{secrets.token_hex(4)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        fresh.rename(path)
    path.chmod(0o600)
    return path.read_text().strip()


def announce(data_dir: Path, url: str) -> Path:
    """Write ``service.json`` in one step."""
    path, fresh = data_dir / "service.json", data_dir / "service.json.new"
    fresh.write_text(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
    fresh.replace(path)
    return path


class Server(uvicorn.Server):
    """Uvicorn that says when it accepts connections, and ends open streams before it waits for them.

    Args:
        config: its app must be made by :func:`create_app`.
        accepting: called once connections are accepted.
    """

    def __init__(self, config: uvicorn.Config, accepting: Callable[[Backend], None]) -> None:
        super().__init__(config)
        self._accepting = accepting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started:
            # Modules, routes and mappings stay until the end. Looking at them again, each full collection stopped all
            # requests for 150 ms, every ten seconds under load; at what came since, it takes 25.
            gc.collect()
            gc.freeze()
            self._accepting(self._backend)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        tell_supervisor("STOPPING=1")
        self._backend.bell.close()
        await super().shutdown(sockets)

    @property
    def _backend(self) -> Backend:
        backend: Backend = self.config.app.state.backend  # type: ignore[union-attr]  # create_app made it
        return backend


def log_as_set(settings: Settings) -> None:
    """Have everything in this process log in the form that was asked for, other people's libraries, too."""
    log_lines(settings.log_level, settings.log_format)
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    logging.getLogger("alembic").setLevel(max(logging.getLogger().level, logging.INFO))  # its debug lines are SQL
    # At every start it says which dialect it talks, too; what it changes is news.
    logging.getLogger("alembic.runtime.migration").addFilter(lambda record: str(record.msg).startswith("Running"))


def check_database(settings: Settings) -> None:
    """Refuse early, and in a few words, what no start could use.

    Raises:
        UnavailableError: the database does not answer, its server is too old, it cannot hold any text, or a newer
            program has changed its schema.
    """
    database = Database(settings.url)
    try:
        check_server(database)
        revision = schema_revision(database)
    except SQLAlchemyError as problem:
        raise UnavailableError(
            "storage_unavailable",
            "the database does not answer",
            got=" ".join(str(getattr(problem, "orig", problem)).split()),
            mend="check that it runs, and the address and password of --database-url",
        ) from None
    finally:
        database.close()
    if schema_state(revision) == "unknown":
        raise UnavailableError(
            "service_not_ready",
            "a newer program has changed the database's schema",
            got=f"schema {revision}",
            expected=f"at most {newest_revision()}",
            mend="run that version, or restore a back-up that this one made: python -m service restore",
        )


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. The caller owns the data directory.

    Raises:
        UnavailableError: see :func:`check_database`.
    """
    check_database(settings)
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off (it would cost an answer 40 ms) only where the protocol is named.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        url = _url(host, listener.getsockname()[1])

        def accepting(backend: Backend) -> None:
            backend.public_url = backend.public_url or url
            announce(settings.data_dir, url)
            log.info("listening", extra={"url": url, "data_dir": str(settings.data_dir)})
            tell_supervisor("READY=1")

        config = uvicorn.Config(
            create_app(settings),
            log_config=None,
            access_log=False,
            server_header=False,
            loop="uvloop",
            http=bounded_heads(settings.header_seconds),
            ws="none",
            forwarded_allow_ips=settings.forwarded_allow_ips,
            limit_concurrency=settings.max_connections,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=settings.grace_seconds,
        )
        for end in (
            signal.SIGTERM,
            signal.SIGINT,
        ):  # uvicorn raises them again when all is closed: that is no crash
            signal.signal(end, lambda *_: None)
        try:
            Server(config, accepting).run(sockets=[listener])
        finally:
            (settings.data_dir / "service.json").unlink(missing_ok=True)


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable and "[" not in reachable else f"http://{reachable}:{port}"


def _who(data_dir: Path) -> str:
    try:
        told = json.loads((data_dir / "service.json").read_text())
        return f" (process {told['pid']}, {told['url']})"
    except (OSError, ValueError, KeyError):
        return ""
