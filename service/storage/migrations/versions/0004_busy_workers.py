"""An index that tells how busy a worker was."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NAME = "ix_rs_jobs_worker_finished_at"


def upgrade() -> None:
    """One version up."""
    op.create_index(op.f(_NAME), "rs_jobs", ["worker", "finished_at"])


def downgrade() -> None:
    """And down again."""
    op.drop_index(op.f(_NAME), "rs_jobs")
