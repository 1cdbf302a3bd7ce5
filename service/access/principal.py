"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

from ranksearch.contracts.access import SCOPES, Scope
from service.storage.tables import DEFAULT_PROJECT, LOCAL_USER

__all__ = ["LOCAL", "NOBODY", "Principal"]


@dataclass(frozen=True)
class Principal:
    """The user behind a request, and what its token allows.

    Args:
        user: id.
        project: id of the only one whose things it sees, unless ``sees_all``.
        scopes: what it may do.
        token: id; None for a caller inside this process.
        request: id of the request that it asks with, for the audit; None outside of one.
    """

    user: str
    project: str
    scopes: frozenset[Scope]
    token: str | None = None
    request: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it may; an administrator may do everything, and who submits may look at what comes of it."""
        return bool(self.scopes & {scope, "admin"}) or (scope == "read" and "submit" in self.scopes)

    @property
    def sees_all(self) -> bool:
        """Whether it sees every project's things: administrators do, and workers, who serve all."""
        return bool(self.scopes & {"admin", "work"})


LOCAL = Principal(LOCAL_USER, DEFAULT_PROJECT, frozenset(SCOPES))
"""The one person whose service this is."""
NOBODY = Principal("", "", frozenset())
"""Whoever asks for what needs no token: is of no project, and so sees nothing of any."""
