"""The one clock that leases and time stamps are read from: the database's, in seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, overload

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["database_now", "moment"]


class database_now(FunctionElement[float]):  # noqa: N801 - an SQL function, used like ``func.now()``
    """Seconds since 1970 by the database's clock, with fractions; not frozen at the transaction's start."""

    type = Double()
    inherit_cache = True
    name = "database_now"


@compiles(database_now, "sqlite")
def _sqlite(_element: database_now, _compiler: SQLCompiler, **_kw: Any) -> str:  # noqa: ANN401 - SQLAlchemy's hook
    # ``unixepoch('subsec')`` needs SQLite 3.42; 2440587.5 is the Julian day of 1970-01-01.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_now, "postgresql")
def _postgresql(_element: database_now, _compiler: SQLCompiler, **_kw: Any) -> str:  # noqa: ANN401 - as above
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@overload
def moment(seconds: float) -> datetime: ...
@overload
def moment(seconds: None) -> None: ...
def moment(seconds: float | None) -> datetime | None:
    """The stored seconds as the aware datetime that the wire shapes carry."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
