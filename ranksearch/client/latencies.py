from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence

from ranksearch.client.checks import checked
from ranksearch.client.transport import Transport, segment
from ranksearch.client.waiting import until
from ranksearch.contracts.errors import EvaluationError, RankSearchError
from ranksearch.contracts.latency import LatencyComparison, LatencyRequest, LatencyRuntime
from ranksearch.contracts.studies import Study

__all__ = ["Latencies"]


class Latencies:
    """Latency reports of studies' trials: ``client.latencies``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, study: str) -> Iterator[LatencyComparison]:
        """Those of a study, by trial."""
        return self._transport.pages(LatencyComparison, _path(study))

    def get(self, study: str, latency: str) -> LatencyComparison:
        """By its id.

        Raises:
            NotFoundError: the study has none of this id.
        """
        return self._transport.fetch(LatencyComparison, f"{_path(study)}/{segment(latency)}")

    def measure(
        self,
        study: str,
        trial: int | None = None,
        *,
        batches: Sequence[int] | None = None,
        runtimes: Sequence[LatencyRuntime] | None = None,
        again: bool = False,
    ) -> LatencyComparison:
        """Have a complete trial's network timed beside the dense one. With the same settings it is the same report.

        Args:
            study: its id.
            trial: None: the best one so far.
            batches: images a pass; None: 1 and 32.
            runtimes: of ``"torch"``, ``"torch_compile"`` and ``"onnxruntime"``; None: all of them.
            again: measure anew what was measured already.

        Raises:
            NotFoundError: no such study or trial, or ``best_not_found``.
            ConflictError: ``trial_not_complete``, or ``latency_in_progress`` with other settings.
            InputError: settings that make no sense.
        """
        members = {"batches": batches, "runtimes": runtimes}
        given = {name: [*value] for name, value in members.items() if value is not None}
        wanted = checked(lambda: LatencyRequest.model_validate({"trial": trial, "again": again, **given}))
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        answer = self._transport.request("POST", _path(study), repeatable=True, json=wanted, headers=headers)
        return self._transport.parsed(LatencyComparison, answer)

    def wait(
        self,
        study: str,
        latency: str,
        *,
        timeout: float | None = None,
        seen: Callable[[LatencyComparison], object] | None = None,
    ) -> LatencyComparison:
        """The report once it is measured.

        Args:
            study: its id.
            latency: its id.
            timeout: seconds; None: without end.
            seen: is shown it as often as it is looked at.

        Raises:
            RankSearchError: it could not be measured; this is why.
            UnavailableError: ``wait_timeout``; ``got`` says what it is waiting for.
        """
        made = until(
            lambda: self.get(study, latency),
            lambda latest: latest.state != "pending",
            what=f"measuring {latency}",
            why_not=lambda latest: (
                self._transport.fetch(Study, f"/v1/studies/{segment(study)}").waiting_for or latest.state
            ),
            timeout=timeout,
            seen=seen,
        )
        if made.report is None:
            raise _error(made)
        return made


def _path(study: str) -> str:
    return f"/v1/studies/{segment(study)}/latency"


def _error(latency: LatencyComparison) -> RankSearchError:
    if latency.error is None:
        return EvaluationError("evaluation_failed", f"the latency of trial {latency.trial} was not measured")
    problem = latency.error.model_dump(exclude_none=True)
    return RankSearchError.from_problem({"mend": "ask for it again, or: ranksearch retry", **problem})
