"""``whoami``, ``tokens``, ``users``, ``projects``, ``audit``: who may do what, and who did."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from ranksearch.cli.options import Json, Token, Url, connect
from ranksearch.contracts.access import SCOPES, NewToken, Scope
from ranksearch.contracts.errors import InputError
from ranksearch.terminal.output import say, show, show_json
from ranksearch.terminal.people import audit_table, projects_table, tokens_table, users_table, who_lines

__all__ = ["audit", "projects", "tokens", "users", "whoami"]

tokens = typer.Typer(help="Make, list and revoke API tokens.", no_args_is_help=True)
users = typer.Typer(help="Make, list and disable users; for administrators.", no_args_is_help=True)
projects = typer.Typer(help="Make and list what groups of users share; for administrators.", no_args_is_help=True)

UserName = Annotated[str, typer.Argument(metavar="USER", help="Its name.")]
InProjects = Annotated[
    list[str] | None, typer.Option("--project", help="It belongs to; repeatable (default: default).")
]


def whoami(*, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Say whose token this is, and what it allows."""
    with connect(url, token) as client:
        found = client.whoami()
    if json:
        show_json(found)
    else:
        for line in who_lines(found):
            show(line)


@tokens.command("list")
def list_tokens(
    *,
    user: Annotated[str | None, typer.Option("--user", help="Of another user; for administrators.")] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Of all users; for administrators.")] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """List tokens, without their secrets."""
    with connect(url, token) as client:
        found = list(client.tokens.list(user, everybody=everybody))
    if json:
        show_json(found)
    else:
        show(tokens_table(found))


@tokens.command("create")
def create_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    *,
    scopes: Annotated[
        str, typer.Option("--scopes", help="What it allows: of read, submit, work, admin.")
    ] = "read,submit",
    user: Annotated[str | None, typer.Option("--user", help="Whose; for administrators.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="Whose things it opens.")] = None,
    days: Annotated[float, typer.Option("--days", help="Until it expires; 0: never.", min=0)] = 90,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Make a token. Its secret is shown this once, alone on stdout."""
    with connect(url, token) as client:
        made = client.tokens.create(
            name, scopes=_scopes(scopes), user=user, project=project, expires_in_days=days or None
        )
    if json:
        show_json(made)
    else:
        _tell(made)


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="As `ranksearch tokens list` shows it.")],
    *,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Have a token open nothing any more."""
    with connect(url, token) as client:
        client.tokens.revoke(token_id)
    if json:
        show_json({"revoked": token_id})
    else:
        say(f"{token_id} opens nothing any more")


@users.command("list")
def list_users(*, url: Url = None, token: Token = None, json: Json = False) -> None:
    """List the users."""
    with connect(url, token) as client:
        found = list(client.users.list())
    if json:
        show_json(found)
    else:
        show(users_table(found))


@users.command("create")
def create_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="To be addressed by.")],
    *,
    project: InProjects = None,
    weight: Annotated[float, typer.Option("--weight", help="Share of the fleet beside others.", min=0.001)] = 1.0,
    max_parallel: Annotated[int | None, typer.Option("--max-parallel", help="Jobs at once, at most.", min=1)] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="In the provider of single sign-on.")] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Make a user; a token for them is made by `ranksearch tokens create`."""
    with connect(url, token) as client:
        made = client.users.create(
            name, projects=project or ["default"], weight=weight, max_parallel=max_parallel, subject=subject
        )
    if json:
        show_json(made)
    else:
        show(users_table([made]))
        say(f"next: ranksearch tokens create NAME --user {made.name}")


@users.command("disable")
def disable_user(user: UserName, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Have none of a user's tokens open anything any more."""
    _set_disabled(user, url, token, disabled=True, json=json)


@users.command("enable")
def enable_user(user: UserName, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Have a disabled user's tokens work again."""
    _set_disabled(user, url, token, disabled=False, json=json)


@projects.command("list")
def list_projects(*, url: Url = None, token: Token = None, json: Json = False) -> None:
    """List the projects, their members and what they take."""
    with connect(url, token) as client:
        found = list(client.projects.list())
    if json:
        show_json(found)
    else:
        show(projects_table(found))


@projects.command("create")
def create_project(
    name: Annotated[str, typer.Argument(metavar="NAME", help="To be addressed by.")],
    *,
    max_gib: Annotated[float | None, typer.Option("--max-gib", help="That its documents may take.", min=0.001)] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Make a project; its users are named by `ranksearch users create --project`."""
    with connect(url, token) as client:
        made = client.projects.create(name, max_bytes=None if max_gib is None else round(max_gib * 2**30))
    if json:
        show_json(made)
    else:
        show(projects_table([made]))


def audit(
    *,
    action: Annotated[str | None, typer.Option("--action", help="Such as study.submit, or study. for all.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Who did it.")] = None,
    last: Annotated[int, typer.Option("--last", help="How many, at most.", min=1)] = 50,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show who did what, the newest first; for administrators."""
    with connect(url, token) as client:
        found = list(islice(client.audit.list(action=action, user=user), last))
    if json:
        show_json(found)
    else:
        show(audit_table(found))


def _scopes(words: str) -> list[Scope]:
    named = [word.strip() for word in words.split(",")]
    found = [scope for scope in SCOPES if scope in named]
    if len(found) < len(set(named)):
        raise InputError(
            "invalid_request",
            "there is no such scope",
            got=words or "none",
            expected=f"of {', '.join(SCOPES)}, joined by commas",
        )
    return found


def _tell(made: NewToken) -> None:
    until = "never expires" if made.expires_at is None else f"expires {made.expires_at:%Y-%m-%d}"
    say(f"{made.id}: {made.user} in {made.project}, {', '.join(made.scopes)}; {until}. Its secret, shown this once:")
    typer.echo(made.secret)


def _set_disabled(user: str, url: str | None, token: str | None, *, disabled: bool, json: bool) -> None:
    with connect(url, token) as client:
        changed = client.users.change(user, disabled=disabled)
    if json:
        show_json(changed)
    else:
        show(users_table([changed]))
