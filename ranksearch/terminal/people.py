"""Users, projects, tokens and the audit as people read them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from ranksearch.contracts.access import AuditEvent, Project, Token, User, WhoAmI
from ranksearch.terminal.output import printable, table
from ranksearch.terminal.tables import ago

__all__ = ["audit_table", "projects_table", "tokens_table", "users_table", "who_lines"]

_MIB = 2**20


def who_lines(who: WhoAmI) -> list[str]:
    """Whose token, and what it allows."""
    until = "never expires" if who.expires_at is None else f"expires {who.expires_at:%Y-%m-%d %H:%M} UTC"
    return [f"{printable(who.user)} in project {printable(who.project)}", f"{', '.join(who.scopes)}; {until}"]


def tokens_table(tokens: Iterable[Token]) -> Table:
    """One line a token."""
    made = table("id", "name", "user", "project", "scopes", "state", "last used")
    for token in tokens:
        used = "never" if token.last_used_at is None else ago(token.last_used_at)
        names = (printable(name) for name in (token.name, token.user, token.project))
        made.add_row(token.id, *names, ", ".join(token.scopes), _state(token), used)
    return made


def users_table(users: Iterable[User]) -> Table:
    """One line a user."""
    numbers = ["weight", "at once", "worker-hours"]
    made = table("name", "projects", *numbers, "state", numbers=numbers)
    for user in users:
        at_once = "any" if user.max_parallel is None else str(user.max_parallel)
        hours = f"{user.usage_seconds / 3600:.1f}"
        state = "disabled" if user.disabled else "active"
        projects = ", ".join(printable(name) for name in user.projects)
        made.add_row(printable(user.name), projects, f"{user.weight:g}", at_once, hours, state)
    return made


def projects_table(projects: Iterable[Project]) -> Table:
    """One line a project."""
    numbers = ["used MiB", "at most"]
    made = table("name", "members", *numbers, numbers=numbers)
    for project in projects:
        most = "any" if project.max_bytes is None else f"{project.max_bytes / _MIB:,.0f}"
        members = ", ".join(printable(name) for name in project.members)
        made.add_row(printable(project.name), members, f"{project.used_bytes / _MIB:,.1f}", most)
    return made


def audit_table(events: Iterable[AuditEvent]) -> Table:
    """One line an event."""
    made = table("when (UTC)", "action", "user", "project", "what")
    for event in events:
        when = f"{event.created_at:%Y-%m-%d %H:%M:%S}"
        who = (printable(name or "") for name in (event.user, event.project, event.subject))
        made.add_row(when, event.action, *who)
    return made


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "never expires" if token.expires_at is None else f"until {token.expires_at:%Y-%m-%d}"
