"""Fine-tunings as the API answers them and events carry them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.finetuning import FineTune, FineTuneState, TuningSummary
from ranksearch.contracts.resources import Problem
from service.scheduling.agreement import kendall_tau
from service.scheduling.blob_views import blob_view
from service.storage.clock import moment
from service.storage.tables import FineTuneRow, JobRow, StudyRow

__all__ = ["chosen_finetune", "finetune_view", "finetunes_of", "is_improved", "loss_of", "tuning_summary"]

_STATES: Mapping[str, FineTuneState] = {
    "leased": "running",
    "done": "ready",
    "failed": "failed",
    "cancelled": "cancelled",
}


def finetunes_of(session: Session, study: StudyRow) -> list[tuple[JobRow, FineTuneRow]]:
    """The fine-tunings of a study with their jobs, by trial."""
    query = select(JobRow, FineTuneRow).join(FineTuneRow, FineTuneRow.job_id == JobRow.id)
    rows = session.execute(query.where(FineTuneRow.study_id == study.id).order_by(JobRow.trial_number))
    return [(job, row) for job, row in rows]


def finetune_view(session: Session, study: StudyRow, job: JobRow, row: FineTuneRow) -> FineTune:
    """One of them."""
    done = row.points[-1]["step"] if row.points else 0
    ready = job.artifact is not None
    return FineTune.model_validate(
        {
            "id": job.id,
            "study": study.id,
            "trial": job.trial_number,
            "state": _STATES.get(job.state, "pending"),
            "recipe": row.plan["recipe"],
            "training": row.plan["training"],
            "step": row.plan["steps"] if ready else done,
            "steps": row.plan["steps"],
            "curve": row.points,
            "before": row.before,
            "after": row.after,
            "dense": row.dense,
            "improved": is_improved(row),
            "chosen": study.best_tuned and study.best_trial == job.trial_number,
            "checkpoint_step": row.checkpoint_step,
            "resumed": row.resumed,
            "attempts": job.attempts,
            "worker": job.worker,
            "artifact": None if job.artifact is None else blob_view(session, job.artifact),
            "url": f"/v1/studies/{study.id}/artifacts/{job.id}/content" if ready else None,
            "error": None if job.problem is None or ready else Problem.model_validate(job.problem),
            "started_at": moment(job.started_at),
            "finished_at": moment(job.finished_at),
        }
    )


def chosen_finetune(session: Session, study: StudyRow) -> FineTune | None:
    """The one whose network is the study's best; None where that is no fine-tuned one."""
    if not study.best_tuned:
        return None
    views = (finetune_view(session, study, job, row) for job, row in finetunes_of(session, study))
    return next((view for view in views if view.chosen), None)


def tuning_summary(session: Session, study: StudyRow) -> TuningSummary | None:
    """What all of them have come to; None where none was asked for."""
    found = finetunes_of(session, study)
    if not found:
        return None
    ready = [(job, row) for job, row in found if job.state == "done" and row.after is not None]
    return TuningSummary(
        asked=len(found),
        ready=len(ready),
        failed=sum(job.state == "failed" for job, _ in found),
        improved=sum(is_improved(row) is True for _, row in ready),
        chosen=study.best_trial if study.best_tuned else None,
        kendall_tau=_agreement(session, study, ready),
    )


def is_improved(row: FineTuneRow) -> bool | None:
    """Whether the training made it better; None where that is not known."""
    if row.before is None or row.after is None:
        return None
    return loss_of(row.after) < loss_of(row.before)


def loss_of(score: Mapping[str, float | None]) -> float:
    """A stored :class:`TuningScore`, so that less is better: minus the accuracy where there is one, else the kl."""
    accuracy = score["accuracy"]
    return float(score["value"] or 0.0) if accuracy is None else -accuracy


def _agreement(session: Session, study: StudyRow, ready: list[tuple[JobRow, FineTuneRow]]) -> float | None:
    """Of the search's proxy, by which it would have chosen, with what came of the training."""
    numbers = [job.trial_number for job, _ in ready]
    measured = (JobRow.study_id == study.id, JobRow.trial_number.in_(numbers), JobRow.kind.in_(("trial", "final")))
    values = select(JobRow.trial_number, JobRow.value).where(*measured, JobRow.value.is_not(None))
    sign = -1.0 if study.metric == "accuracy" else 1.0
    proxy: dict[int | None, float] = {}
    for number, value in session.execute(values.order_by(JobRow.kind.desc())):  # finals come last, and count
        proxy[number] = sign * float(value or 0.0)
    pairs = [(proxy[job.trial_number], loss_of(row.after or {})) for job, row in ready if job.trial_number in proxy]
    return kendall_tau([one for one, _ in pairs], [other for _, other in pairs])
