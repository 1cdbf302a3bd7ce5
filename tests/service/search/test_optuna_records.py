from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from service.search.optuna_records import OptunaRecords
from service.search.optuna_storage import BulkRDBStorage
from service.search.sampler import Choice
from service.storage.engine import Database


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'db'}")
    yield database
    database.close()


@pytest.fixture
def records(database):
    records = OptunaRecords(database)
    yield records
    records.close()


def record(records, space, job="job_1"):
    return records.record("sty_1", "maximize", job, Choice(space.top * 0, "uniform"), space)


def test_numbers_count_from_zero(records, space):
    assert [record(records, space, f"job_{i}") for i in range(3)] == [0, 1, 2]


def test_optuna_reads_params_and_attributes(records, database, space):
    record(records, space)
    (trial,) = optuna.load_study(study_name="sty_1", storage=database.url).trials
    assert trial.state == TrialState.RUNNING
    assert trial.params == {site.name: 0 for site in space.sites}
    assert trial.user_attrs["job"] == "job_1"
    assert trial.user_attrs["macs"] == space.cheapest().macs
    assert trial.datetime_start is not None


def test_a_trial_is_found_by_its_job(records, space):
    record(records, space, "job_1")
    record(records, space, "job_2")
    number, attributes = records.find("sty_1", "job_2")
    assert number == 1
    assert attributes["positions"] == {site.name: 0 for site in space.sites}


def test_a_job_never_recorded_is_not_found(records, space):
    assert records.find("sty_1", "job_1") is None
    record(records, space)
    assert records.find("sty_1", "job_9") is None


def test_telling_twice_keeps_what_was_told_first(records, database, space):
    record(records, space)
    records.tell("sty_1", 0, 0.5)
    records.tell("sty_1", 0, None)
    (trial,) = optuna.load_study(study_name="sty_1", storage=database.url).trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)


def test_a_trial_told_without_a_value_failed(records, database, space):
    record(records, space)
    records.tell("sty_1", 0, None)
    assert optuna.load_study(study_name="sty_1", storage=database.url).trials[0].state == TrialState.FAIL


def test_a_study_may_be_made_twice(records):
    records.ensure_study("sty_1", "minimize")
    records.ensure_study("sty_1", "minimize")


def test_a_trial_written_in_one_go_is_what_optuna_would_have_written(tmp_path, space):
    template = optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params={"a": 3, "b": 0.5, "c": "x"},
        distributions={
            "a": optuna.distributions.IntDistribution(0, 9),
            "b": optuna.distributions.FloatDistribution(0, 1),
            "c": optuna.distributions.CategoricalDistribution(["x", "y"]),
        },
        user_attrs={"list": [1, 2], "text": "ä"},
        system_attrs={"s": 1},
    )
    written = []
    for kind in (optuna.storages.RDBStorage, BulkRDBStorage):
        storage = kind(f"sqlite:///{tmp_path / kind.__name__}")
        study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
        storage.create_new_trial(study, template_trial=template)
        storage.create_new_trial(study, template_trial=template)
        written.append(storage.get_all_trials(study))
        storage.engine.dispose()
    assert written[0] == written[1]
