"""The lines that services and workers log: of one form, so that one collector reads them all.

A line has a UTC time, a level, a logger, an event and fields: those of the call (``extra=``) and those of the context
it was made in, such as the request's id. A context's fields are shared with the threads and tasks that are started in
it: what is learnt on the way (:func:`note`) is on every later line, wherever it is written.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, TypeAlias

__all__ = [
    "REQUEST_ID_HEADER",
    "JsonLines",
    "LogFormat",
    "TextLines",
    "context_fields",
    "log_lines",
    "logged_with",
    "new_request_id",
    "note",
    "request_id_of",
]

LogFormat: TypeAlias = Literal["text", "json"]

REQUEST_ID_HEADER: Final = "X-Request-Id"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_PLAIN: Final = re.compile(r"[!#-<>-\[\]-~]+")
"""Printable ASCII without space, quote, equals sign and backslash: needs no quotes as a value."""
_NO_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

_fields: ContextVar[dict[str, Any] | None] = ContextVar("ranksearch_log_fields", default=None)


def new_request_id() -> str:
    """An id for a request that has none."""
    return secrets.token_hex(8)


def request_id_of(header: str | None) -> str:
    """The id that a caller gave its request, where it is well formed; else a new one."""
    return header if header is not None and _REQUEST_ID.fullmatch(header) else new_request_id()


@contextmanager
def logged_with(**fields: Any) -> Iterator[None]:  # noqa: ANN401 - values of JSON
    """Every line logged in the block has these fields, besides those of the blocks around it."""
    before = _fields.set({**context_fields(), **_known(fields)})
    try:
        yield
    finally:
        _fields.reset(before)


def note(**fields: Any) -> None:  # noqa: ANN401 - values of JSON
    """Add fields to the innermost block of :func:`logged_with`; outside of any, nothing happens. None adds nothing."""
    innermost = _fields.get()
    if innermost is not None:
        innermost.update(_known(fields))


def context_fields() -> Mapping[str, Any]:
    """The fields of the context."""
    return _fields.get() or {}


class TextLines(logging.Formatter):
    """``2026-01-02T03:04:05.678Z level=info logger=service.requests request method=GET status=200``.

    A record is one line, whatever was in its values; only a traceback has lines of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        words = [f"{name}={_quoted(value)}" for name, value in _fields_of(record).items()]
        event = record.getMessage().replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")
        head = f"{_time(record)} level={record.levelname.lower()} logger={record.name}"
        line = " ".join([head, event, *words])
        trace = self._trace(record)
        return f"{line}\n{trace}" if trace else line

    def _trace(self, record: logging.LogRecord) -> str:
        return "" if not record.exc_info else self.formatException(record.exc_info)


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``event``, the fields, and ``exception`` of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        told = {**told, **{name: value for name, value in _fields_of(record).items() if name not in told}}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str, ensure_ascii=False)


def log_lines(level: str, form: LogFormat, stream: TextIO | None = None) -> None:
    """Log everything from ``level`` on in this form, to standard error; what was set up before is replaced."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    own = {name: value for name, value in vars(record).items() if name not in _NO_FIELDS and value is not None}
    return {**own, **{name: value for name, value in context_fields().items() if name not in own}}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
