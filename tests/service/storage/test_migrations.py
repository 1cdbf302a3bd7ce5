from __future__ import annotations

import json

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import JSON, inspect, text

from ranksearch.contracts.study_requests import StudyRequest
from service.search.optuna_records import OptunaRecords
from service.storage.migrations import VERSION_TABLE, migrate, migrate_down
from service.storage.tables import Table

OLD_REQUEST = {"model": "mdl_1", "constraints": {"macs": "50%"}, "metric": "accuracy", "n_trials": 4}
INSERT_JOB = """INSERT INTO rs_jobs (id, kind, state, priority, queued_at, ordinal, study_id, model_id, trial_number,
    attempts, told) VALUES (:id, :kind, :state, 4, 0, :ordinal, 'sty_1', 'mdl_1', :ordinal, 1, true)"""


@pytest.fixture
def database(blank):
    return blank


def tables(database):
    return set(inspect(database.engine).get_table_names())


def test_up_makes_every_table(database):
    migrate(database)
    assert set(Table.metadata.tables) | {VERSION_TABLE} == tables(database)


def test_up_twice_changes_nothing(database):
    migrate(database)
    migrate(database)


def test_down_removes_every_table(database):
    migrate(database)
    migrate_down(database)
    assert tables(database) == {VERSION_TABLE}


def test_up_after_down_works(database):
    migrate(database)
    migrate_down(database)
    migrate(database)
    assert set(Table.metadata.tables) <= tables(database)


def test_the_migrated_schema_is_the_one_the_code_expects(database):
    migrate(database)
    with database.engine.connect() as connection:
        options = {"compare_type": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []


def test_optunas_tables_live_beside_ours(database):
    migrate(database)
    OptunaRecords(database).close()
    migrate_down(database)
    assert {"studies", "trials"} <= tables(database)


def with_rows(database):
    """A study of the first version with a trial, in its tables."""
    with database.writing_engine.begin() as connection:
        for statement, values in (
            ("INSERT INTO rs_blobs VALUES ('s', 1, 0)", {}),
            ("INSERT INTO rs_models VALUES ('mdl_1', 'net', 's', 'ready', '{}', NULL, NULL, 0)", {}),
            (
                """INSERT INTO rs_studies (id, name, model_id, state, request, metric, limits, dense, n_trials,
                optuna_study, best_job, best_trial, last_event, created_at) VALUES ('sty_1', 'n', 'mdl_1', 'running',
                :request, 'accuracy', '{}', '{}', 4, 'sty_1', 'job_1', 0, 0, 0)""",
                {"request": json.dumps(OLD_REQUEST)},
            ),
            (INSERT_JOB, {"id": "job_1", "kind": "trial", "state": "done", "ordinal": 0}),
        ):
            connection.execute(text(statement), values)


def stored_request(database):
    with database.engine.connect() as connection:
        return connection.execute(text("SELECT request FROM rs_studies").columns(request=JSON)).scalar_one()


def test_a_study_of_the_first_version_keeps_searching_as_it_did(database):
    migrate(database)
    migrate_down(database, "0001")
    with_rows(database)
    migrate(database)
    slices = {role: {"dataset": "dts_1"} for role in ("calibration", "validation")}
    request = StudyRequest.model_validate(stored_request(database) | slices)
    assert (request.level, request.pruner, request.finalists) == ("statistics", "none", 0)
    assert (request.search_images.calibration, request.search_images.validation) == (None, None)


def test_down_and_up_again_keeps_rows_and_takes_back_what_the_older_version_refuses(database):
    migrate(database)
    migrate_down(database, "0001")
    with_rows(database)
    migrate(database)
    migrate_down(database, "0001")
    assert stored_request(database) == OLD_REQUEST
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM rs_jobs")).scalars().all() == ["job_1"]


def test_down_leaves_no_job_that_the_older_version_does_not_know(database):
    migrate(database)
    migrate_down(database, "0001")
    with_rows(database)
    migrate(database)
    with database.writing_engine.begin() as connection:
        for number, (kind, state) in enumerate((("final", "waiting"), ("sensitivity", "done"), ("trial", "pruned"))):
            row = {"id": f"job_new{number}", "kind": kind, "state": state, "ordinal": 9}
            connection.execute(text(INSERT_JOB), row)
        connection.execute(text("UPDATE rs_studies SET best_job = 'job_new0'"))
    migrate_down(database, "0001")
    with database.engine.connect() as connection:
        rows = connection.execute(text("SELECT kind, state FROM rs_jobs ORDER BY id")).all()
        best = connection.execute(text("SELECT best_job FROM rs_studies")).scalar_one()
    assert rows == [("trial", "done"), ("trial", "failed")]
    assert best == "job_1"


def artifact_jobs(database):
    with database.engine.connect() as connection:
        return connection.execute(
            text("SELECT kind, trial_number, ordinal FROM rs_jobs WHERE kind <> 'trial' ORDER BY id")
        ).all()


def test_down_keeps_the_document_of_the_best_trial_alone_and_up_makes_room_for_others(database):
    migrate(database)
    migrate_down(database, "0001")
    with_rows(database)
    migrate(database)
    insert = """INSERT INTO rs_jobs (id, kind, state, priority, queued_at, ordinal, study_id, model_id, trial_number,
        attempts, crashes, told) VALUES (:id, :kind, 'done', 3, 0, :trial, 'sty_1', 'mdl_1', :trial, 1, 0, true)"""
    key = """INSERT INTO rs_idempotency_keys (project_id, key, body_sha256, study_id, job_id, created_at)
        SELECT project_id, 'k', 's', id, 'job_a', 0 FROM rs_studies"""
    with database.writing_engine.begin() as connection:
        connection.execute(text("UPDATE rs_studies SET best_trial = 5"))
        for name, kind, trial in (("job_a", "compress", 5), ("job_b", "compress", 7), ("job_c", "onnx", 5)):
            connection.execute(text(insert), {"id": name, "kind": kind, "trial": trial})
        connection.execute(text(key))
    migrate_down(database, "0004")
    assert artifact_jobs(database) == [("compress", 5, 0)]
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT key FROM rs_idempotency_keys")).all() == []
    migrate(database)
    assert artifact_jobs(database) == [("compress", 5, 5)]


def test_down_leaves_no_latency_report_and_no_key_that_asked_for_one(database):
    migrate(database)
    migrate_down(database, "0001")
    with_rows(database)
    migrate(database)
    insert = """INSERT INTO rs_jobs (id, kind, state, priority, queued_at, ordinal, study_id, model_id, trial_number,
        attempts, crashes, told) VALUES (:id, :kind, 'done', 3, 0, 5, 'sty_1', 'mdl_1', 5, 1, 0, true)"""
    key = """INSERT INTO rs_idempotency_keys (project_id, key, body_sha256, study_id, job_id, created_at)
        SELECT project_id, :job, 's', id, :job, 0 FROM rs_studies"""
    with database.writing_engine.begin() as connection:
        for name, kind in (("job_a", "compress"), ("job_b", "latency")):
            connection.execute(text(insert), {"id": name, "kind": kind})
            connection.execute(text(key), {"job": name})
    migrate_down(database, "0006")
    assert artifact_jobs(database) == [("compress", 5, 5)]
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT key FROM rs_idempotency_keys")).scalars().all() == ["job_a"]


def test_down_leaves_the_documents_that_were_made_of_onnx_files_as_models(database):
    migrate(database)
    migrate_down(database, "0001")
    with_rows(database)
    migrate(database)
    insert = """INSERT INTO rs_models
        (id, name, project_id, user_id, sha256, document, source, state, summary, created_at)
        VALUES (:id, 'n', 'prj_default', 'usr_local', :sha256, :document, '{"format": "onnx"}', 'ready', '{}', :at)"""
    models = [("mdl_a", "o1", "d"), ("mdl_b", "o2", "d"), ("mdl_c", "o3", "s"), ("mdl_d", "o4", None)]
    with database.writing_engine.begin() as connection:
        for sha256 in ("o1", "o2", "o3", "o4", "d"):
            connection.execute(text("INSERT INTO rs_blobs VALUES (:sha256, 1, 0, 0)"), {"sha256": sha256})
        for at, (name, sha256, document) in enumerate(models):
            row = {"id": name, "sha256": sha256, "document": document, "at": at}
            connection.execute(text(insert), row)
        connection.execute(text("UPDATE rs_studies SET model_id = 'mdl_b'"))
        connection.execute(text("UPDATE rs_jobs SET model_id = 'mdl_c'"))
    migrate_down(database, "0007")
    with database.engine.connect() as connection:
        left = connection.execute(text("SELECT id, sha256 FROM rs_models ORDER BY id")).all()
        studies = connection.execute(text("SELECT model_id FROM rs_studies")).scalars().all()
        jobs = connection.execute(text("SELECT model_id FROM rs_jobs")).scalars().all()
    assert left == [("mdl_1", "s"), ("mdl_a", "d")]
    assert (studies, jobs) == (["mdl_a"], ["mdl_1"])
