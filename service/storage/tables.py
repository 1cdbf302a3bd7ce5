"""Our tables. All names begin with ``rs_``: Optuna's ``studies``, ``trials`` and others live beside them.

Invariants, kept by the transactions of :mod:`service.scheduling`:

- A job is ``leased`` exactly while it has a ``lease_token``; a late holder of an old token changes nothing.
- A study in a terminal state has no trial, baseline, sensitivity or final job that is ``waiting`` or ``leased``.
- The result of a trial is the one in its job row; Optuna is told afterwards, and ``told`` says that it knows the trial
  as it is. Trials are numbered 0, 1, 2, … without gaps, in the order in which they were planned.
- ``best_job`` is a feasible trial or, once the finalists are measured, the final job of one; ``best_trial`` is its
  number and ``best_value`` its value.
- ``best_tuned``: the best is the fine-tuned network of that trial. Once a fine-tuning changed the best, or might have,
  ``searched_best`` keeps the ``best_job`` that the search had found.
- Final jobs wait or run only while none of their study's trials does, and there is at most one for each trial.
- ``stopped_by`` is set in the transaction that drops the trials that are not to be made: ``cancelled``, unplanned.
- Every model, data set and study belongs to one project and to the user who brought it; what a study refers to
  belongs to the study's project. The same document may be in several projects: it is one blob.
- A paused study has no job that can be claimed; what was leased when it was paused is handed in as usual.
- A token is kept as the sha256 of its secret alone; a revoked or expired one opens nothing.
- Audit events are only ever added.
- Events of a study are numbered 1, 2, 3, … without gaps, in the order in which they were committed. Of a study that
  ended long ago the first ones are gone, up to the one that tells its end.
- A blob's row is there only while the store holds its bytes completely; it may go when nothing refers to it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, validates

from service.storage.finetune_table import FineTuneRow
from service.storage.people_tables import (
    DEFAULT_PROJECT,
    LOCAL_USER,
    AuditRow,
    MemberRow,
    ProjectRow,
    SessionRow,
    TokenRow,
    UserRow,
)
from service.storage.table import Json, Table

__all__ = [
    "DEFAULT_PROJECT",
    "LOCAL_USER",
    "AuditRow",
    "BlobRow",
    "DatasetRow",
    "EventRow",
    "FactorRow",
    "FineTuneRow",
    "HeartbeatRow",
    "IdempotencyRow",
    "JobRow",
    "MemberRow",
    "ModelRow",
    "ProjectRow",
    "SessionRow",
    "StudyRow",
    "Table",
    "TokenRow",
    "UserRow",
    "WorkerRow",
]

_MADE = "artifact IS NOT NULL"


class BlobRow(Table):
    """Bytes that the blob store holds completely.

    ``touched_at`` is when they were last brought or last referred to: what no row refers to is forgotten some time
    after.
    """

    __tablename__ = "rs_blobs"
    __table_args__ = (Index(None, "touched_at"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]
    touched_at: Mapped[float]


class FactorRow(Table):
    """Factors of a layer that a worker has computed, for the whole fleet; ``key`` names all that determines them."""

    __tablename__ = "rs_factors"
    __table_args__ = (Index(None, "used_at"), Index(None, "sha256"))

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("rs_blobs.sha256"))
    created_at: Mapped[float]
    used_at: Mapped[float]


class ModelRow(Table):
    """A model: a model document, or a file that a worker makes one of; ``profile`` once it has inspected it.

    ``sha256`` is what was uploaded. Where that is no document, ``source`` says what it is and, once it is opened, what
    is known of it; ``document`` is what was made of it, and ``summary``, which is of the document, is empty until then.
    """

    __tablename__ = "rs_models"
    __table_args__ = (
        UniqueConstraint("project_id", "sha256"),
        Index(None, "created_at", "id"),
        Index(None, "project_id", "created_at", "id"),
        Index(None, "sha256"),
        Index(None, "document"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    project_id: Mapped[str] = mapped_column(ForeignKey("rs_projects.id"), default=DEFAULT_PROJECT)
    user_id: Mapped[str] = mapped_column(ForeignKey("rs_users.id"), default=LOCAL_USER)
    sha256: Mapped[str] = mapped_column(ForeignKey("rs_blobs.sha256"))
    document: Mapped[str | None] = mapped_column(ForeignKey("rs_blobs.sha256"))
    source: Mapped[Json | None]
    state: Mapped[str] = mapped_column(String(16))
    summary: Mapped[Json]
    profile: Mapped[Json | None] = mapped_column(deferred=True)  # may be megabytes
    problem: Mapped[Json | None]
    created_at: Mapped[float]


class DatasetRow(Table):
    """A data set document."""

    __tablename__ = "rs_datasets"
    __table_args__ = (
        UniqueConstraint("project_id", "sha256"),
        Index(None, "created_at", "id"),
        Index(None, "project_id", "created_at", "id"),
        Index(None, "sha256"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    project_id: Mapped[str] = mapped_column(ForeignKey("rs_projects.id"), default=DEFAULT_PROJECT)
    user_id: Mapped[str] = mapped_column(ForeignKey("rs_users.id"), default=LOCAL_USER)
    sha256: Mapped[str] = mapped_column(ForeignKey("rs_blobs.sha256"))
    summary: Mapped[Json]
    created_at: Mapped[float]


class StudyRow(Table):
    """A study: what was asked for, and how far it is. Its trials are rows of ``rs_jobs``.

    ``paused_seconds`` is how long it has been paused before, ``paused_at`` since when it is now; neither counts for its
    timeout. ``passed_over`` counts how often a study behind it in the queue was served first because the worker held
    that one's model already; it starts anew when the study is served.
    """

    __tablename__ = "rs_studies"
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "project_id", "created_at", "id"),
        Index(None, "state", "user_id"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    project_id: Mapped[str] = mapped_column(ForeignKey("rs_projects.id"), default=DEFAULT_PROJECT)
    user_id: Mapped[str] = mapped_column(ForeignKey("rs_users.id"), default=LOCAL_USER)
    model_id: Mapped[str] = mapped_column(ForeignKey("rs_models.id"))
    priority: Mapped[int] = mapped_column(default=0)
    max_parallel: Mapped[int | None]
    requirements: Mapped[Json | None]
    failures_in_row: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    pause_reason: Mapped[str | None] = mapped_column(Text)
    paused_at: Mapped[float | None]
    paused_seconds: Mapped[float] = mapped_column(default=0.0)
    passed_over: Mapped[int] = mapped_column(default=0)
    problem: Mapped[Json | None]
    request: Mapped[Json]
    metric: Mapped[str] = mapped_column(String(16))
    limits: Mapped[Json]
    dense: Mapped[Json]
    n_trials: Mapped[int]
    optuna_study: Mapped[str] = mapped_column(String(200), unique=True)
    best_job: Mapped[str | None] = mapped_column(String(32))
    best_trial: Mapped[int | None]
    best_value: Mapped[float | None]
    best_tuned: Mapped[bool] = mapped_column(default=False)
    searched_best: Mapped[str | None] = mapped_column(String(32))
    dense_result: Mapped[Json | None]
    sensitivity: Mapped[Json | None] = mapped_column(deferred=True)  # of use to planning alone
    stopped_by: Mapped[str | None] = mapped_column(String(16))
    last_event: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class JobRow(Table):
    """Something a worker does: an inspection, a baseline, a sensitivity table, a trial, a final, a file, a training.

    ``priority`` orders the queue, then ``queued_at`` (its study's age), then ``ordinal``. A trial's ``ordinal`` is
    fixed when its study is made; ``trial_number`` is Optuna's, known once the trial is planned. A final measures a
    finalist again and has its trial's number and ranks. ``guide`` is what the search follows: smaller is better, 0 is
    the dense network. ``feasible`` says whether the bounds that are measured are kept.

    ``attempts`` counts claims that were not handed back, ``crashes`` those whose worker or evaluating process died, and
    ``crash_reports`` says which worker that was and what was seen; ``not_before`` is when a waiting job may be claimed
    again. ``leased_at`` is when the present lease was given: from then on its user is charged.

    Of a file that a study hands out (kinds ``compress``, ``pt2``, ``onnx``, and of the fine-tuned network ``finetune``,
    ``tuned_pt2``, ``tuned_onnx``, one of each for a trial) ``artifact`` is the blob and ``result`` the parity report.
    What is made from another one's file is ``held`` until that is there.

    Of a latency report (kind ``latency``, one for a trial) ``result`` is what is to be measured and, once that is done,
    the report.

    Its states: ``held``, ``waiting``, ``leased``, ``done``, ``pruned`` (a trial that lost its race), ``failed``,
    ``cancelled``.
    """

    __tablename__ = "rs_jobs"
    __table_args__ = (
        UniqueConstraint("study_id", "kind", "ordinal"),
        UniqueConstraint("study_id", "kind", "trial_number"),
        Index(None, "state", "priority", "queued_at", "ordinal"),
        Index(None, "state", "lease_expires_at"),
        Index(None, "study_id", "kind", "state"),
        Index(None, "study_id", "kind", "finished_at"),
        Index(None, "study_id", "state", "priority", "ordinal"),
        Index(None, "told", "state"),
        Index(None, "worker", "finished_at"),
        Index(None, "artifact", sqlite_where=text(_MADE), postgresql_where=text(_MADE)),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int]
    queued_at: Mapped[float]
    ordinal: Mapped[int]
    study_id: Mapped[str | None] = mapped_column(ForeignKey("rs_studies.id"))
    model_id: Mapped[str] = mapped_column(ForeignKey("rs_models.id"))

    trial_number: Mapped[int | None]
    origin: Mapped[str | None] = mapped_column(String(16))
    positions: Mapped[list[int] | None]
    ranks: Mapped[Json | None]
    planned_macs: Mapped[int | None] = mapped_column(BigInteger)
    planned_params: Mapped[int | None] = mapped_column(BigInteger)

    attempts: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    crash_reports: Mapped[list[Json] | None]
    not_before: Mapped[float | None]
    worker: Mapped[str | None] = mapped_column(String(100))
    lease_token: Mapped[str | None] = mapped_column(String(64))
    leased_at: Mapped[float | None]
    lease_expires_at: Mapped[float | None]
    done_token: Mapped[str | None] = mapped_column(String(64))

    value: Mapped[float | None]
    guide: Mapped[float | None]
    feasible: Mapped[bool | None]
    result: Mapped[Json | None]
    problem: Mapped[Json | None]
    artifact: Mapped[str | None] = mapped_column(ForeignKey("rs_blobs.sha256"))
    told: Mapped[bool] = mapped_column(default=True)

    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]

    @validates("state")
    def _has_news(self, _name: str, state: str) -> str:
        """Whatever becomes of a planned trial, Optuna does not know it yet."""
        if self.kind == "trial" and self.trial_number is not None:
            self.told = False
        return state


class EventRow(Table):
    """What happened to a study, as its watchers saw it."""

    __tablename__ = "rs_events"

    study_id: Mapped[str] = mapped_column(ForeignKey("rs_studies.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16))
    data: Mapped[Json]
    created_at: Mapped[float]


class WorkerRow(Table):
    """An agent that has asked for work.

    ``holds`` are the sha256 of the models it has in memory; ``draining``: it is to finish what it does and take no
    more; ``sandbox``: what confines its evaluating process, and what does not.
    """

    __tablename__ = "rs_workers"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    device: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(50))
    last_seen_at: Mapped[float]
    left: Mapped[bool] = mapped_column(default=False, doc="said goodbye; asks for nothing any more")
    draining: Mapped[bool] = mapped_column(default=False)
    labels: Mapped[Json] = mapped_column(default=dict)
    holds: Mapped[list[str]] = mapped_column(default=list)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sandbox: Mapped[list[Json]] = mapped_column(default=list)


class HeartbeatRow(Table):
    """When something that some replica of the service does again and again was last done."""

    __tablename__ = "rs_heartbeats"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    at: Mapped[float]


class IdempotencyRow(Table):
    """A request's key, and what it made: a study, or the job that was asked for. Two projects may use the same key."""

    __tablename__ = "rs_idempotency_keys"

    project_id: Mapped[str] = mapped_column(ForeignKey("rs_projects.id"), primary_key=True, default=DEFAULT_PROJECT)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    study_id: Mapped[str] = mapped_column(ForeignKey("rs_studies.id"))
    job_id: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[float]
