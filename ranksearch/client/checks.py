"""Wire shapes of a user's making, with this product's error where they are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ranksearch.contracts.errors import InputError
from ranksearch.contracts.refusals import member, reasons

__all__ = ["checked"]

Shape = TypeVar("Shape", bound=BaseModel)


def checked(make: Callable[[], Shape]) -> Shape:
    """A wire shape of the user's making.

    Raises:
        InputError: naming the first member that cannot be used.
    """
    try:
        return make()
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        first = wrong[0]
        where = member(first["loc"])
        # What is wrong with the whole says so itself, and the whole is too long to repeat.
        raise InputError(
            "unknown_field" if first["type"] == "extra_forbidden" else "invalid_request",
            f"{where or 'the request'} cannot be used",
            got=first["input"] if where else None,
            expected=reasons(wrong),
        ) from error
