"""Which network a study hands out as its best, once some of its trials are fine-tuned.

Works in its caller's transaction, with the study locked.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.scheduling.finals import take_as_best
from service.scheduling.finetune_views import finetunes_of, loss_of
from service.scheduling.verdicts import goal_of
from service.storage.tables import FineTuneRow, JobRow, StudyRow

__all__ = ["choose_network", "forget_choice"]


@dataclass(frozen=True)
class _Candidate:
    """A network that could be handed out; less is better, and of equals the one that was not trained."""

    loss: float
    tuned: bool
    is_other: bool
    number: int

    @property
    def order(self) -> tuple[float, bool, bool, int]:
        return self.loss, self.tuned, self.is_other, self.number


def choose_network(session: Session, study: StudyRow) -> bool:
    """Take the network that is best on the validation images, by what was measured after fine-tuning and before.

    Between trials is chosen where the study is after the best proxy alone: where a cost is an objective, too, a
    larger network would win by its size, so there only the search's own best is looked at, trained and untrained.

    Args:
        session: of the transaction.
        study: locked; nothing is chosen before its search is complete.

    Returns:
        Whether another network is the best now.
    """
    if study.state != "completed" or study.best_job is None:
        return False
    if study.searched_best is None:
        study.searched_best = study.best_job
    found = session.get_one(JobRow, study.searched_best)
    ready = [(job, row) for job, row in finetunes_of(session, study) if job.state == "done" and row.after is not None]
    if goal_of(study).request.objectives != ["proxy"]:
        ready = [(job, row) for job, row in ready if job.trial_number == found.trial_number]
    before = study.best_trial, study.best_tuned
    candidates = _candidates(found, ready)
    if not candidates:
        take_as_best(study, found)
        study.best_tuned = False
        return before != (study.best_trial, study.best_tuned)
    best = min(candidates, key=lambda one: one.order)
    take_as_best(study, found if not best.is_other else _measured(session, study, best.number))
    study.best_tuned = best.tuned
    return before != (study.best_trial, study.best_tuned)


def forget_choice(study: StudyRow) -> None:
    """The study searches again: its best is what that finds."""
    study.best_tuned, study.searched_best = False, None


def _candidates(found: JobRow, ready: list[tuple[JobRow, FineTuneRow]]) -> list[_Candidate]:
    """None where the search's own best was not measured on the same images, so that there is nothing to compare."""
    candidates = []
    for job, row in ready:
        number, is_other = job.trial_number or 0, job.trial_number != found.trial_number
        for score, tuned in ((row.after, True), (row.before, False)):
            if score is not None:
                candidates.append(_Candidate(loss_of(score), tuned, is_other, number))
    if not candidates or any(not one.is_other for one in candidates):
        return candidates
    loss = _loss_of_found(found, ready[0][1])
    return (
        []
        if loss is None
        else [*candidates, _Candidate(loss, tuned=False, is_other=False, number=found.trial_number or 0)]
    )


def _loss_of_found(found: JobRow, row: FineTuneRow) -> float | None:
    measured, score = found.result or {}, row.before or {}
    if measured.get("images") != score.get("images"):
        return None
    word = "kl" if score.get("accuracy") is None else "accuracy"
    value = measured.get(word)
    return None if value is None else loss_of({"accuracy": value if word == "accuracy" else None, "value": value})


def _measured(session: Session, study: StudyRow, number: int) -> JobRow:
    """The trial's job, or its measurement as a finalist."""
    kinds = (JobRow.kind.in_(("trial", "final")), JobRow.state == "done", JobRow.trial_number == number)
    jobs = session.scalars(select(JobRow).where(JobRow.study_id == study.id, *kinds).order_by(JobRow.kind))
    return jobs.first() or session.get_one(JobRow, study.searched_best)
