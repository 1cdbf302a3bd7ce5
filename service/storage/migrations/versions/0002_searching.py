"""What trials are guided by and judged feasible by, what ended a study early, the sensitivity of its layers.

Studies made before keep what they asked for: calibrated by statistics, on all images, with no race and no finalists.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_AS_BEFORE = {
    "level": "statistics",
    "pruner": "none",
    "finalists": 0,
    "search_images": {"calibration": None, "validation": None},
}
_NEWER = {
    *_AS_BEFORE,
    "objectives",
    "max_drop",
    "sampler",
    "warm_starts",
    "from_studies",
    "timeout",
    "plateau",
    "target",
}
"""Members of a request that the older version refuses."""

_studies = sa.table(
    "rs_studies",
    *(sa.column(name, sa.String) for name in ("id", "best_job")),
    sa.column("best_trial", sa.Integer),
    sa.column("request", sa.JSON),
)
_jobs = sa.table(
    "rs_jobs",
    *(sa.column(name, sa.String) for name in ("id", "study_id", "kind", "state")),
    sa.column("trial_number", sa.Integer),
)


def upgrade() -> None:
    """One version up."""
    # Columns are added and dropped in place: copying a table that others refer to would break their rows.
    with op.batch_alter_table("rs_jobs", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("guide", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("feasible", sa.Boolean(), nullable=True))
    with op.batch_alter_table("rs_studies", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("sensitivity", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("stopped_by", sa.String(length=16), nullable=True))
    for study, request in _requests():
        _keep(study, _AS_BEFORE | request)


def downgrade() -> None:
    """One version down; what the newer columns and kinds of job held is lost."""
    finals = sa.select(_jobs.c.id).where(_jobs.c.kind == "final")
    of_best = (_jobs.c.study_id == _studies.c.id, _jobs.c.trial_number == _studies.c.best_trial)
    trial = sa.select(_jobs.c.id).where(*of_best, _jobs.c.kind == "trial").scalar_subquery()
    op.execute(_studies.update().where(_studies.c.best_job.in_(finals)).values(best_job=trial))
    op.execute(_jobs.delete().where(_jobs.c.kind.in_(("sensitivity", "final"))))
    op.execute(_jobs.update().where(_jobs.c.state == "pruned").values(state="failed"))
    for study, request in _requests():
        _keep(study, {name: value for name, value in request.items() if name not in _NEWER})
    with op.batch_alter_table("rs_studies", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("stopped_by")
        batch_op.drop_column("sensitivity")
    with op.batch_alter_table("rs_jobs", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("feasible")
        batch_op.drop_column("guide")


def _requests() -> list[tuple[str, dict[str, Any]]]:
    rows = op.get_bind().execute(sa.select(_studies.c.id, _studies.c.request)).all()
    return [(study, request) for study, request in rows]


def _keep(study: str, request: dict[str, Any]) -> None:
    op.execute(_studies.update().where(_studies.c.id == study).values(request=request))
