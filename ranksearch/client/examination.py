"""A user's view of a set-up: the address, the token, the service, its workers."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from ranksearch.client.transport import Transport
from ranksearch.contracts.access import WhoAmI
from ranksearch.contracts.checkups import Check, Checkup, fail, ok, warn
from ranksearch.contracts.errors import AccessError, NotFoundError, RankSearchError, UnavailableError
from ranksearch.contracts.resources import Health, Worker

__all__ = ["examine"]

_EXPIRES_SOON_DAYS: Final = 7
_CLOCK_SECONDS: Final = 5.0


def examine(transport: Transport) -> Checkup:
    """Look at everything that can be seen with this address and token. Problems are findings, not exceptions."""
    return Checkup(checks=list(_checks(transport)))


def _checks(transport: Transport) -> Iterator[Check]:
    address = transport.address
    try:
        began = time.monotonic()
        answer = transport.request("GET", "/healthz", repeatable=False)
        health = transport.parsed(Health, answer)
    except RankSearchError as error:
        yield fail("service", error.detail, error.mend or address.mend)
        return
    yield ok("service", f"{address.url} answers within {1000 * (time.monotonic() - began):.0f} ms")
    yield _version(health.version)
    yield _clock(answer)
    yield _looked_at("readiness", lambda: _readiness(transport))
    token = _looked_at("token", lambda: _token(transport))
    yield token
    if token.status != "fail":
        try:
            workers = [worker for worker in transport.pages(Worker, "/v1/workers") if worker.state != "away"]
        except AccessError as error:
            yield warn("workers", error.detail, "with a token of scope read they can be seen")
            return
        except RankSearchError as error:
            yield _found("workers", error)
            return
        yield from _fleet(workers, address.url)


def _looked_at(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except RankSearchError as error:
        return _found(name, error)


def _found(name: str, error: RankSearchError) -> Check:
    return fail(name, error.detail, error.mend or "look into the service's log")


def _version(theirs: str) -> Check:
    ours = importlib.metadata.version("ranksearch")
    if theirs == ours:
        return ok("versions", f"service and client are of version {ours}")
    return warn(
        "versions",
        f"the service is of version {theirs}, this client of {ours}",
        f"install the same one here: pip install 'ranksearch=={theirs}'; workers of another version are refused",
    )


def _clock(answer: httpx.Response) -> Check:
    try:
        theirs = parsedate_to_datetime(answer.headers["Date"])
    except (KeyError, ValueError):
        return warn("clock", "the service does not say what time it is", "look at the proxy before it")
    difference = (datetime.now(UTC) - theirs).total_seconds()
    if abs(difference) <= _CLOCK_SECONDS:
        return ok("clock", "this machine's clock and the service's agree")
    return warn(
        "clock",
        f"this machine's clock is {abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} the service's",
        "set it by NTP; leases and time stamps go by the service's database, so nothing is lost meanwhile",
    )


def _readiness(transport: Transport) -> Check:
    try:
        transport.request("GET", "/readyz", repeatable=False)
    except UnavailableError as error:
        return fail("readiness", f"the service is not ready: {error.detail}", error.mend or "look into its log")
    return ok("readiness", "its database, schema and blob store answer")


def _token(transport: Transport) -> Check:
    try:
        who = transport.fetch(WhoAmI, "/v1/whoami")
    except AccessError as error:
        return fail("token", error.detail, error.mend or "ask for a token")
    except NotFoundError:  # a service of before there were scopes
        transport.request("GET", "/v1/models", repeatable=False, params={"limit": 1})
        return ok("token", "the service takes it")
    held = f"{who.user} in project {who.project}, scopes {', '.join(sorted(who.scopes))}"
    if who.expires_at is None:
        return ok("token", held)
    days = (who.expires_at - datetime.now(UTC)).total_seconds() / 86_400
    if days < _EXPIRES_SOON_DAYS:
        return warn("token", f"{held}; it expires in {days:.1f} days", "make a new one: ranksearch tokens create")
    return ok("token", f"{held}; it expires in {days:.0f} days")


def _fleet(workers: list[Worker], url: str) -> Iterator[Check]:
    if not workers:
        start = f"start one: ranksearch worker --url {url}"
        yield warn("workers", "no worker is connected: studies wait", start)
        return
    working = [worker for worker in workers if worker.state != "draining"]
    states = ", ".join(f"{worker.name} {worker.state} on {worker.device}" for worker in workers[:5])
    more = f" and {len(workers) - 5} more" if len(workers) > 5 else ""  # noqa: PLR2004 - as many as were named
    if working:
        yield ok("workers", f"{len(workers)}: {states}{more}")
    else:
        yield warn("workers", f"all are draining: {states}{more}", "see ranksearch workers --help")
    lacking = sorted({(m.name, m.reason or "") for worker in workers for m in worker.sandbox if not m.in_force})
    silent = [worker.name for worker in workers if not worker.sandbox]
    if lacking:
        told = "; ".join(f"{name}: {reason}" if reason else name for name, reason in lacking)
        yield warn("sandbox", f"not in force on every worker: {told}", "docs/workers.md says what each takes")
    elif silent:
        yield warn("sandbox", f"not told by {', '.join(silent[:5])}", "bring these workers to the service's version")
    else:
        yield ok("sandbox", "every measure is in force on every worker")
