"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One version up."""
    op.create_table(
        "rs_blobs",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_rs_blobs")),
    )
    op.create_table(
        "rs_workers",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("device", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=50), nullable=False),
        sa.Column("last_seen_at", sa.Double(), nullable=False),
        sa.Column("left", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_workers")),
    )
    op.create_table(
        "rs_datasets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("summary", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["rs_blobs.sha256"], name=op.f("fk_rs_datasets_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_datasets")),
        sa.UniqueConstraint("sha256", name=op.f("uq_rs_datasets_sha256")),
    )
    with op.batch_alter_table("rs_datasets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rs_datasets_created_at_id"), ["created_at", "id"], unique=False)

    op.create_table(
        "rs_models",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("summary", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("profile", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["rs_blobs.sha256"], name=op.f("fk_rs_models_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_models")),
        sa.UniqueConstraint("sha256", name=op.f("uq_rs_models_sha256")),
    )
    with op.batch_alter_table("rs_models", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rs_models_created_at_id"), ["created_at", "id"], unique=False)

    op.create_table(
        "rs_studies",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("request", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("metric", sa.String(length=16), nullable=False),
        sa.Column("limits", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("dense", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("n_trials", sa.Integer(), nullable=False),
        sa.Column("optuna_study", sa.String(length=200), nullable=False),
        sa.Column("best_job", sa.String(length=32), nullable=True),
        sa.Column("best_trial", sa.Integer(), nullable=True),
        sa.Column("best_value", sa.Double(), nullable=True),
        sa.Column("dense_result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("last_event", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["rs_models.id"], name=op.f("fk_rs_studies_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_studies")),
        sa.UniqueConstraint("optuna_study", name=op.f("uq_rs_studies_optuna_study")),
    )
    with op.batch_alter_table("rs_studies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rs_studies_created_at_id"), ["created_at", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_rs_studies_state"), ["state"], unique=False)

    op.create_table(
        "rs_events",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["rs_studies.id"], name=op.f("fk_rs_events_study_id")),
        sa.PrimaryKeyConstraint("study_id", "number", name=op.f("pk_rs_events")),
    )
    op.create_table(
        "rs_idempotency_keys",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["rs_studies.id"], name=op.f("fk_rs_idempotency_keys_study_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rs_idempotency_keys")),
    )
    op.create_table(
        "rs_jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("queued_at", sa.Double(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.String(length=32), nullable=True),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("trial_number", sa.Integer(), nullable=True),
        sa.Column("origin", sa.String(length=16), nullable=True),
        sa.Column("positions", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("ranks", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("planned_macs", sa.BigInteger(), nullable=True),
        sa.Column("planned_params", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=100), nullable=True),
        sa.Column("lease_token", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", sa.Double(), nullable=True),
        sa.Column("done_token", sa.String(length=64), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("artifact", sa.String(length=64), nullable=True),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["artifact"], ["rs_blobs.sha256"], name=op.f("fk_rs_jobs_artifact")),
        sa.ForeignKeyConstraint(["model_id"], ["rs_models.id"], name=op.f("fk_rs_jobs_model_id")),
        sa.ForeignKeyConstraint(["study_id"], ["rs_studies.id"], name=op.f("fk_rs_jobs_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_jobs")),
        sa.UniqueConstraint("study_id", "kind", "ordinal", name=op.f("uq_rs_jobs_study_id_kind_ordinal")),
        sa.UniqueConstraint("study_id", "kind", "trial_number", name=op.f("uq_rs_jobs_study_id_kind_trial_number")),
    )
    with op.batch_alter_table("rs_jobs", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_rs_jobs_state_lease_expires_at"), ["state", "lease_expires_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_rs_jobs_state_priority_queued_at_ordinal"),
            ["state", "priority", "queued_at", "ordinal"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_rs_jobs_study_id_kind_state"), ["study_id", "kind", "state"], unique=False)
        batch_op.create_index(batch_op.f("ix_rs_jobs_told_state"), ["told", "state"], unique=False)


def downgrade() -> None:
    """One version down; what the newer tables held is lost."""
    with op.batch_alter_table("rs_jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rs_jobs_told_state"))
        batch_op.drop_index(batch_op.f("ix_rs_jobs_study_id_kind_state"))
        batch_op.drop_index(batch_op.f("ix_rs_jobs_state_priority_queued_at_ordinal"))
        batch_op.drop_index(batch_op.f("ix_rs_jobs_state_lease_expires_at"))

    op.drop_table("rs_jobs")
    op.drop_table("rs_idempotency_keys")
    op.drop_table("rs_events")
    with op.batch_alter_table("rs_studies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rs_studies_state"))
        batch_op.drop_index(batch_op.f("ix_rs_studies_created_at_id"))

    op.drop_table("rs_studies")
    with op.batch_alter_table("rs_models", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rs_models_created_at_id"))

    op.drop_table("rs_models")
    with op.batch_alter_table("rs_datasets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rs_datasets_created_at_id"))

    op.drop_table("rs_datasets")
    op.drop_table("rs_workers")
    op.drop_table("rs_blobs")
