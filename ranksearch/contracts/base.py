"""What every wire shape shares."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["Name", "Page", "Request", "Resource", "Sha256", "Timestamp"]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="lower-case hexadecimal sha256")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""What people call things: one line, without what steers a terminal."""
Timestamp = AwareDatetime
"""UTC, by the database's clock."""


class Request(BaseModel):
    """Something a user sends: an unknown member is a mistake, and refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Resource(BaseModel):
    """Something the service answers: a newer service may add members, and an older client ignores them."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Item = TypeVar("Item")


class Page(Resource, Generic[Item]):
    """One page of a list; ``next`` is the cursor of the following one."""

    items: list[Item]
    next: str | None = None
