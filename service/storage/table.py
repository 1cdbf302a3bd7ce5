"""What all of the service's tables share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Double, MetaData
from sqlalchemy.orm import DeclarativeBase

__all__ = ["Json", "Table"]

Json = dict[str, Any]


class Table(DeclarativeBase):
    """Base of the service's tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own way to declare it
        float: Double,
        Json: JSON(none_as_null=True),
        list[int]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        list[Json]: JSON(none_as_null=True),
    }
