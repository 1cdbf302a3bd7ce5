"""Settings from the command line and the environment: one option and one variable for each member of Settings.

An option wins over its variable. Secrets have no option: everybody on a machine sees its command lines.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ranksearch.contracts.errors import InputError
from ranksearch.contracts.refusals import reason
from service.settings import Settings

__all__ = ["add_options", "option_of", "read_data_dir", "read_settings", "settings_table", "variable_of"]

PREFIX: Final = "RANKSEARCH_SERVICE_"
SECRETS: Final = frozenset({"token", "oidc_client_secret"})
_YES_NO: Final = bool


def option_of(member: str) -> str:
    """The option for a member of Settings."""
    return f"--{member.replace('_', '-')}"


def variable_of(member: str) -> str:
    """The environment variable for a member of Settings."""
    return PREFIX + member.upper()


def add_options(parser: argparse.ArgumentParser, *, only: frozenset[str] | None = None) -> None:
    """Give ``parser`` the options of all settings that are no secrets, or of some."""
    for member, about in Settings.model_fields.items():
        if member in SECRETS or (only is not None and member not in only):
            continue
        told = f"{about.description} ({variable_of(member)}{_default(about)})".replace("%", "%%")
        if about.annotation is _YES_NO:
            parser.add_argument(option_of(member), dest=member, action=argparse.BooleanOptionalAction, help=told)
        else:
            parser.add_argument(option_of(member), dest=member, metavar=member.upper(), help=told)


def read_data_dir(given: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Path:
    """The data directory that options and environment ask for.

    Raises:
        InputError: none is given.
    """
    value = _given("data_dir", given, environment)
    if value is None:
        raise InputError(
            "invalid_request",
            "no data directory is given",
            expected=f"{option_of('data_dir')} or {variable_of('data_dir')}",
            mend="name a directory that this service alone uses",
        )
    return Path(str(value)).absolute()


def read_settings(
    given: argparse.Namespace, *, token: Callable[[], str], environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings that options and environment ask for; an empty variable counts as none.

    Args:
        given: what a parser with :func:`add_options` made of the command line.
        token: finds the token, where the environment has none.
        environment: where variables are looked up.

    Raises:
        InputError: one of them cannot be used; it names the option and the variable.
    """
    found = {member: _given(member, given, environment) for member in Settings.model_fields}
    members: dict[str, Any] = {member: value for member, value in found.items() if value is not None}
    members["data_dir"] = read_data_dir(given, environment)
    if "token" not in members:
        members["token"] = token()
    try:
        return Settings.model_validate(members)
    except ValidationError as problem:
        raise _refusal(problem) from None


def settings_table() -> str:
    """All settings as a Markdown table: what the documentation shows."""
    rows = ["| option | environment variable | default | |", "| --- | --- | --- | --- |"]
    for member, about in Settings.model_fields.items():
        option = "" if member in SECRETS else f"`{option_of(member)}`"
        default = "" if about.is_required() or about.default is None else f"`{_plain(about.default)}`"
        description = (about.description or "").replace("|", "\\|")
        rows.append(f"| {option} | `{variable_of(member)}` | {default} | {description} |")
    return "\n".join(rows) + "\n"


def _given(member: str, given: argparse.Namespace, environment: Mapping[str, str]) -> object:
    option = getattr(given, member, None)
    return environment.get(variable_of(member)) or None if option is None else option


def _default(about: FieldInfo) -> str:
    if about.is_required() or about.default is None:
        return ""
    return f"; default: {_plain(about.default)}"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _refusal(problem: ValidationError) -> InputError:
    first = problem.errors()[0]
    member = str(first["loc"][0]) if first["loc"] else ""  # or the settings do not go together
    secret = not member or member in SECRETS or member.endswith("url")
    names = variable_of(member) if member in SECRETS else f"{option_of(member)} ({variable_of(member)})"
    return InputError(
        "invalid_request",
        f"{names}: {reason(first)}" if member else reason(first),
        got=None if secret else first.get("input"),
        mend="correct it; `python -m service --help` says what each setting takes",
    )
