"""Users, projects, tokens, sessions and the audit; priorities and requirements; the fleet's factors.

What was there before belongs to the local user and the default project, which are made here.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_USER, _PROJECT = "usr_local", "prj_default"
_JSON = sa.JSON(none_as_null=True)
_yes = sa.bindparam("yes", value=True, type_=sa.Boolean())
_STUDIES_COLUMNS = (
    *("passed_over", "paused_seconds", "paused_at", "pause_reason"),
    *("failures_in_row", "requirements", "max_parallel", "priority"),
)
_NEWER = {"priority", "max_parallel", "requirements"}
"""Members of a request that the older version refuses."""

_studies = sa.table("rs_studies", sa.column("id", sa.String), sa.column("request", sa.JSON))


def upgrade() -> None:
    """One version up."""
    _create_people()
    _create_tokens()
    op.create_table(
        "rs_factors",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["rs_blobs.sha256"], name=op.f("fk_rs_factors_sha256")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rs_factors")),
    )
    op.create_table(
        "rs_heartbeats",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rs_heartbeats")),
    )
    op.create_index(op.f("ix_rs_factors_used_at"), "rs_factors", ["used_at"])
    op.create_index(op.f("ix_rs_factors_sha256"), "rs_factors", ["sha256"])
    for table in ("rs_models", "rs_datasets"):
        _give_owner(table)
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_constraint(batch_op.f(f"uq_{table}_sha256"), type_="unique")
            batch_op.create_unique_constraint(batch_op.f(f"uq_{table}_project_id_sha256"), ["project_id", "sha256"])
            batch_op.create_index(
                batch_op.f(f"ix_{table}_project_id_created_at_id"), ["project_id", "created_at", "id"]
            )
            batch_op.create_index(batch_op.f(f"ix_{table}_sha256"), ["sha256"])
    with op.batch_alter_table("rs_blobs", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("touched_at", sa.Double(), nullable=False, server_default="0"))
        batch_op.create_index(batch_op.f("ix_rs_blobs_touched_at"), ["touched_at"])
    op.execute(sa.text("UPDATE rs_blobs SET touched_at = created_at"))
    _give_owner("rs_studies")
    _queue_studies()
    with op.batch_alter_table("rs_jobs", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("crashes", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("crash_reports", _JSON, nullable=True))
        batch_op.add_column(sa.Column("not_before", sa.Double(), nullable=True))
        made = sa.text("artifact IS NOT NULL")
        batch_op.create_index(batch_op.f("ix_rs_jobs_artifact"), ["artifact"], sqlite_where=made, postgresql_where=made)
        batch_op.create_index(
            batch_op.f("ix_rs_jobs_study_id_kind_finished_at"), ["study_id", "kind", "finished_at"], unique=False
        )
        batch_op.add_column(sa.Column("leased_at", sa.Double(), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_rs_jobs_study_id_state_priority_ordinal"), ["study_id", "state", "priority", "ordinal"]
        )
    op.execute(sa.text("UPDATE rs_jobs SET told = :yes WHERE trial_number IS NULL").bindparams(_yes))
    with op.batch_alter_table("rs_workers", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("draining", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("labels", _JSON, nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("holds", _JSON, nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("memory_bytes", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("sandbox", _JSON, nullable=False, server_default="[]"))
    with op.batch_alter_table("rs_idempotency_keys", schema=None, recreate="auto") as batch_op:
        batch_op.add_column(sa.Column("project_id", sa.String(length=32), nullable=False, server_default=_PROJECT))
        batch_op.create_foreign_key(
            batch_op.f("fk_rs_idempotency_keys_project_id"), "rs_projects", ["project_id"], ["id"]
        )
        batch_op.drop_constraint(batch_op.f("pk_rs_idempotency_keys"), type_="primary")
        batch_op.create_primary_key(batch_op.f("pk_rs_idempotency_keys"), ["project_id", "key"])


def downgrade() -> None:
    """One version down: everything is everybody's again; what the newer tables and columns held is lost."""
    _one_of_each()
    with op.batch_alter_table("rs_idempotency_keys", schema=None, recreate="auto") as batch_op:
        batch_op.drop_constraint(batch_op.f("pk_rs_idempotency_keys"), type_="primary")
        batch_op.drop_constraint(batch_op.f("fk_rs_idempotency_keys_project_id"), type_="foreignkey")
        batch_op.drop_column("project_id")
        batch_op.create_primary_key(batch_op.f("pk_rs_idempotency_keys"), ["key"])
    with op.batch_alter_table("rs_workers", schema=None, recreate="never") as batch_op:
        for column in ("sandbox", "memory_bytes", "holds", "labels", "draining"):
            batch_op.drop_column(column)
    told = "UPDATE rs_jobs SET told = :no WHERE kind = 'trial' AND state IN ('waiting', 'leased')"
    op.execute(sa.text(told).bindparams(sa.bindparam("no", value=False, type_=sa.Boolean())))
    with op.batch_alter_table("rs_jobs", schema=None, recreate="never") as batch_op:
        batch_op.drop_index(batch_op.f("ix_rs_jobs_artifact"))
        batch_op.drop_index(batch_op.f("ix_rs_jobs_study_id_kind_finished_at"))
        batch_op.drop_index(batch_op.f("ix_rs_jobs_study_id_state_priority_ordinal"))
        for column in ("leased_at", "not_before", "crash_reports", "crashes"):
            batch_op.drop_column(column)
    op.execute(sa.text("UPDATE rs_studies SET state = 'running' WHERE state = 'paused'"))
    for study, request in op.get_bind().execute(sa.select(_studies.c.id, _studies.c.request)).all():
        older = {name: value for name, value in request.items() if name not in _NEWER}
        op.execute(_studies.update().where(_studies.c.id == study).values(request=older))
    with op.batch_alter_table("rs_studies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rs_studies_project_id_created_at_id"))
        batch_op.drop_index(batch_op.f("ix_rs_studies_state_user_id"))
        for column in _STUDIES_COLUMNS:
            batch_op.drop_column(column)
        batch_op.create_index(batch_op.f("ix_rs_studies_state"), ["state"])
    for table in ("rs_models", "rs_datasets"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_index(batch_op.f(f"ix_{table}_sha256"))
            batch_op.drop_index(batch_op.f(f"ix_{table}_project_id_created_at_id"))
            batch_op.drop_constraint(batch_op.f(f"uq_{table}_project_id_sha256"), type_="unique")
            batch_op.create_unique_constraint(batch_op.f(f"uq_{table}_sha256"), ["sha256"])
    for table in ("rs_studies", "rs_datasets", "rs_models"):
        _take_owner(table)
    with op.batch_alter_table("rs_blobs", schema=None, recreate="never") as batch_op:
        batch_op.drop_index(batch_op.f("ix_rs_blobs_touched_at"))
        batch_op.drop_column("touched_at")
    for table in ("rs_heartbeats", "rs_factors", "rs_audit", "rs_sessions", "rs_tokens", "rs_members"):
        op.drop_table(table)
    for table in ("rs_projects", "rs_users"):
        op.drop_table(table)


def _queue_studies() -> None:
    with op.batch_alter_table("rs_studies", schema=None) as batch_op:
        batch_op.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("max_parallel", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("requirements", _JSON, nullable=True))
        batch_op.add_column(sa.Column("failures_in_row", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("pause_reason", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("paused_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("paused_seconds", sa.Double(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("passed_over", sa.Integer(), nullable=False, server_default="0"))
        batch_op.drop_index(batch_op.f("ix_rs_studies_state"))
        batch_op.create_index(batch_op.f("ix_rs_studies_state_user_id"), ["state", "user_id"])
        batch_op.create_index(batch_op.f("ix_rs_studies_project_id_created_at_id"), ["project_id", "created_at", "id"])


def _create_people() -> None:
    op.create_table(
        "rs_users",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=True),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("max_parallel", sa.Integer(), nullable=True),
        sa.Column("usage_seconds", sa.Double(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_users")),
        sa.UniqueConstraint("name", name=op.f("uq_rs_users_name")),
        sa.UniqueConstraint("subject", name=op.f("uq_rs_users_subject")),
    )
    op.create_table(
        "rs_projects",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("max_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_rs_projects_name")),
    )
    op.create_table(
        "rs_members",
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["rs_projects.id"], name=op.f("fk_rs_members_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["rs_users.id"], name=op.f("fk_rs_members_user_id")),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_rs_members")),
    )
    op.execute(
        sa.text(
            "INSERT INTO rs_users (id, name, weight, usage_seconds, disabled, created_at)"
            " VALUES (:user, 'local', 1.0, 0.0, :disabled, 0.0)"
        ).bindparams(sa.bindparam("user", _USER), sa.bindparam("disabled", value=False, type_=sa.Boolean()))
    )
    op.execute(
        sa.text("INSERT INTO rs_projects (id, name, created_at) VALUES (:project, 'default', 0.0)").bindparams(
            project=_PROJECT
        )
    )
    op.execute(
        sa.text("INSERT INTO rs_members (project_id, user_id) VALUES (:project, :user)").bindparams(
            project=_PROJECT, user=_USER
        )
    )


def _create_tokens() -> None:
    op.create_table(
        "rs_tokens",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", _JSON, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["rs_projects.id"], name=op.f("fk_rs_tokens_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["rs_users.id"], name=op.f("fk_rs_tokens_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_rs_tokens_hash")),
    )
    op.create_index(op.f("ix_rs_tokens_user_id"), "rs_tokens", ["user_id"])
    op.create_table(
        "rs_sessions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("token_id", sa.String(length=32), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["rs_tokens.id"], name=op.f("fk_rs_sessions_token_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_sessions")),
    )
    op.create_index(op.f("ix_rs_sessions_expires_at"), "rs_sessions", ["expires_at"])
    op.create_table(
        "rs_audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("action", sa.String(length=50), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=True),
        sa.Column("token_id", sa.String(length=32), nullable=True),
        sa.Column("project_id", sa.String(length=32), nullable=True),
        sa.Column("subject", sa.String(length=200), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("detail", _JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rs_audit")),
    )
    op.create_index(op.f("ix_rs_audit_created_at"), "rs_audit", ["created_at"])


def _give_owner(table: str) -> None:
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.add_column(sa.Column("project_id", sa.String(length=32), nullable=False, server_default=_PROJECT))
        batch_op.add_column(sa.Column("user_id", sa.String(length=32), nullable=False, server_default=_USER))
        batch_op.create_foreign_key(batch_op.f(f"fk_{table}_project_id"), "rs_projects", ["project_id"], ["id"])
        batch_op.create_foreign_key(batch_op.f(f"fk_{table}_user_id"), "rs_users", ["user_id"], ["id"])


def _take_owner(table: str) -> None:
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f(f"fk_{table}_project_id"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f(f"fk_{table}_user_id"), type_="foreignkey")
        batch_op.drop_column("project_id")
        batch_op.drop_column("user_id")


def _one_of_each() -> None:
    """A document or key that several projects have becomes one again: the oldest; what refers to others follows it."""
    for table, references in (("rs_models", ("rs_studies", "rs_jobs")), ("rs_datasets", ())):
        kept = f"(SELECT k.id FROM {table} k WHERE k.sha256 = o.sha256 ORDER BY k.created_at, k.id LIMIT 1)"  # noqa: S608 - names of our own
        for other in references:
            op.execute(
                sa.text(
                    f"UPDATE {other} SET model_id = (SELECT {kept} FROM {table} o WHERE o.id = {other}.model_id)"  # noqa: S608 - as above
                )
            )
        op.execute(sa.text(f"DELETE FROM {table} AS o WHERE o.id != {kept}"))  # noqa: S608 - as above
    op.execute(
        sa.text(
            "DELETE FROM rs_idempotency_keys AS o WHERE EXISTS (SELECT 1 FROM rs_idempotency_keys k"
            " WHERE k.key = o.key AND (k.created_at, k.project_id) < (o.created_at, o.project_id))"
        )
    )
