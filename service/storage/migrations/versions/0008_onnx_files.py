"""Models that were uploaded as ONNX files: what a file is, and the document that a worker made of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INDEX = "ix_rs_models_document"
_FOREIGN_KEY = "fk_rs_models_document"

_models = sa.table(
    "rs_models",
    *(sa.column(name, sa.String) for name in ("id", "project_id", "sha256", "document")),
    sa.column("source", sa.JSON(none_as_null=True)),
    sa.column("created_at", sa.Double),
)
_studies = sa.table("rs_studies", sa.column("model_id", sa.String))
_jobs = sa.table("rs_jobs", sa.column("model_id", sa.String))


def upgrade() -> None:
    """One version up."""
    with op.batch_alter_table("rs_models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("document", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("source", sa.JSON(none_as_null=True), nullable=True))
        batch_op.create_foreign_key(batch_op.f(_FOREIGN_KEY), "rs_blobs", ["document"], ["sha256"])
        batch_op.create_index(batch_op.f(_INDEX), ["document"])


def downgrade() -> None:
    """One version down: a model is the document that was made of its file; without one there is no model."""
    connection = op.get_bind()
    own = sa.select(_models.c.project_id, _models.c.sha256, _models.c.id).where(_models.c.source.is_(None))
    known = {(project, sha256): model for project, sha256, model in connection.execute(own)}
    made = sa.select(_models.c.id, _models.c.project_id, _models.c.document).where(_models.c.source.is_not(None))
    for model, project, document in connection.execute(made.order_by(_models.c.created_at, _models.c.id)).all():
        if document is None:
            op.execute(_jobs.delete().where(_jobs.c.model_id == model))
            op.execute(_models.delete().where(_models.c.id == model))
        elif (same := known.setdefault((project, document), model)) == model:
            op.execute(_models.update().where(_models.c.id == model).values(sha256=document))
        else:  # of one document there is one model in a project
            for table in (_studies, _jobs):
                op.execute(table.update().where(table.c.model_id == model).values(model_id=same))
            op.execute(_models.delete().where(_models.c.id == model))
    with op.batch_alter_table("rs_models", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f(_INDEX))
        batch_op.drop_constraint(batch_op.f(_FOREIGN_KEY), type_="foreignkey")
        batch_op.drop_column("source")
        batch_op.drop_column("document")
