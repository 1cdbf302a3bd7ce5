"""Files of any trial in several formats: one job of a kind for a trial, and idempotency keys that made one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_jobs = sa.table(
    "rs_jobs",
    *(sa.column(name, sa.String) for name in ("id", "study_id", "kind")),
    *(sa.column(name, sa.Integer) for name in ("ordinal", "trial_number")),
    sa.column("result", sa.JSON(none_as_null=True)),
)
_studies = sa.table("rs_studies", sa.column("id", sa.String), sa.column("best_trial", sa.Integer))
_keys = sa.table("rs_idempotency_keys", sa.column("job_id", sa.String))


def upgrade() -> None:
    """One version up: there was one document for a study, so nothing can clash."""
    with op.batch_alter_table("rs_idempotency_keys", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("job_id", sa.String(length=32), nullable=True))
    op.execute(_jobs.update().where(_jobs.c.kind == "compress").values(ordinal=_jobs.c.trial_number))


def downgrade() -> None:
    """One version down: a study keeps the document of its best trial, and loses its other files."""
    op.execute(_keys.delete().where(_keys.c.job_id.is_not(None)))
    op.execute(_jobs.delete().where(_jobs.c.kind.in_(("pt2", "onnx"))))
    best = sa.select(_studies.c.best_trial).where(_studies.c.id == _jobs.c.study_id).scalar_subquery()
    others = sa.or_(best.is_(None), _jobs.c.trial_number != best)
    op.execute(_jobs.delete().where(_jobs.c.kind == "compress", others))
    op.execute(_jobs.update().where(_jobs.c.kind == "compress").values(ordinal=0, result=None))
    with op.batch_alter_table("rs_idempotency_keys", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("job_id")
