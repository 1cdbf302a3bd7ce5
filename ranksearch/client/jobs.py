from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ranksearch.client.transport import Transport, segment
from ranksearch.contracts.errors import RankSearchError
from ranksearch.contracts.finetuning import ProgressRequest
from ranksearch.contracts.jobs import (
    DRAIN_HEADER,
    ClaimRequest,
    CompleteRequest,
    FailRequest,
    Job,
    Lease,
    LeaseRequest,
    Outcome,
)
from ranksearch.contracts.resources import Problem

__all__ = ["Jobs"]

_NO_CONTENT: Final = 204


class Jobs:
    """What workers do: ``client.jobs``. Users have no need of it.

    Each method may be called while another thread is in one. ``patience``: seconds to keep trying while the
    service is away or busy, instead of the client's own.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def claim(
        self, request: ClaimRequest, *, patience: float | None = None, draining: Callable[[bool], None] | None = None
    ) -> Job | None:
        """A job under a lease, or None after ``request.wait_seconds`` without one.

        Repeated only where the request never left: a lease whose answer is lost expires by itself.

        Args:
            request: who asks, and for how long.
            patience: see above.
            draining: is told with each answer whether the worker is draining, and so gets nothing for now.

        Raises:
            ConflictError: ``worker_outdated``: worker and service are of versions that do not go together.
        """
        response = self._transport.request(
            "POST",
            "/v1/jobs/claim",
            repeatable=False,
            json=request,
            timeout=self._transport.timeout + request.wait_seconds,
            patience=patience,
        )
        if draining is not None:
            draining(DRAIN_HEADER in response.headers)
        return None if response.status_code == _NO_CONTENT else self._transport.parsed(Job, response)

    def renew(self, job: str, lease_token: str, *, patience: float | None = None) -> Lease:
        """A lease with more time.

        Raises:
            ConflictError: ``lease_lost``: another worker may have the job by now.
        """
        request = LeaseRequest(lease_token=lease_token)
        path = f"/v1/jobs/{segment(job)}/renew"
        response = self._transport.request("POST", path, repeatable=True, json=request, patience=patience)
        return self._transport.parsed(Lease, response)

    def progress(self, job: str, told: ProgressRequest, *, patience: float | None = None) -> None:
        """Say how far a fine-tuning is.

        Raises:
            ConflictError: ``lease_lost``.
        """
        path = f"/v1/jobs/{segment(job)}/progress"
        self._transport.request("POST", path, repeatable=True, json=told, patience=patience)

    def release(self, job: str, lease_token: str, *, patience: float | None = None) -> None:
        """Hand a job back undone."""
        request = LeaseRequest(lease_token=lease_token)
        path = f"/v1/jobs/{segment(job)}/release"
        self._transport.request("POST", path, repeatable=True, json=request, patience=patience)

    def complete(self, job: str, lease_token: str, outcome: Outcome, *, patience: float | None = None) -> None:
        """Hand in a result. The same call again answers the same.

        Raises:
            ConflictError: ``lease_lost``: the result does not count.
        """
        request = CompleteRequest(lease_token=lease_token, outcome=outcome)
        path = f"/v1/jobs/{segment(job)}/complete"
        self._transport.request("POST", path, repeatable=True, json=request, patience=patience)

    def leave(self, worker: str, *, patience: float | None = None) -> None:
        """Say goodbye: what the worker holds is handed back, and its waiting claim ends."""
        path = f"/v1/workers/{segment(worker)}"
        self._transport.request("DELETE", path, repeatable=True, patience=patience)

    def fail(
        self,
        job: str,
        lease_token: str,
        problem: Problem | RankSearchError,
        *,
        retry: bool = False,
        patience: float | None = None,
    ) -> None:
        """Say that a job gives no result; ``retry``: that another attempt might.

        Raises:
            ConflictError: ``lease_lost``.
        """
        if isinstance(problem, RankSearchError):
            problem = Problem.model_validate(problem.to_problem())
        request = FailRequest(lease_token=lease_token, problem=problem, retry=retry)
        path = f"/v1/jobs/{segment(job)}/fail"
        self._transport.request("POST", path, repeatable=True, json=request, patience=patience)
