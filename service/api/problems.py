"""Every error as an RFC 9457 problem document."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DataError, DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ranksearch.contracts.errors import (
    AccessError,
    InputError,
    NotFoundError,
    RankSearchError,
    UnavailableError,
)
from ranksearch.contracts.refusals import member, reason, reasons
from ranksearch.contracts.resources import Problem
from service.metrics import Metrics
from service.storage.blobs import storage_full
from service.storage.engine import is_away

__all__ = ["PROBLEMS", "install_problems", "problem_response", "unexpected"]

log = logging.getLogger(__name__)

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "model": Problem,
        "description": "What was asked for cannot be done: a problem document with a stable `code`",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
    "5XX": {
        "model": Problem,
        "description": "The service cannot do it now: a problem document with a stable `code`",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
}
"""For the OpenAPI description of every route."""

_RETRY_AFTER = {"model_not_inspected": "2", "service_busy": "1", "storage_full": "60", "storage_unavailable": "5"}
_MEND_JSON = "send the body as JSON, with the header Content-Type: application/json"


class ProblemResponse(JSONResponse):
    """A problem document. Half a surrogate pair, which somebody sent and is told of, goes out as JSON's escape."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - as Starlette's
        """See Starlette."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def problem_response(problem: RankSearchError) -> Response:
    """The answer that carries ``problem``."""
    headers: dict[str, str] = {}
    if isinstance(problem, AccessError) and problem.status == 401:  # noqa: PLR2004 - Unauthorized
        headers["www-authenticate"] = 'Bearer realm="ranksearch"'
    if problem.code == "too_many_attempts":
        headers["retry-after"] = str(problem.extra["retry_after"])
    if problem.code in _RETRY_AFTER:
        headers["retry-after"] = _RETRY_AFTER[problem.code]
    return ProblemResponse(problem.to_problem(), status_code=problem.status, headers=headers)


def unexpected(problem: Exception, request_id: str) -> Response:
    """The answer to an exception that nobody foresaw: logged in full, answered without its internals."""
    known = _storage_problem(problem)
    if known is not None:
        log.error("storage problem: %s", problem)
        return problem_response(known)
    log.error("unexpected", exc_info=problem)
    return problem_response(
        RankSearchError(
            "internal_error",
            "the service met an error that it did not expect",
            mend=f"look into the service's log for the request {request_id}",
            request_id=request_id,
        )
    )


def install_problems(app: FastAPI) -> None:
    """Let ``app`` answer every foreseen error as a problem document."""

    @app.exception_handler(RankSearchError)
    async def _ours(request: Request, problem: RankSearchError) -> Response:
        if problem.code == "lease_lost":
            metrics: Metrics = request.app.state.metrics
            metrics.leases_lost.inc()
        return problem_response(problem)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, problem: RequestValidationError) -> Response:
        return problem_response(_validation_problem(problem.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, problem: HTTPException) -> Response:
        cause = problem.__cause__  # reading the body was refused by one of ours; FastAPI wraps that
        response = problem_response(cause if isinstance(cause, RankSearchError) else _http_problem(request, problem))
        for name, value in (problem.headers or {}).items():
            response.headers[name] = value
        return response


def _http_problem(request: Request, problem: HTTPException) -> RankSearchError:
    where = f"{request.method} {request.url.path}"
    match problem.status_code:
        case 404:
            return NotFoundError(
                "not_found", "there is nothing at this address", got=where, expected="see /openapi.json"
            )
        case 405:
            return NotFoundError("method_not_allowed", "this address does not take that method", got=where)
        case status if status < 500:  # noqa: PLR2004 - the sender's mistake
            return InputError("invalid_request", str(problem.detail), got=where)
        case _:
            return RankSearchError("internal_error", "the service could not answer")


def _validation_problem(errors: Any) -> InputError:  # noqa: ANN401 - pydantic's list of dicts
    first: Mapping[str, Any] = errors[0]
    place = member(first["loc"][1:])
    others = [{"at": member(each["loc"][1:]), "what": reason(each)} for each in errors[:20]]
    kind = str(first["type"])
    if kind == "json_invalid":
        why = first.get("ctx", {}).get("error", reason(first))
        return InputError(
            "invalid_request", f"the body is not JSON: {why}", got=f"at character {place}", mend=_MEND_JSON
        )
    if kind == "extra_forbidden":
        return InputError(
            "unknown_field",
            f"the request has a member that nobody knows: {place}",
            got=place,
            mend="remove it, or correct its name",
            errors=others,
        )
    if not place and tuple(first["loc"]) == ("body",):
        if kind == "value_error":  # its members do not go together
            return InputError("invalid_request", reason(first), errors=others)
        detail = "the request has no body" if kind == "missing" else "the body is not a JSON object"
        return InputError("invalid_request", detail, expected="a JSON object", mend=_MEND_JSON)
    got = first.get("input")
    return InputError(
        "invalid_request",
        f"{place or first['loc'][0]}: {reasons(errors)}",
        got="nothing" if kind == "missing" else got,
        errors=others,
    )


def _storage_problem(problem: BaseException | None) -> RankSearchError | None:
    """A full disk or a busy database, whatever it is wrapped in."""
    while problem is not None:
        if isinstance(problem, OSError) and (full := storage_full(problem)) is not None:
            return full
        if isinstance(problem, DBAPIError) and "database or disk is full" in str(problem.orig):
            return storage_full()
        if isinstance(problem, DataError):
            return InputError(
                "invalid_request",
                "the request holds a text or a number that the database cannot take",
                expected="text without the character NUL, and numbers of at most 64 bits",
            )
        if is_away(problem):
            return UnavailableError(
                "service_busy", "the database does not answer in time", mend="send the request again in a moment"
            )
        problem = problem.__cause__ if isinstance(problem, StorageInternalError | Exception) else None
    return None
