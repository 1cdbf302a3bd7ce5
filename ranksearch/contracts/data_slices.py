"""Which images of a data set something is about."""

from __future__ import annotations

from pydantic import Field, model_validator

from ranksearch.contracts.base import Request

__all__ = ["DataSlice"]


class DataSlice(Request):
    """Images ``start`` (included) to ``stop`` (excluded; None: to the end) of a data set."""

    dataset: str
    start: int = Field(default=0, ge=0)
    stop: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _holds_something(self) -> DataSlice:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"stop ({self.stop}) must be above start ({self.start})")
        return self
