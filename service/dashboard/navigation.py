"""What the header of every page leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ranksearch.contracts.access import Scope
from service.access.principal import Principal

__all__ = ["NAVIGATION", "Entry", "entries_for"]


@dataclass(frozen=True)
class Entry:
    """A link of the header.

    Args:
        path: of the page; those below it belong to it, too.
        label: what it says.
        scope: which its readers need.
    """

    path: str
    label: str
    scope: Scope = "read"

    def leads_to(self, path: str) -> bool:
        """Whether a page belongs to it."""
        return path == self.path or path.startswith(f"{self.path}/")


NAVIGATION: Final = (
    Entry("/studies", "Studies"),
    Entry("/submit", "Submit", "submit"),
    Entry("/compare", "Compare"),
    Entry("/models", "Models"),
    Entry("/datasets", "Data sets"),
    Entry("/workers", "Workers"),
    Entry("/tokens", "Tokens"),
)


def entries_for(caller: Principal | None) -> Sequence[Entry]:
    """What the caller may go to; nothing for somebody who is not signed in."""
    return () if caller is None else [entry for entry in NAVIGATION if caller.may(entry.scope)]
