from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event

from ranksearch.contracts.profiles import Cost
from service.search.optuna_records import Ending, OptunaRecords, PlannedTrial
from service.search.optuna_storage import BulkRDBStorage, WrittenTrial
from service.storage.engine import Database
from tests.service.conftest import DIALECTS

STARTED, ENDED = 1_800_000_000.25, 1_800_000_060.5
NUMBERS = [0, 7, 17, 18, 25, 6, 1, 2, 3]
"""Positions in a space of nine layers with several methods."""


@pytest.fixture(params=DIALECTS)
def dialect(request):
    return request.param


@pytest.fixture
def database(blank_database):
    database = Database(blank_database)
    yield database
    database.close()


@pytest.fixture
def records(database):
    records = OptunaRecords(database)
    yield records
    records.close()


def planned(space, number=0, ending=None, positions=None):
    positions = positions or [0] * len(space)
    ranks = {
        name: one.model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, one in space.ranks(positions).items()
    }
    return PlannedTrial(
        number=number,
        job=f"job_{number}",
        origin="uniform",
        positions=positions,
        ranks=ranks,
        cost=Cost(macs=30, params=3),
        started_at=STARTED,
        ended_at=None if ending is None else ENDED,
        ending=ending,
    )


def mirror(records, space, *trials, directions=("maximize",)):
    records.mirror("sty_1", directions, space, trials)


def seen(database):
    return optuna.load_study(study_name="sty_1", storage=database.url)


def test_optuna_reads_params_attributes_and_times(records, database, space):
    mirror(records, space, planned(space))
    (trial,) = seen(database).trials
    assert (trial.number, trial.state) == (0, TrialState.RUNNING)
    assert trial.params == {site.name: 0 for site in space.sites}
    assert (trial.user_attrs["job"], trial.user_attrs["origin"], trial.user_attrs["macs"]) == ("job_0", "uniform", 30)
    assert trial.datetime_start == dt.datetime.fromtimestamp(STARTED)  # noqa: DTZ006 - Optuna's are local


def test_optuna_reads_the_method_of_layers_that_have_several(records, database, mixed):
    mirror(records, mixed, planned(mixed, positions=NUMBERS))
    (trial,) = seen(database).trials
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
    assert [trial.params[f"layer{i}"] for i in range(9)] == NUMBERS
    assert trial.user_attrs["ranks"]["layer4"]["method"] == "svd"
    assert "layer5" not in trial.user_attrs["ranks"]


def test_trials_told_together_have_their_numbers(records, database, space):
    mirror(records, space, *(planned(space, number, positions=[number] * len(space)) for number in range(3)))
    mirror(records, space, planned(space, 3))
    assert [trial.number for trial in seen(database).trials] == [0, 1, 2, 3]
    assert seen(database).trials[2].user_attrs["job"] == "job_2"
    assert set(seen(database).trials[2].params.values()) == {2}


def test_many_trials_cost_few_statements(records, database, space):
    """Of each row apart they would be hundreds; a driver's many messages for one statement count as many."""
    engine, sent = records._storage.engine, []
    apart = engine.dialect.name == "postgresql"

    @event.listens_for(engine, "before_cursor_execute")
    def _count(_connection, _cursor, _statement, rows, _context, many):
        sent.append(len(rows) if apart and many and isinstance(rows, list) else 1)

    running = [planned(space, number) for number in range(40)]
    ended = [replace(one, ended_at=ENDED, ending=Ending("complete", (0.5,), {"latency": -1.0})) for one in running]
    for trials in (running, ended):
        sent.clear()
        mirror(records, space, *trials)
        assert sum(sent) < 60  # of them 40 that update PostgreSQL's rows
    assert [(trial.number, trial.value) for trial in seen(database).trials] == [(number, 0.5) for number in range(40)]


def test_told_again_a_trial_stands_once(records, database, space):
    for _ in range(2):
        mirror(records, space, planned(space, 0, Ending("complete", (0.5,))))
    (trial,) = seen(database).trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)


@pytest.mark.parametrize("ran", [True, False])
def test_a_trial_that_completed_has_its_value_and_times(records, database, space, ran):
    if ran:
        mirror(records, space, planned(space))
    mirror(records, space, planned(space, 0, Ending("complete", (0.5,))))
    (trial,) = seen(database).trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
    assert trial.duration == dt.timedelta(seconds=ENDED - STARTED)
    assert seen(database).best_trial.number == 0


@pytest.mark.parametrize(("word", "state"), [("failed", TrialState.FAIL), ("pruned", TrialState.PRUNED)])
def test_a_trial_that_did_not_complete_has_no_value(records, database, space, word, state):
    mirror(records, space, planned(space))
    mirror(records, space, planned(space, 0, Ending(word)))
    (trial,) = seen(database).trials
    assert (trial.state, trial.value) == (state, None)


def test_a_trial_that_is_tried_again_runs_again_and_completes(records, database, space):
    mirror(records, space, planned(space, 0, Ending("failed")))
    mirror(records, space, planned(space))
    assert (seen(database).trials[0].state, seen(database).trials[0].datetime_complete) == (TrialState.RUNNING, None)
    mirror(records, space, planned(space, 0, Ending("complete", (0.75,))))
    assert seen(database).best_value == 0.75


def test_optuna_knows_which_bounds_a_trial_exceeded(records, database, space):
    endings = [Ending("complete", (0.9,), {"latency_ms": 0.5, "drop": -0.01}), Ending("complete", (0.1,), {"drop": -1})]
    mirror(records, space, *(planned(space, number, ending) for number, ending in enumerate(endings)))
    study = seen(database)
    assert study.trials[0].constraints == {"latency_ms": 0.5, "drop": -0.01}
    assert study.best_trial.number == 1  # Optuna's best is the best among the feasible


def test_bounds_told_again_are_the_last_ones(records, database, space):
    for excess in (0.5, -0.5):
        mirror(records, space, planned(space, 0, Ending("complete", (0.9,), {"drop": excess})))
    assert seen(database).trials[0].constraints == {"drop": -0.5}


def test_several_objectives_have_a_front_in_optuna(records, database, space):
    values = ((0.9, 10.0), (0.8, 5.0), (0.7, 7.0))
    trials = [planned(space, number, Ending("complete", value)) for number, value in enumerate(values)]
    mirror(records, space, *trials, directions=("maximize", "minimize"))
    assert [trial.number for trial in seen(database).best_trials] == [0, 1]


def test_a_study_may_be_made_twice(records):
    records.ensure_study("sty_1", ["minimize"])
    records.ensure_study("sty_1", ["minimize"])


def test_nothing_of_what_is_told_together_stands_where_one_cannot_be_written(records, database, space):
    mirror(records, space, planned(space))
    with pytest.raises(TypeError):
        mirror(records, space, planned(space, 1), replace(planned(space, 2), ranks={"layer": object()}))
    assert [trial.number for trial in seen(database).trials] == [0]


DISTRIBUTIONS = {
    "a": optuna.distributions.IntDistribution(0, 9),
    "b": optuna.distributions.FloatDistribution(0, 1),
    "c": optuna.distributions.CategoricalDistribution(["x", "y"]),
}
PARAMS = {"a": 3, "b": 0.5, "c": "y"}
ATTRIBUTES = {"list": [1, 2], "text": "ä"}


@pytest.mark.parametrize(
    ("state", "values"),
    [
        (TrialState.RUNNING, ()),
        (TrialState.COMPLETE, (0.5, math.inf)),
        (TrialState.PRUNED, ()),
        (TrialState.FAIL, ()),
    ],
)
def test_trials_written_together_are_what_optuna_would_have_written(tmp_path, state, values):
    start, end = dt.datetime(2026, 1, 2, 3, 4, 5, 678), dt.datetime(2026, 1, 2, 3, 5)  # noqa: DTZ001 - Optuna's are local
    template = optuna.trial.create_trial(
        state=state,
        params=PARAMS,
        distributions=DISTRIBUTIONS,
        user_attrs=ATTRIBUTES,
        system_attrs={"constraints:drop": 0.5},
        values=values or None,
    )
    template.datetime_start, template.datetime_complete = start, end if state.is_finished() else None
    stored = {
        name: (one.to_internal_repr(PARAMS[name]), optuna.distributions.distribution_to_json(one))
        for name, one in DISTRIBUTIONS.items()
    }
    utc = [
        None if at is None else at.astimezone(dt.UTC).replace(tzinfo=None) for at in (start, template.datetime_complete)
    ]
    written = [WrittenTrial(number, state, stored, ATTRIBUTES, values, {"drop": 0.5}, *utc) for number in range(2)]
    by = {}
    for kind in (optuna.storages.RDBStorage, BulkRDBStorage):
        storage = kind(f"sqlite:///{tmp_path / kind.__name__}")
        study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE] * 2, "s")
        if kind is BulkRDBStorage:
            storage.write_trials(study, written)
        else:
            for _ in range(2):
                storage.create_new_trial(study, template_trial=template)
        by[kind] = storage.get_all_trials(study)
        storage.engine.dispose()
    assert by[BulkRDBStorage] == by[optuna.storages.RDBStorage]
