"""Whether a secret opens anything, and for whom: from memory where the database was asked within the last second.

What is revoked by a service of this process is closed at once (:meth:`Verifier.forget`), what another replica
revokes within that second. Expiry is by the database's clock, remembered answers included.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from typing import TypeVar

from sqlalchemy import case, update
from sqlalchemy.orm import Session

from service.access.credentials import (
    IDLE_SECONDS,
    LONGEST_SECONDS,
    Credential,
    check_alive,
    credential_of_cookie,
    credential_of_token,
    open_tokens,
)
from service.access.principal import Principal
from service.storage.clock import database_now
from service.storage.engine import Database
from service.storage.tables import SessionRow, TokenRow

__all__ = ["Verifier"]

_FRESH_SECONDS = 1.0
_REMEMBERED = 10_000

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Verifier:
    """Tells whose a secret is. Safe to use from several threads.

    Args:
        database: where tokens and sessions are kept.
        fresh_seconds: how long an answer is remembered.
    """

    def __init__(self, database: Database, fresh_seconds: float = _FRESH_SECONDS) -> None:
        self._database = database
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, bool], tuple[float, Credential]] = OrderedDict()
        self._alive: OrderedDict[str, float] = OrderedDict()
        self._generation = 0
        self._used_tokens: set[str] = set()
        self._used_sessions: set[str] = set()

    def remembered(self, secret: str, *, cookie: bool = False) -> Credential | None:
        """The answer where it is known; never waits for the database."""
        with self._lock:
            until, credential = self._known.get((secret, cookie), (0.0, None))
        return credential if time.monotonic() < until else None

    def token(self, secret: str) -> Credential:
        """Whose token it is.

        Raises:
            AccessError: nobody's, or not any more.
        """
        return self._verified(secret, credential_of_token, cookie=False)

    def cookie(self, secret: str) -> Credential:
        """Whose session it is.

        Raises:
            AccessError: nobody's, or not any more.
        """
        return self._verified(secret, credential_of_cookie, cookie=True)

    def check(self, caller: Principal) -> None:
        """That a caller who was let in may stay; for what goes on for long. From memory, as the answers above.

        Raises:
            AccessError: its token opens nothing any more.
        """
        if caller.token is None:
            return
        with self._lock:
            generation, until = self._generation, self._alive.get(caller.token, 0.0)
        began = time.monotonic()
        if began < until:
            return
        with self._database.reading() as session:
            seconds = check_alive(session, caller.token)
        with self._lock:
            if generation == self._generation:
                _remember(self._alive, caller.token, began + min(self._fresh_seconds, seconds))

    def closed(self, tokens: Collection[str]) -> set[str]:
        """Those of these tokens, by id, that open nothing any more. Asks the database once, whatever it knew."""
        if not tokens:
            return set()
        with self._database.reading() as session:
            return set(tokens) - open_tokens(session, tokens)

    def forget(self) -> None:
        """Something was revoked or changed: nothing that was known before counts."""
        with self._lock:
            self._known.clear()
            self._alive.clear()
            self._generation += 1

    def note_uses(self) -> None:
        """Write down which tokens and sessions were used lately; called now and then, so that no request writes."""
        with self._lock:
            tokens, self._used_tokens = self._used_tokens, set()
            sessions, self._used_sessions = self._used_sessions, set()
        if not (tokens or sessions):
            return
        with self._database.writing() as session:
            session.execute(update(TokenRow).where(TokenRow.id.in_(tokens)).values(last_used_at=database_now()))
            soon, last = database_now() + IDLE_SECONDS, SessionRow.created_at + LONGEST_SECONDS
            longer = case((soon < last, soon), else_=last)
            session.execute(update(SessionRow).where(SessionRow.id.in_(sessions)).values(expires_at=longer))

    def _verified(self, secret: str, look_up: Callable[[Session, str], Credential], *, cookie: bool) -> Credential:
        known = self.remembered(secret, cookie=cookie)
        if known is not None:
            return known
        generation, began = self._generation, time.monotonic()
        with self._database.reading() as session:
            found = look_up(session, secret)
        until = began + min(self._fresh_seconds, found.seconds)
        with self._lock:
            if generation == self._generation:  # else it may have been read before what was revoked
                _remember(self._known, (secret, cookie), (until, found))
            if not found.noted:
                if found.caller.token is not None:
                    self._used_tokens.add(found.caller.token)
                if found.session is not None:
                    self._used_sessions.add(found.session)
        return found


def _remember(known: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > _REMEMBERED:
        known.popitem(last=False)
