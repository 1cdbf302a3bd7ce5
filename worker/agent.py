"""The agent: claims a job, has it evaluated under a lease, hands the outcome in, until it is told to stop."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ranksearch.contracts.errors import (
    ConflictError,
    EvaluationError,
    NotFoundError,
    RankSearchError,
    UnavailableError,
)
from ranksearch.contracts.jobs import (
    ClaimRequest,
    CompressOutcome,
    ExportOutcome,
    FineTuneOutcome,
    InspectOutcome,
    Job,
    Outcome,
    Task,
)
from ranksearch.contracts.loglines import logged_with
from ranksearch.contracts.resources import Blob
from worker.blob_cache import BlobCache, Downloads
from worker.evaluator import EvaluationFailed, Evaluator, Interrupted
from worker.leases import LeaseKeeper, Renews
from worker.training_reports import ProgressApi, TrainingReports

__all__ = ["Agent", "BlobsApi", "JobsApi"]

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_HAND_BACK_SECONDS = 3.0
_DRAINED_PAUSE_SECONDS = 5.0


class JobsApi(Renews, ProgressApi, Protocol):
    """What the agent needs of ``client.jobs``.

    With ``patience=0`` a call is made once: the agent does the trying again, since it also has to listen for its stop.
    """

    def claim(
        self, request: ClaimRequest, *, patience: float | None = None, draining: Callable[[bool], None] | None = None
    ) -> Job | None:
        """A job under a fresh lease, or None when there was none in ``wait_seconds``.

        ``draining`` is told whether this worker is to take no jobs for now.
        """

    def release(self, job: str, lease_token: str, *, patience: float | None = None) -> None:
        """Hand a job back undone; the attempt does not count."""

    def complete(self, job: str, lease_token: str, outcome: Outcome, *, patience: float | None = None) -> None:
        """Hand an outcome in."""

    def leave(self, worker: str, *, patience: float | None = None) -> None:
        """Say goodbye: what the worker holds is handed back, and its waiting claim ends."""

    def fail(
        self,
        job: str,
        lease_token: str,
        problem: RankSearchError,
        *,
        retry: bool = False,
        patience: float | None = None,
    ) -> None:
        """Say that the job gave no result."""


class BlobsApi(Downloads, Protocol):
    """What the agent needs of ``client.blobs``."""

    def upload(self, path: Path) -> str:
        """Store a file; its sha256."""


class Agent:
    """One agent, one evaluating child, one job at a time.

    Args:
        jobs: claims and completions.
        blobs: documents on their way out.
        cache: documents on their way in.
        evaluator: runs the tasks.
        claim: who this worker is and how long a claim may wait for work.
        exit_when_drained: end once the service says that this worker is draining, instead of waiting for the
            contrary.
        share: told the keys of factors that a task has used and that others may want.
    """

    def __init__(
        self,
        jobs: JobsApi,
        blobs: BlobsApi,
        cache: BlobCache,
        evaluator: Evaluator,
        claim: ClaimRequest,
        *,
        exit_when_drained: bool = False,
        share: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._evaluator = evaluator
        self._claim = claim
        self._cache = cache
        self._exit_when_drained = exit_when_drained
        self._share = share
        self._stopping = threading.Event()
        self._claiming = False
        self._draining = False

    def stop(self) -> None:
        """Finish as soon as possible; the job in hand goes back to the service. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Work until :meth:`stop`, or until drained where that ends this agent.

        Raises:
            RankSearchError: the service refuses this worker for good, as with a wrong token or an old version.
        """
        pause = _FIRST_PAUSE_SECONDS
        threading.Thread(target=self._end_waiting_claim, name="goodbye", daemon=True).start()
        try:
            while not self._stopping.is_set():
                try:
                    self._claiming = True
                    claim = self._claim.model_copy(update={"holds": self._evaluator.holds})
                    job = self._jobs.claim(claim, patience=0, draining=self._told)
                except UnavailableError as error:
                    why = "" if error.got is None else f" ({error.got})"
                    log.warning("%s%s; trying again in %.1f s", error.detail, why, pause)
                    # Jitter: a fleet that lost its service must not come back in one beat.
                    self._stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                    continue
                finally:
                    self._claiming = False
                pause = _FIRST_PAUSE_SECONDS
                if job is not None:
                    self._do(job)
                elif self._draining:
                    if self._exit_when_drained:
                        log.info("%s is drained: done", self._claim.name)
                        break
                    self._stopping.wait(_DRAINED_PAUSE_SECONDS)  # the service answers such claims at once
            self._leave()
        finally:
            self._evaluator.stop()

    def _told(self, draining: bool) -> None:  # noqa: FBT001 - told by position
        if draining is not self._draining:
            log.info("%s %s", self._claim.name, "is draining: no more jobs" if draining else "takes jobs")
        self._draining = draining

    def _end_waiting_claim(self) -> None:
        """A claim that waits for work cannot be interrupted from here: when the stop comes, have the service end it."""
        self._stopping.wait()
        if self._claiming:
            self._leave()

    def _leave(self) -> None:
        try:
            self._jobs.leave(self._claim.worker, patience=_HAND_BACK_SECONDS)
        except RankSearchError as error:  # then leases expire, and the worker counts as away after a while
            log.warning("could not say goodbye: %s", error.detail)

    def _do(self, job: Job) -> None:
        with (
            logged_with(job=job.id, kind=job.task.kind, study=job.study, trial=job.trial, worker=self._claim.worker),
            LeaseKeeper(self._jobs, job) as lease,
            self._evaluator.output() as output,
        ):
            log.info("claimed", extra={"attempt": job.attempt})
            try:
                outcome = self._evaluate(job, output, lease)
            except Interrupted:
                if not lease.lost:
                    self._hand_back(job)
            except EvaluationFailed as failed:
                self._report_failure(job, failed.error, retry=failed.retry, lease=lease)
            except RankSearchError as error:  # a blob that is gone, a full disk here: not the model's fault
                self._report_failure(job, error, retry=True, lease=lease)
            except OSError as error:
                full = EvaluationError(
                    "evaluation_failed",
                    f"the worker could not read or write its files: {error}",
                    mend="make room or choose another --cache-dir",
                )
                self._report_failure(job, full, retry=True, lease=lease)
            else:
                token = job.lease.token
                self._deliver(job, lease, lambda: self._jobs.complete(job.id, token, outcome, patience=0))

    def _evaluate(self, job: Job, output: Path, lease: LeaseKeeper) -> Outcome:
        task = job.task
        with self._cache.holding(blobs_of(task)) as files:
            outcome = self._evaluator.run(
                job.task,
                files,
                output,
                unwanted=lambda: lease.lost or self._stopping.is_set(),
                advanced=TrainingReports(self._jobs, self._blobs, self._evaluator.collected, job, output).tell,
            )
        if self._share is not None:
            self._share(self._evaluator.factors)
        if isinstance(outcome, CompressOutcome | ExportOutcome | FineTuneOutcome) and outcome.kind == task.kind:
            with self._evaluator.collected(output / outcome.sha256) as made:
                outcome = outcome.model_copy(update={"sha256": self._blobs.upload(made)})
        if isinstance(outcome, InspectOutcome) and outcome.translation is not None:
            with self._evaluator.collected(output / outcome.translation.sha256) as made:
                translation = outcome.translation.model_copy(update={"sha256": self._blobs.upload(made)})
            outcome = outcome.model_copy(update={"translation": translation})
        return outcome

    def _hand_back(self, job: Job) -> None:
        try:
            self._jobs.release(job.id, job.lease.token, patience=_HAND_BACK_SECONDS)
        except RankSearchError as error:  # then the lease expires and the job goes on elsewhere
            log.warning("could not hand back job %s: %s", job.id, error.detail)

    def _report_failure(self, job: Job, error: RankSearchError, *, retry: bool, lease: LeaseKeeper) -> None:
        log.warning("job %s failed: %s", job.id, error.detail)
        token = job.lease.token
        self._deliver(job, lease, lambda: self._jobs.fail(job.id, token, error, retry=retry, patience=0))

    def _deliver(self, job: Job, lease: LeaseKeeper, send: Callable[[], None]) -> None:
        """Hand something in, for as long as the lease may still be ours: a result costs more than a retry."""
        pause = _FIRST_PAUSE_SECONDS
        while not lease.lost:
            try:
                send()
            except UnavailableError as error:
                log.warning("could not hand in job %s, trying on: %s", job.id, error.detail)
                if self._stopping.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            except (ConflictError, NotFoundError) as error:
                log.warning("job %s: the outcome is not wanted any more: %s", job.id, error.detail)
                return
            except RankSearchError as error:
                log.error("job %s: the service refused the outcome: %s", job.id, error)  # noqa: TRY400 - its traceback says nothing
                return
            else:
                return


def blobs_of(task: Task) -> list[Blob]:
    """Every blob a task names."""
    selections = (getattr(task, role, None) for role in ("calibration", "training", "validation"))
    documents = (getattr(task, name, None) for name in ("document", "checkpoint"))
    blobs = [task.model, *(selection.blob for selection in selections if selection is not None)]
    return [*blobs, *(document for document in documents if document is not None)]
