"""The files that a study hands out: asked for, listed, and found for their download."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.artifacts import Artifact, ArtifactRequest
from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import ConflictError, NotFoundError
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.artifact_kinds import ARTIFACT_KINDS, FINETUNE, kind_of
from service.scheduling.artifact_orders import order
from service.scheduling.artifact_views import ARTIFACT_NAME, artifact_view
from service.scheduling.backend import Backend
from service.scheduling.trial_requests import ask_of_trial
from service.storage.races import again_when_raced
from service.storage.tables import JobRow, StudyRow

__all__ = ["artifact", "artifacts", "ask_for_artifact", "ready_artifact"]


@again_when_raced
def ask_for_artifact(
    backend: Backend, caller: Principal, study_id: str, wanted: ArtifactRequest, key: str | None = None
) -> Artifact:
    """Have a file made of a complete trial, whatever state its study is in. Asked for again, it is the same one.

    Args:
        backend: the stores.
        caller: who asks.
        study_id: whose trial.
        wanted: which trial, and which format.
        key: the request's idempotency key: with it, "the best" stays the trial that it was.

    Raises:
        NotFoundError: no such study or trial, or no best one yet.
        ConflictError: ``trial_not_complete``, ``not_finetuned``.
        InputError: ``idempotency_mismatch``.
    """
    return ask_of_trial(
        backend,
        caller,
        study_id,
        wanted,
        key,
        what="artifact",
        trial=wanted.trial,
        order=lambda session, study, trial: _ordered(session, study, trial, wanted),
        view=artifact_view,
    )


def artifacts(backend: Backend, caller: Principal, study_id: str) -> Page[Artifact]:
    """A study's artifacts, by trial, the document of each first.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        existing_study(session, caller, study_id)
        rows = session.scalars(select(JobRow).where(JobRow.study_id == study_id, JobRow.kind.in_(ARTIFACT_KINDS)))
        ordered = sorted(rows, key=lambda job: (job.trial_number or 0, ARTIFACT_KINDS.index(job.kind)))
        return Page(items=[artifact_view(session, job) for job in ordered])


def artifact(backend: Backend, caller: Principal, study_id: str, artifact_id: str) -> Artifact:
    """One of them.

    Raises:
        NotFoundError: no such study, or no such artifact of it.
    """
    with backend.reading() as session:
        study = existing_study(session, caller, study_id)
        return artifact_view(session, _existing(session, study, artifact_id))


def ready_artifact(backend: Backend, caller: Principal, study_id: str, artifact_id: str | None) -> tuple[str, str]:
    """The sha256 of an artifact that can be downloaded, and the name of its file; None: the best trial's document.

    Raises:
        NotFoundError: no such study, or no such artifact yet.
    """
    with backend.reading() as session:
        study = existing_study(session, caller, study_id)
        job = _of_the_best(session, study) if artifact_id is None else _existing(session, study, artifact_id)
        if job is None:
            raise _missing(ARTIFACT_NAME)
        found = artifact_view(session, job)
    if found.blob is None:
        raise _missing(f"{found.name}, {found.state}")
    return found.blob.sha256, found.name


def _ordered(session: Session, study: StudyRow, trial: JobRow, wanted: ArtifactRequest) -> JobRow:
    return order(session, study, trial, kind_of(wanted.format, tuned=_is_tuned(session, study, trial, wanted)))


def _is_tuned(session: Session, study: StudyRow, trial: JobRow, wanted: ArtifactRequest) -> bool:
    """Whether the fine-tuned network is meant, which must have been asked for."""
    if wanted.tuned is None:
        return wanted.trial is None and study.best_tuned
    if wanted.tuned:
        of_trial = (JobRow.study_id == study.id, JobRow.kind == FINETUNE, JobRow.trial_number == trial.trial_number)
        if session.scalars(select(JobRow.id).where(*of_trial)).first() is None:
            raise ConflictError(
                "not_finetuned",
                f"trial {trial.trial_number} was not fine-tuned",
                expected="a trial that is, or is being",
                mend=f'have it done: POST /v1/studies/{study.id}/finetunes {{"trials": [{trial.trial_number}]}}',
            )
    return wanted.tuned


def _existing(session: Session, study: StudyRow, artifact_id: str) -> JobRow:
    job = session.get(JobRow, artifact_id)
    if job is None or job.study_id != study.id or job.kind not in ARTIFACT_KINDS:
        raise _missing(artifact_id)
    return job


def _of_the_best(session: Session, study: StudyRow) -> JobRow | None:
    """The document of its answer: while it still searches, there is none."""
    if study.state != "completed":
        return None
    kind = kind_of("document", tuned=study.best_tuned)
    of_best = (JobRow.study_id == study.id, JobRow.kind == kind, JobRow.trial_number == study.best_trial)
    return session.scalars(select(JobRow).where(*of_best)).first()


def _missing(got: str) -> NotFoundError:
    return NotFoundError(
        "artifact_not_found",
        "this study has no such artifact, or not yet",
        got=got,
        expected="the id of one that is ready",
        mend="the list says which there are, and how far; POST to it has one made",
    )
