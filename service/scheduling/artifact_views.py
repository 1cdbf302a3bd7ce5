"""Jobs that make files, as the API answers them and events carry them."""

from __future__ import annotations

from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.artifacts import SUFFIXES, Artifact, ArtifactFormat, ArtifactState, ParityReport
from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.resources import Problem
from ranksearch.contracts.studies import CostShare
from service.scheduling.artifact_kinds import FORMAT_OF, IS_TUNED
from service.scheduling.blob_views import blob_view
from service.scheduling.views import share_view
from service.storage.tables import JobRow, StudyRow

__all__ = ["ARTIFACT_NAME", "artifact_view", "costs_of_trial"]

ARTIFACT_NAME: Final = "compressed.safetensors"
"""The document of the best trial of a completed study."""

_KINDS: Final[dict[ArtifactFormat, Literal["model_document", "torch_program", "onnx_model"]]] = {
    "document": "model_document",
    "pt2": "torch_program",
    "onnx": "onnx_model",
}
_STATES: Final[dict[str, ArtifactState]] = {"done": "ready", "failed": "failed", "cancelled": "failed"}


def artifact_view(session: Session, job: JobRow) -> Artifact:
    """The file that a job makes."""
    study, made = session.get_one(StudyRow, job.study_id), FORMAT_OF[job.kind]
    problem = job.problem if job.state == "failed" else None
    return Artifact(
        id=job.id,
        name=_name(study, job, made),
        tuned=job.kind in IS_TUNED,
        kind=_KINDS[made],
        format=made,
        state=_STATES.get(job.state, "pending"),
        trial=job.trial_number or 0,
        blob=None if job.artifact is None else blob_view(session, job.artifact),
        url=None if job.artifact is None else f"/v1/studies/{job.study_id}/artifacts/{job.id}/content",
        error=None if problem is None else Problem.model_validate(problem),
        parity=_parity(job, problem),
        **costs_of_trial(session, study, job),
    )


def costs_of_trial(session: Session, study: StudyRow, job: JobRow) -> dict[str, CostShare]:
    """What the network of a job's trial costs, by word; nothing where that trial is not known any more."""
    trial = (JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.trial_number == job.trial_number)
    result = session.scalars(select(JobRow.result).where(*trial)).first()
    if result is None:
        return {}
    dense, compressed = Cost.model_validate(study.dense), Cost.model_validate(result["cost"])
    return {
        "macs": share_view(dense.macs, compressed.macs),
        "params": share_view(dense.params, compressed.params),
    }


def _name(study: StudyRow, job: JobRow, made: ArtifactFormat) -> str:
    tuned = job.kind in IS_TUNED
    is_the_answer = study.state == "completed" and (study.best_trial, study.best_tuned) == (job.trial_number, tuned)
    other = f"trial-{job.trial_number}{'-tuned' if tuned else ''}"
    return ("compressed" if is_the_answer else other) + SUFFIXES[made]


def _parity(job: JobRow, problem: dict[str, Any] | None) -> ParityReport | None:
    """As it was measured; of a file that does not agree it stands in the problem."""
    stored = ((problem or {}).get("extra") or {}).get("parity") if problem is not None else job.result
    return None if stored is None else ParityReport.model_validate(stored)
