"""The one error tree of the product.

::

    RankSearchError
    ├── InputError            what the user sent cannot be used                       422
    │   ├── DocumentError         a model document
    │   ├── OnnxError             an ONNX file
    │   ├── DatasetError          a data set document
    │   ├── RanksError            a rank vector
    │   └── BudgetInfeasible      a budget nobody can meet; carries the nearest feasible one
    ├── UploadError           bytes that did not arrive as announced                  400, 408, 413
    ├── AccessError           no token, a wrong one, or not the scope for this        401, 403, 429
    ├── NotFoundError         no such thing here                                      404
    ├── ConflictError         not in this state: a lost lease, a model not inspected  409
    ├── UnavailableError      not here or not now: service away, disk full, no torch  50x
    └── EvaluationError       an evaluation crashed, hung or ran out of memory        reported, not answered

Every error says what happened (``str(error)``), what was got, what was expected and how to mend it, and carries a
``code`` that programs can rely on. The service answers them as RFC 9457 ``application/problem+json``; the client
raises the same classes again from such an answer. ``proxy`` stands alone and has a tree of its own
(:mod:`proxy.errors`); the worker turns one into the other at a single place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "AccessError",
    "BudgetInfeasible",
    "ConflictError",
    "DatasetError",
    "DocumentError",
    "EvaluationError",
    "InputError",
    "NotFoundError",
    "OnnxError",
    "RankSearchError",
    "RanksError",
    "UnavailableError",
    "UploadError",
]


class RankSearchError(Exception):
    """Base of every error this product raises on purpose.

    Args:
        code: stable identifier; must be one of the class's ``codes``.
        detail: what happened, one sentence.
        got: what was received, shortened where it is large.
        expected: what would have been accepted.
        mend: what to do about it.
        extra: further members for programs, such as the nearest feasible budget.
    """

    codes: ClassVar[Mapping[str, int]] = {"internal_error": 500}
    """Stable code → HTTP status."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        got: object = None,
        expected: object = None,
        mend: str | None = None,
        **extra: Any,  # noqa: ANN401 - JSON members of any kind
    ) -> None:
        super().__init__(detail)
        if code not in self.codes:
            raise ValueError(f"{type(self).__name__} has no code {code!r}; it has {sorted(self.codes)}")
        self.code = code
        self.detail = detail
        self.got = None if got is None else _shortened(got)
        self.expected = None if expected is None else _shortened(expected)
        self.mend = mend
        self.extra = extra

    @property
    def status(self) -> int:
        """The HTTP status this error is answered with."""
        return self.codes[self.code]

    def __str__(self) -> str:
        parts = [self.detail]
        if self.got is not None:
            parts.append(f"got: {self.got}")
        if self.expected is not None:
            parts.append(f"expected: {self.expected}")
        if self.mend is not None:
            parts.append(f"mend: {self.mend}")
        if "request_id" in self.extra:
            parts.append(f"request: {self.extra['request_id']}")
        return "\n  ".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuilt, (type(self), self.to_problem()))

    def to_problem(self) -> dict[str, Any]:
        """The RFC 9457 problem document, as a dict for JSON."""
        problem: dict[str, Any] = {
            "type": f"urn:ranksearch:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        members = {"got": self.got, "expected": self.expected, "mend": self.mend}
        problem.update({name: value for name, value in members.items() if value is not None})
        if self.extra:
            problem["extra"] = self.extra
        return problem

    @classmethod
    def from_problem(cls, problem: Mapping[str, Any]) -> RankSearchError:
        """The error that a problem document describes; an unknown code gives the base class.

        Args:
            problem: a problem document, from this service or from something between it and the client.
        """
        code = str(problem.get("code", "internal_error"))
        kind = _class_of(code)
        detail = str(problem.get("detail") or problem.get("title") or "the service answered with an error")
        if code not in kind.codes:  # an error of a newer service: keep its code in the text
            detail, code = f"{detail} ({code})", "internal_error"
        error = kind(code, detail, got=problem.get("got"), expected=problem.get("expected"), mend=problem.get("mend"))
        extra = problem.get("extra")
        error.extra = dict(extra) if isinstance(extra, Mapping) else {}  # of any names, so not as keyword arguments
        return error


class InputError(RankSearchError):
    """What the user sent cannot be used."""

    codes: ClassVar[Mapping[str, int]] = {
        "invalid_request": 422,
        "unknown_field": 422,
        "unsupported_method": 422,
        "idempotency_mismatch": 422,
        "nothing_to_compress": 422,
        "latency_unknown": 422,
        "finetune_unsupported": 422,
        "metric_does_not_fit": 422,
        "range_not_satisfiable": 416,
        "backup_unusable": 422,
        "backup_not_possible": 422,
    }


class DocumentError(InputError):
    """A model document that cannot be written or read."""

    codes: ClassVar[Mapping[str, int]] = {
        "document_not_exportable": 422,
        "document_truncated": 422,
        "document_too_large": 422,
        "document_header_invalid": 422,
        "document_graph_invalid": 422,
        "document_unknown_operator": 422,
        "document_unknown_architecture": 422,
        "document_wrong_dtype": 422,
        "document_wrong_shape": 422,
        "document_missing_tensor": 422,
        "document_not_finite": 422,
        "document_version_unsupported": 422,
    }


class OnnxError(InputError):
    """An ONNX file that cannot be made a model document."""

    codes: ClassVar[Mapping[str, int]] = {
        "onnx_truncated": 422,
        "onnx_malformed": 422,
        "onnx_too_large": 422,
        "onnx_version_unsupported": 422,
        "onnx_external_data": 422,
        "onnx_unknown_operator": 422,
        "onnx_unsupported": 422,
        "onnx_shape_unknown": 422,
        "onnx_batch_fixed": 422,
        "onnx_disagrees": 422,
    }


class DatasetError(InputError):
    """A data set document that cannot be written, read or used with the model asked for."""

    codes: ClassVar[Mapping[str, int]] = {
        "dataset_truncated": 422,
        "dataset_too_large": 422,
        "dataset_header_invalid": 422,
        "dataset_wrong_dtype": 422,
        "dataset_not_finite": 422,
        "dataset_empty": 422,
        "dataset_labels_mismatch": 422,
        "dataset_shape_mismatch": 422,
        "dataset_labels_out_of_range": 422,
        "dataset_labels_missing": 422,
        "dataset_slice_out_of_range": 422,
        "dataset_overlap": 422,
        "dataset_source_unreadable": 422,
    }


class RanksError(InputError):
    """A rank vector that does not fit the model."""

    codes: ClassVar[Mapping[str, int]] = {
        "unknown_layer": 422,
        "layer_stays_dense": 422,
        "rank_out_of_range": 422,
        "method_not_for_layer": 422,
    }


class BudgetInfeasible(InputError):
    """A budget that no choice of ranks can meet; ``extra["nearest_feasible"]`` holds the nearest one."""

    codes: ClassVar[Mapping[str, int]] = {"budget_infeasible": 422}


class UploadError(RankSearchError):
    """Bytes that did not arrive as announced."""

    codes: ClassVar[Mapping[str, int]] = {
        "upload_incomplete": 400,
        "upload_digest_mismatch": 400,
        "upload_digest_invalid": 400,
        "upload_too_large": 413,
        "upload_stalled": 408,
    }


class AccessError(RankSearchError):
    """No token, a wrong one, or one that may not do this."""

    codes: ClassVar[Mapping[str, int]] = {
        "token_missing": 401,
        "token_invalid": 401,
        "token_expired": 401,
        "token_revoked": 401,
        "token_scope": 403,
        "session_expired": 401,
        "csrf_missing": 403,
        "csrf_invalid": 403,
        "sign_in_refused": 401,
        "too_many_attempts": 429,
    }


class NotFoundError(RankSearchError):
    """No such thing here."""

    codes: ClassVar[Mapping[str, int]] = {
        "not_found": 404,
        "model_not_found": 404,
        "dataset_not_found": 404,
        "study_not_found": 404,
        "trial_not_found": 404,
        "job_not_found": 404,
        "artifact_not_found": 404,
        "finetune_not_found": 404,
        "latency_not_found": 404,
        "blob_not_found": 404,
        "factors_not_found": 404,
        "best_not_found": 404,
        "worker_not_found": 404,
        "token_not_found": 404,
        "user_not_found": 404,
        "project_not_found": 404,
        "method_not_allowed": 405,
    }


class ConflictError(RankSearchError):
    """The thing is not in a state in which this can be done."""

    codes: ClassVar[Mapping[str, int]] = {
        "lease_lost": 409,
        "model_not_inspected": 409,
        "model_inspection_failed": 409,
        "study_finished": 409,
        "study_not_running": 409,
        "study_not_paused": 409,
        "study_paused": 409,
        "nothing_to_retry": 409,
        "trial_not_complete": 409,
        "not_finetuned": 409,
        "finetune_in_progress": 409,
        "finetune_ended": 409,
        "latency_in_progress": 409,
        "in_use": 409,
        "worker_outdated": 409,
        "name_taken": 409,
    }


class UnavailableError(RankSearchError):
    """Nothing wrong with what was asked; try again later."""

    codes: ClassVar[Mapping[str, int]] = {
        "service_unreachable": 503,
        "service_busy": 503,
        "service_not_ready": 503,
        "service_answer_invalid": 502,
        "storage_full": 507,
        "storage_unavailable": 503,
        "blob_damaged": 500,
        "quota_exceeded": 507,
        "wait_timeout": 504,
        "extra_missing": 501,
        "sandbox_unavailable": 501,
        "device_unusable": 501,
    }


class EvaluationError(RankSearchError):
    """An evaluation on a worker did not give a result. Kept with its trial; never an HTTP answer of its own."""

    codes: ClassVar[Mapping[str, int]] = {
        "evaluation_failed": 500,
        "evaluation_crashed": 500,
        "evaluation_timeout": 500,
        "evaluation_out_of_memory": 500,
        "evaluation_not_finite": 500,
        "attempts_exhausted": 500,
        "trial_poisoned": 500,
        "trial_cancelled": 500,
        "artifact_disagrees": 500,
        "artifact_too_large": 500,
        "export_failed": 500,
        "export_unavailable": 500,
        "finetune_failed": 500,
        "finetune_cancelled": 500,
        "onnx_unavailable": 500,
        "study_failing": 500,
        "no_feasible_trial": 500,
    }


def _shortened(value: object, limit: int = 500) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair can be neither sent nor shown
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _subclasses(kind: type[RankSearchError]) -> list[type[RankSearchError]]:
    return [kind, *(deeper for sub in kind.__subclasses__() for deeper in _subclasses(sub))]


def _class_of(code: str) -> type[RankSearchError]:
    return next((kind for kind in _subclasses(RankSearchError) if code in kind.codes), RankSearchError)


def _rebuilt(kind: type[RankSearchError], problem: Mapping[str, Any]) -> RankSearchError:
    return kind.from_problem(problem)
