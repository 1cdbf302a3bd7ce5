"""The latency reports of a study: asked for, listed, and found."""

from __future__ import annotations

from sqlalchemy import select

from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.latency import LatencyComparison, LatencyRequest
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.backend import Backend
from service.scheduling.latency_orders import order_latency
from service.scheduling.latency_views import latency_view
from service.scheduling.requested_kinds import LATENCY
from service.scheduling.trial_requests import ask_of_trial
from service.storage.races import again_when_raced
from service.storage.tables import JobRow

__all__ = ["ask_for_latency", "latencies", "latency"]


@again_when_raced
def ask_for_latency(
    backend: Backend, caller: Principal, study_id: str, wanted: LatencyRequest, key: str | None = None
) -> LatencyComparison:
    """Have the latency of a complete trial measured, whatever state its study is in.

    Args:
        backend: the stores.
        caller: who asks.
        study_id: whose trial.
        wanted: which trial, and the settings.
        key: the request's idempotency key: with it, "the best" stays the trial that it was, and ``again`` is once.

    Raises:
        NotFoundError: no such study or trial, or no best one yet.
        ConflictError: ``trial_not_complete``, ``latency_in_progress``.
        InputError: ``idempotency_mismatch``.
    """
    return ask_of_trial(
        backend,
        caller,
        study_id,
        wanted,
        key,
        what="latency",
        trial=wanted.trial,
        order=lambda session, study, trial: order_latency(session, study, trial, wanted),
        view=latency_view,
    )


def latencies(backend: Backend, caller: Principal, study_id: str) -> Page[LatencyComparison]:
    """A study's reports, by trial.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        existing_study(session, caller, study_id)
        of_study = (JobRow.study_id == study_id, JobRow.kind == LATENCY)
        rows = session.scalars(select(JobRow).where(*of_study).order_by(JobRow.trial_number))
        return Page(items=[latency_view(session, job) for job in rows])


def latency(backend: Backend, caller: Principal, study_id: str, latency_id: str) -> LatencyComparison:
    """One of them.

    Raises:
        NotFoundError: no such study, or no such report of it.
    """
    with backend.reading() as session:
        study = existing_study(session, caller, study_id)
        job = session.get(JobRow, latency_id)
        if job is None or job.study_id != study.id or job.kind != LATENCY:
            raise NotFoundError(
                "latency_not_found",
                "this study has no such latency report",
                got=latency_id,
                expected="the id of one of the list",
                mend="POST to the list has one made",
            )
        return latency_view(session, job)
