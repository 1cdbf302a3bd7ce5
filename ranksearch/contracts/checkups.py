"""What ``ranksearch doctor`` found, whoever looked: the client, the service on its machine, a worker on its own."""

from __future__ import annotations

from typing import Literal

from ranksearch.contracts.base import Resource

__all__ = ["Check", "CheckStatus", "Checkup", "fail", "ok", "warn"]

CheckStatus = Literal["ok", "warn", "fail"]


class Check(Resource):
    """One thing that was looked at. ``mend``: what to do about it, where it is not in order."""

    name: str
    status: CheckStatus
    what: str
    mend: str | None = None


class Checkup(Resource):
    """All of them, in the order in which they were looked at."""

    checks: list[Check]

    @property
    def failed(self) -> bool:
        """Whether something does not work; a warning works, for now."""
        return any(check.status == "fail" for check in self.checks)


def ok(name: str, what: str) -> Check:
    """In order."""
    return Check(name=name, status="ok", what=what)


def warn(name: str, what: str, mend: str) -> Check:
    """Works, but not as well or as long as it could."""
    return Check(name=name, status="warn", what=what, mend=mend)


def fail(name: str, what: str, mend: str) -> Check:
    """Does not work."""
    return Check(name=name, status="fail", what=what, mend=mend)
