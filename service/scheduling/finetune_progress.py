"""A worker tells how far a training is, and where it can be taken up again."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from ranksearch.contracts.errors import InputError, NotFoundError
from ranksearch.contracts.finetuning import CURVE_POINTS, ProgressRequest, TuningPoint
from ranksearch.contracts.jobs import FineTuneOutcome
from service.scheduling.artifact_kinds import FINETUNE
from service.scheduling.backend import Backend
from service.scheduling.blob_rows import hold
from service.scheduling.events import finetune_event, study_event
from service.scheduling.finetune_choice import choose_network
from service.scheduling.leases import held, study_of
from service.storage.races import again_when_raced
from service.storage.tables import FineTuneRow, JobRow, StudyRow

__all__ = ["take_progress", "trained"]

_MOST_POINTS = 4 * CURVE_POINTS


@again_when_raced
def take_progress(backend: Backend, job_id: str, told: ProgressRequest) -> None:
    """Note it, and tell the study's watchers. The same report again adds no point twice.

    A training that got as far as another checkpoint counts its attempts from there: what is interrupted now and then
    must not fail for having been at it for long.

    Raises:
        NotFoundError: no such job, or the checkpoint was not uploaded.
        ConflictError: ``lease_lost``.
        InputError: the job is no fine-tuning.
    """
    with backend.writing() as session:
        study = study_of(session, job_id)
        job = held(session, job_id, told.lease_token)
        row = session.get(FineTuneRow, job_id) if job.kind == FINETUNE else None
        if study is None or row is None:
            raise InputError(
                "invalid_request", "only a fine-tuning has progress", got=f"a job of kind {job.kind}", expected=FINETUNE
            )
        if told.resumed_at is not None:
            row.resumed += 1
            row.points = [point for point in row.points if point["step"] <= told.resumed_at]
        elif _begins_anew(row, told):
            row.points = []
        row.points = _joined(row.points, told.points)
        for name in ("before", "dense"):
            score = getattr(told, name)
            if score is not None:
                setattr(row, name, score.model_dump(mode="json"))
        if told.checkpoint is not None:
            _take_checkpoint(session, job, row, told.checkpoint, told.checkpoint_step)
        finetune_event(session, study, job)


def trained(session: Session, study: StudyRow, job: JobRow, outcome: FineTuneOutcome) -> None:
    """It is done: what it was before and is after, and which network is the study's best now.

    In the transaction that takes the outcome in, with the study locked; the checkpoint is of no more use.
    """
    row = session.get_one(FineTuneRow, job.id)
    row.before, row.after, row.dense = (
        score.model_dump(mode="json") for score in (outcome.before, outcome.after, outcome.dense)
    )
    row.checkpoint = row.checkpoint_step = None
    session.flush()
    choose_network(session, study)
    finetune_event(session, study, job)
    study_event(session, study)


def _begins_anew(row: FineTuneRow, told: ProgressRequest) -> bool:
    """The first report of an attempt, which tells what was measured before it, without a checkpoint to go on from."""
    return told.before is not None and row.checkpoint is None


def _joined(points: list[dict[str, Any]], new: list[TuningPoint]) -> list[dict[str, Any]]:
    last = points[-1]["step"] if points else 0
    joined = [*points, *(point.model_dump(mode="json") for point in new if point.step > last)]
    return joined[-_MOST_POINTS:]


def _take_checkpoint(session: Session, job: JobRow, row: FineTuneRow, sha256: str, step: int | None) -> None:
    if not hold(session, sha256):
        raise NotFoundError(
            "blob_not_found",
            "the checkpoint is not here",
            got=sha256,
            mend=f"upload it first: PUT /v1/blobs/{sha256}",
        )
    if row.checkpoint != sha256:
        row.checkpoint, row.checkpoint_step = sha256, step
        job.attempts, job.crashes = 1, 0
