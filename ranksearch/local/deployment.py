from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from ranksearch.client import Client
from ranksearch.client.address import TOKEN_VARIABLE
from ranksearch.contracts.errors import ConflictError, UnavailableError
from ranksearch.local.child import Child
from ranksearch.local.extras import check_service, check_worker

__all__ = ["LocalDeployment"]

_LOOK_AGAIN: Final = 0.05
_SUPERVISE_EVERY: Final = 0.5
_LONGEST_BACK_OFF: Final = 30.0
_STEADY_AFTER: Final = 60.0


class LocalDeployment:
    """A service and workers as children of this process; none of them outlives it.

    As a context manager it starts them, waits until the service answers, and stops them at the end. State stays in
    the data directory: a later deployment there goes on where this one left off.

    Args:
        data_dir: the service's; made if need be.
        workers: how many.
        host: that the service listens on.
        port: the same; 0: a free one.
        device: the workers' torch device; None: their own choice.
        cache_dir: the workers'; None: in the data directory.
        start_timeout: seconds for the service to answer.
        grace: seconds between asking a child to stop and killing it.
        service_options: further arguments of ``python -m service``.
        worker_options: further arguments of ``python -m worker``.
    """

    def __init__(
        self,
        data_dir: str | Path,
        *,
        workers: int = 1,
        host: str = "127.0.0.1",
        port: int = 0,
        device: str | None = None,
        cache_dir: str | Path | None = None,
        start_timeout: float = 60.0,
        grace: float = 5.0,
        service_options: tuple[str, ...] = (),
        worker_options: tuple[str, ...] = (),
    ) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.service: Child | None = None
        self.workers: list[Child] = []
        self.url = ""
        self.token = ""
        self._wanted_workers = workers
        self._host = host
        self._port = port
        self._device = device
        self._cache_dir = Path(cache_dir or self.data_dir / "cache").resolve()
        self._start_timeout = start_timeout
        self._grace = grace
        self._service_options = service_options
        self._worker_options = worker_options

    def start(self) -> None:
        """Start the service, wait until it answers, start the workers.

        Raises:
            UnavailableError: the service does not come up, or a package is missing.
            ConflictError: one runs in this data directory already.
        """
        try:
            self.start_service()
            for _ in range(self._wanted_workers):
                self.start_worker()
        except BaseException:
            self.stop()
            raise

    def start_service(self) -> Child:
        """Start the service; after its end, start it again at the same URL."""
        check_service()
        self._refuse_a_second_one()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._service_file.unlink(missing_ok=True)
        where = ["--data-dir", str(self.data_dir), "--host", self._host, "--port", str(self._port)]
        self.service = Child(
            "service",
            "service",
            [*where, *self._service_options],
            environment={},
            log=self.data_dir / "logs" / "service.log",
        )
        self.url = self._wait_for_service(self.service)
        self.token = (self.data_dir / "token").read_text("utf-8").strip()
        self._port = httpx.URL(self.url).port or self._port
        return self.service

    def start_worker(self, name: str | None = None) -> Child:
        """Start one more worker."""
        check_worker()
        name = name or f"local-{len(self.workers) + 1}"
        options = ["--url", self.url, "--name", name, "--cache-dir", str(self._cache_dir)]
        options += ["--devices", self._device or "best"]
        if self._wanted_workers > 1:
            options += ["--threads", str(max(1, (os.cpu_count() or 1) // self._wanted_workers))]
        worker = Child(
            name,
            "worker",
            [*options, *self._worker_options],
            environment={TOKEN_VARIABLE: self.token},
            log=self.data_dir / "logs" / f"{name}.log",
        )
        self.workers.append(worker)
        return worker

    def client(self, **options: Any) -> Client:  # noqa: ANN401 - the client's own options
        """A client of this deployment; to be closed by the caller."""
        return Client(self.url, self.token, **options)

    def supervise(self, say: Callable[[str], None]) -> None:
        """Keep the workers running until interrupted, or until the service ends.

        Args:
            say: is told of every worker that ended.

        Raises:
            UnavailableError: the service ended by itself; ``got`` is the tail of its log.
        """
        watches = [_Watch(worker) for worker in self.workers]
        while True:
            if self.service is not None and not self.service.running:
                raise _ended(self.service)
            for watch in watches:
                watch.look(say)
            time.sleep(_SUPERVISE_EVERY)

    def stop(self) -> None:
        """Stop every child: the workers first, so that they can hand back what they hold.

        An interrupt meanwhile kills them at once.
        """
        service = [self.service] if self.service is not None else []
        try:
            _stop(self.workers, self._grace)
            _stop(service, self._grace)
        finally:
            for child in [*self.workers, *service]:
                child.kill()
            if service:
                self._service_file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _service_file(self) -> Path:
        return self.data_dir / "service.json"

    def _refuse_a_second_one(self) -> None:
        running = self._announced()
        if running is not None and _answers(running):
            raise ConflictError(
                "in_use",
                f"a service runs in {self.data_dir} already",
                got=running,
                mend="use that one, stop it, or give another --data-dir",
            )

    def _wait_for_service(self, service: Child) -> str:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            if not service.running:
                raise _ended(service)
            url = self._announced()
            if url is not None and _answers(url):
                return url
            time.sleep(_LOOK_AGAIN)
        raise UnavailableError(
            "service_unreachable",
            f"the local service did not answer within {self._start_timeout:g} s",
            got=service.tail(),
            mend=f"look into {service.log}",
        )

    def _announced(self) -> str | None:
        try:
            return str(json.loads(self._service_file.read_text("utf-8"))["url"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


class _Watch:
    """One worker under supervision: started again after a crash, later each time it crashes soon."""

    def __init__(self, worker: Child) -> None:
        self._worker = worker
        self._pause = 1.0
        self._started = time.monotonic()
        self._restart_at: float | None = None

    def look(self, say: Callable[[str], None]) -> None:
        if self._worker.running:
            return
        now = time.monotonic()
        if self._restart_at is None:
            if now - self._started > _STEADY_AFTER:
                self._pause = 1.0
            self._restart_at = now + self._pause
            say(
                f"{self._worker.name} ended (exit {self._worker.exit_code}); starting it again in "
                f"{self._pause:g} s; its log: {self._worker.log}"
            )
            self._pause = min(2 * self._pause, _LONGEST_BACK_OFF)
        elif now >= self._restart_at:
            self._worker.restart()
            self._started, self._restart_at = now, None


def _stop(children: list[Child], grace: float) -> None:
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + grace
    for child in children:
        child.wait(max(0.0, deadline - time.monotonic()))


def _ended(service: Child) -> UnavailableError:
    return UnavailableError(
        "service_unreachable",
        f"the local service ended (exit {service.exit_code})",
        got=service.tail(),
        mend=f"look into {service.log}",
    )


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL):
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).is_success
    return False
