"""Latency reports: jobs of a kind that older versions do not know; the tables stay as they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_jobs = sa.table("rs_jobs", *(sa.column(name, sa.String) for name in ("id", "kind")))
_events = sa.table("rs_events", sa.column("kind", sa.String))
_keys = sa.table("rs_idempotency_keys", sa.column("job_id", sa.String))


def upgrade() -> None:
    """One version up: there are none yet."""


def downgrade() -> None:
    """One version down: the reports go, with their events and the keys that asked for them."""
    reports = sa.select(_jobs.c.id).where(_jobs.c.kind == "latency")
    op.execute(_keys.delete().where(_keys.c.job_id.in_(reports)))
    op.execute(_jobs.delete().where(_jobs.c.kind == "latency"))
    op.execute(_events.delete().where(_events.c.kind == "latency"))
