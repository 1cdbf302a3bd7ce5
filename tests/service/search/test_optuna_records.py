from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from service.search.feasibility import bottom
from service.search.optuna_records import Ending, OptunaRecords
from service.search.optuna_storage import BulkRDBStorage
from service.search.plan import Choice
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


def record(records, space, job="job_1", positions=None):
    return records.record("sty_1", ["maximize"], job, Choice(np.array(positions or [0] * len(space)), "uniform"), space)


def test_numbers_count_from_zero(records, space):
    assert [record(records, space, f"job_{i}") for i in range(3)] == [0, 1, 2]


def test_optuna_reads_params_and_attributes(records, database, space):
    record(records, space)
    (trial,) = optuna.load_study(study_name="sty_1", storage=database.url).trials
    assert trial.state == TrialState.RUNNING
    assert trial.params == {site.name: 0 for site in space.sites}
    assert trial.user_attrs["job"] == "job_1"
    assert trial.user_attrs["macs"] == bottom(space, space.preferred).macs
    assert trial.datetime_start is not None


def test_optuna_reads_the_method_of_layers_that_have_several(records, database, mixed):
    positions = [0, 7, 17, 18, 25, 6, 1, 2, 3]
    record(records, mixed, positions=positions)
    (trial,) = optuna.load_study(study_name="sty_1", storage=database.url).trials
    assert {name: trial.params[name] for name in trial.params if name.endswith(".method")} == {
        "layer0.method": "tucker2",
        "layer1.method": "cp3",
        "layer2.method": "cp3",
        "layer3.method": "svd",
        "layer4.method": "svd",
        "layer5.method": "dense",
        "layer6.method": "tucker2",
        "layer7.method": "tucker2",
    }
    assert [trial.params[f"layer{i}"] for i in range(9)] == positions
    assert trial.user_attrs["ranks"]["layer4"]["method"] == "svd"
    assert "layer5" not in trial.user_attrs["ranks"]


def test_a_trial_of_several_methods_is_found_with_its_positions(records, mixed):
    positions = [0, 7, 8, 18, 25, 6, 1, 2, 3]
    record(records, mixed, positions=positions)
    found = records.find("sty_1", "job_1")[1]["positions"]
    assert [found[site.name] for site in mixed.sites] == positions


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
    records.tell("sty_1", 0, Ending("complete", (0.5,)))
    records.tell("sty_1", 0, Ending("failed"))
    (trial,) = optuna.load_study(study_name="sty_1", storage=database.url).trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)


def told(database):
    (trial,) = optuna.load_study(study_name="sty_1", storage=database.url).trials
    return trial


def test_a_trial_told_to_have_failed_failed(records, database, space):
    record(records, space)
    records.tell("sty_1", 0, Ending("failed"))
    assert told(database).state == TrialState.FAIL


def test_a_trial_told_to_be_pruned_is_pruned_without_a_value(records, database, space):
    record(records, space)
    records.tell("sty_1", 0, Ending("pruned"))
    assert (told(database).state, told(database).value) == (TrialState.PRUNED, None)


def test_optuna_knows_which_bounds_a_trial_exceeded(records, database, space):
    for job in ("job_1", "job_2"):
        record(records, space, job)
    records.tell("sty_1", 0, Ending("complete", (0.9,), {"latency_ms": 0.5, "drop": -0.01}))
    records.tell("sty_1", 1, Ending("complete", (0.1,), {"latency_ms": -0.5, "drop": -0.01}))
    study = optuna.load_study(study_name="sty_1", storage=database.url)
    assert study.trials[0].constraints == {"latency_ms": 0.5, "drop": -0.01}
    assert study.best_trial.number == 1  # Optuna's best is the best among the feasible


def test_a_bound_told_before_a_crash_is_told_again(records, database, space, monkeypatch):
    record(records, space)
    with monkeypatch.context() as crashing:
        crashing.setattr(BulkRDBStorage, "set_trial_state_values", dies)
        with pytest.raises(KeyboardInterrupt):
            records.tell("sty_1", 0, Ending("complete", (0.5,), {"drop": 0.1}))
    records.tell("sty_1", 0, Ending("complete", (0.5,), {"drop": 0.1}))
    assert (told(database).state, told(database).constraints) == (TrialState.COMPLETE, {"drop": 0.1})


def dies(*_args, **_kwargs):
    raise KeyboardInterrupt


def test_several_objectives_have_a_front_in_optuna(records, database, space):
    for job in range(3):
        choice = Choice(np.zeros(len(space), dtype=np.int64), "uniform")
        records.record("sty_1", ["maximize", "minimize"], f"job_{job}", choice, space)
    for number, values in enumerate(((0.9, 10.0), (0.8, 5.0), (0.7, 7.0))):
        records.tell("sty_1", number, Ending("complete", values))
    study = optuna.load_study(study_name="sty_1", storage=database.url)
    assert [trial.number for trial in study.best_trials] == [0, 1]


def test_a_study_may_be_made_twice(records):
    records.ensure_study("sty_1", ["minimize"])
    records.ensure_study("sty_1", ["minimize"])


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
