"""Fine-tuning: what its jobs are to do and how far they are, and a best network that was fine-tuned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TUNED = ("finetune", "tuned_pt2", "tuned_onnx")

_jobs = sa.table(
    "rs_jobs",
    *(sa.column(name, sa.String) for name in ("id", "kind")),
    sa.column("trial_number", sa.Integer),
    sa.column("value", sa.Double),
)
_studies = sa.table(
    "rs_studies",
    *(sa.column(name, sa.String) for name in ("id", "best_job", "searched_best")),
    sa.column("best_trial", sa.Integer),
    sa.column("best_value", sa.Double),
    sa.column("request", sa.JSON),
)
_keys = sa.table("rs_idempotency_keys", sa.column("job_id", sa.String))
_events = sa.table("rs_events", sa.column("kind", sa.String))


def upgrade() -> None:
    """One version up."""
    op.create_table(
        "rs_finetunes",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("plan", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("points", sa.JSON(), nullable=False),
        sa.Column("before", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("after", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("dense", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("checkpoint", sa.String(length=64), nullable=True),
        sa.Column("checkpoint_step", sa.Integer(), nullable=True),
        sa.Column("resumed", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["checkpoint"], ["rs_blobs.sha256"], name=op.f("fk_rs_finetunes_checkpoint")),
        sa.ForeignKeyConstraint(["dataset_id"], ["rs_datasets.id"], name=op.f("fk_rs_finetunes_dataset_id")),
        sa.ForeignKeyConstraint(["job_id"], ["rs_jobs.id"], name=op.f("fk_rs_finetunes_job_id")),
        sa.ForeignKeyConstraint(["study_id"], ["rs_studies.id"], name=op.f("fk_rs_finetunes_study_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_rs_finetunes")),
    )
    for column in ("study_id", "dataset_id", "checkpoint"):
        op.create_index(op.f(f"ix_rs_finetunes_{column}"), "rs_finetunes", [column])
    with op.batch_alter_table("rs_studies", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("best_tuned", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("searched_best", sa.String(length=32), nullable=True))


def downgrade() -> None:
    """One version down: a study has the best again that its search found, and loses its fine-tuned networks."""
    found = _studies.c.searched_best.is_not(None)
    for column, own in (("best_trial", "trial_number"), ("best_value", "value")):
        of_job = sa.select(_jobs.c[own]).where(_jobs.c.id == _studies.c.searched_best).scalar_subquery()
        op.execute(_studies.update().where(found).values({column: of_job}))
    op.execute(_studies.update().where(found).values(best_job=_studies.c.searched_best))
    for study, request in op.get_bind().execute(sa.select(_studies.c.id, _studies.c.request)).all():
        older = {name: value for name, value in request.items() if name != "finetune"}
        op.execute(_studies.update().where(_studies.c.id == study).values(request=older))
    op.drop_table("rs_finetunes")
    tuned = sa.select(_jobs.c.id).where(_jobs.c.kind.in_(_TUNED))
    op.execute(_keys.delete().where(_keys.c.job_id.in_(tuned)))
    op.execute(_jobs.delete().where(_jobs.c.kind.in_(_TUNED)))
    op.execute(_events.delete().where(_events.c.kind == "finetune"))
    with op.batch_alter_table("rs_studies", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("searched_best")
        batch_op.drop_column("best_tuned")
