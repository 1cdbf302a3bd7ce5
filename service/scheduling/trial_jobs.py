"""Jobs that do something more with a trial that is complete."""

from __future__ import annotations

from typing import Any

from service.scheduling.priorities import PRIORITY
from service.storage.identifiers import new_id
from service.storage.tables import JobRow, StudyRow

__all__ = ["new_trial_job"]


def new_trial_job(study: StudyRow, trial: JobRow, kind: str, **members: Any) -> JobRow:  # noqa: ANN401 - columns
    """One that waits, with the trial's number and ranks; it has its turn as if it were as old as the study.

    Args:
        study: that the trial is of.
        trial: complete.
        kind: of the job.
        members: what it has besides.
    """
    return JobRow(
        id=new_id("job"),
        kind=kind,
        state="waiting",
        priority=PRIORITY[kind],
        queued_at=study.created_at,
        ordinal=trial.trial_number,
        study_id=study.id,
        model_id=study.model_id,
        trial_number=trial.trial_number,
        ranks=trial.ranks,
        told=True,
        **members,
    )
