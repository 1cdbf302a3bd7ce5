"""The table of fine-tunings; a part of :mod:`.tables`."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.table import Json, Table

__all__ = ["FineTuneRow"]


class FineTuneRow(Table):
    """What the job of a fine-tuning (kind ``finetune``) is to do, how far it is, and what came of it.

    ``plan`` is the recipe, the training images and how many steps that makes; ``points`` the loss curve so far.
    ``checkpoint`` is where the training is taken up again, ``checkpoint_step`` which step that is.
    """

    __tablename__ = "rs_finetunes"
    __table_args__ = (Index(None, "study_id"), Index(None, "dataset_id"), Index(None, "checkpoint"))

    job_id: Mapped[str] = mapped_column(ForeignKey("rs_jobs.id"), primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("rs_studies.id"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("rs_datasets.id"))
    plan: Mapped[Json]
    points: Mapped[list[Json]] = mapped_column(default=list)
    before: Mapped[Json | None]
    after: Mapped[Json | None]
    dense: Mapped[Json | None]
    checkpoint: Mapped[str | None] = mapped_column(ForeignKey("rs_blobs.sha256"))
    checkpoint_step: Mapped[int | None]
    resumed: Mapped[int] = mapped_column(default=0)
