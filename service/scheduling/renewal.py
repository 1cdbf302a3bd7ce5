"""A job that failed is done again, as if it had never been tried."""

from __future__ import annotations

from service.scheduling.priorities import PRIORITY
from service.storage.tables import JobRow

__all__ = ["wait_anew"]


def wait_anew(job: JobRow) -> None:
    """Have it wait once more, with its attempts counted from the beginning. A trial keeps its number and ranks."""
    job.state, job.attempts, job.crashes = "waiting", 0, 0
    job.crash_reports = job.not_before = job.problem = job.worker = job.done_token = None
    job.started_at = job.finished_at = None
    if job.kind == "trial":
        job.priority, job.told = PRIORITY["handed_back"], job.trial_number is None
