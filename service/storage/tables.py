"""Our tables. All names begin with ``rs_``: Optuna's ``studies``, ``trials`` and others live beside them.

Invariants, kept by the transactions of :mod:`service.scheduling`:

- A job is ``leased`` exactly while it has a ``lease_token``; a late holder of an old token changes nothing.
- A study in a terminal state has no trial, baseline, sensitivity or final job that is ``waiting`` or ``leased``.
- The result of a trial is the one in its job row; Optuna is told afterwards, and ``told`` says that it was.
- ``best_job`` is a feasible trial or, once the finalists are measured, the final job of one; ``best_trial`` is its
  number and ``best_value`` its value.
- A study has final jobs only once none of its trials waits or is leased, and at most one for each trial.
- ``stopped_by`` is set in the transaction that drops the trials that are not to be made: ``cancelled``, unplanned.
- Events of a study are numbered 1, 2, 3, … without gaps, in the order in which they were committed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "BlobRow",
    "DatasetRow",
    "EventRow",
    "IdempotencyRow",
    "JobRow",
    "ModelRow",
    "StudyRow",
    "Table",
    "WorkerRow",
]

Json = dict[str, Any]


class Table(DeclarativeBase):
    """Base of the service's tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own way to declare it
        float: Double,
        Json: JSON(none_as_null=True),
        list[int]: JSON(none_as_null=True),
    }


class BlobRow(Table):
    """Bytes that the blob store holds completely."""

    __tablename__ = "rs_blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]


class ModelRow(Table):
    """A model document; ``profile`` once a worker has inspected it."""

    __tablename__ = "rs_models"
    __table_args__ = (Index(None, "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(ForeignKey("rs_blobs.sha256"), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    summary: Mapped[Json]
    profile: Mapped[Json | None] = mapped_column(deferred=True)  # may be megabytes
    problem: Mapped[Json | None]
    created_at: Mapped[float]


class DatasetRow(Table):
    """A data set document."""

    __tablename__ = "rs_datasets"
    __table_args__ = (Index(None, "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(ForeignKey("rs_blobs.sha256"), unique=True)
    summary: Mapped[Json]
    created_at: Mapped[float]


class StudyRow(Table):
    """A study: what was asked for, and how far it is. Its trials are rows of ``rs_jobs``."""

    __tablename__ = "rs_studies"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "state"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    model_id: Mapped[str] = mapped_column(ForeignKey("rs_models.id"))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
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
    dense_result: Mapped[Json | None]
    sensitivity: Mapped[Json | None] = mapped_column(deferred=True)  # of use to planning alone
    stopped_by: Mapped[str | None] = mapped_column(String(16))
    last_event: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class JobRow(Table):
    """Something a worker does: an inspection, a baseline, a sensitivity table, a trial, a final or a compression.

    ``priority`` orders the queue, then ``queued_at`` (its study's age), then ``ordinal``. A trial's ``ordinal`` is
    fixed when its study is made; ``trial_number`` is Optuna's, known once the trial is planned. A final measures a
    finalist again and has its trial's number and ranks. ``guide`` is what the search follows: smaller is better, 0 is
    the dense network. ``feasible`` says whether the bounds that are measured are kept.

    Its states: ``waiting``, ``leased``, ``done``, ``pruned`` (a trial that lost its race), ``failed``, ``cancelled``.
    """

    __tablename__ = "rs_jobs"
    __table_args__ = (
        UniqueConstraint("study_id", "kind", "ordinal"),
        UniqueConstraint("study_id", "kind", "trial_number"),
        Index(None, "state", "priority", "queued_at", "ordinal"),
        Index(None, "state", "lease_expires_at"),
        Index(None, "study_id", "kind", "state"),
        Index(None, "told", "state"),
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
    worker: Mapped[str | None] = mapped_column(String(100))
    lease_token: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[float | None]
    done_token: Mapped[str | None] = mapped_column(String(64))

    value: Mapped[float | None]
    guide: Mapped[float | None]
    feasible: Mapped[bool | None]
    result: Mapped[Json | None]
    problem: Mapped[Json | None]
    artifact: Mapped[str | None] = mapped_column(ForeignKey("rs_blobs.sha256"))
    told: Mapped[bool] = mapped_column(default=False)

    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class EventRow(Table):
    """What happened to a study, as its watchers saw it."""

    __tablename__ = "rs_events"

    study_id: Mapped[str] = mapped_column(ForeignKey("rs_studies.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16))
    data: Mapped[Json]
    created_at: Mapped[float]


class WorkerRow(Table):
    """An agent that has asked for work."""

    __tablename__ = "rs_workers"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    device: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(50))
    last_seen_at: Mapped[float]
    left: Mapped[bool] = mapped_column(default=False, doc="said goodbye; asks for nothing any more")


class IdempotencyRow(Table):
    """A submission's key, and the study that it made."""

    __tablename__ = "rs_idempotency_keys"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    study_id: Mapped[str] = mapped_column(ForeignKey("rs_studies.id"))
    created_at: Mapped[float]
