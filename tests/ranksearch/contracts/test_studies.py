import pytest
from pydantic import ValidationError

from ranksearch.contracts.goals import Constraints, percentage
from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.studies import Progress, Seconds
from ranksearch.contracts.study_requests import DataSlice, StudyRequest

MINIMAL = {
    "model": "m",
    "calibration": {"dataset": "d", "stop": 8},
    "validation": {"dataset": "d", "start": 8},
    "constraints": {"macs": "33%"},
}


@pytest.mark.parametrize(("text", "value"), [("33%", 0.33), ("100%", 1.0), ("0.5 %", 0.005), ("12.25%", 0.1225)])
def test_percentage(text, value):
    assert percentage(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["0%", "101%", "33", "-1%", "33%%", "%", "", "nan%", "1e1%", "٣٣%x"])
def test_what_is_no_percentage_is_refused(text):
    with pytest.raises(ValueError, match="neither a number nor a percentage"):
        percentage(text)


def test_limits_are_absolute_and_rounded_down():
    limits = Constraints.model_validate({"macs": "33%", "params": 50}).limits(Cost(macs=1001, params=100))
    assert limits == {"macs": 330, "params": 50}


def test_a_bound_that_is_not_given_limits_nothing():
    assert Constraints(macs="50%").limits(Cost(macs=10, params=10)) == {"macs": 5}


@pytest.mark.parametrize("bounds", [{}, {"macs": 0}, {"macs": -5}, {"flops": 3}, {"macs": 0.4}, {"macs": None}])
def test_constraints_that_bound_nothing_are_refused(bounds):
    with pytest.raises(ValidationError):
        Constraints.model_validate(bounds)


@pytest.mark.parametrize("wrong", [{"start": 5, "stop": 5}, {"start": 5, "stop": 3}, {"start": -1}, {"stop": 0}])
def test_slices_that_hold_nothing_are_refused(wrong):
    with pytest.raises(ValidationError):
        DataSlice.model_validate({"dataset": "d", **wrong})


def test_a_minimal_request_has_the_documented_defaults():
    request = StudyRequest.model_validate(MINIMAL)
    assert (request.n_trials, request.seed, request.metric, request.batch_size) == (100, 0, None, 64)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_trials": 0},
        {"seed": -1},
        {"seed": 2**32},
        {"methods": []},
        {"methods": ["epc"]},
        {"metric": "speed"},
        {"batch_size": 0},
        {"trials": 5},
        {"name": ""},
    ],
)
def test_wrong_members_are_refused(wrong):
    with pytest.raises(ValidationError):
        StudyRequest.model_validate({**MINIMAL, **wrong})


def test_finished_trials_are_those_that_completed_or_failed():
    assert Progress(n_trials=9, complete=3, failed=2, running=1, waiting=3).finished == 5


def test_seconds_are_written_under_the_names_of_their_phases():
    written = Seconds().model_dump(mode="json")
    assert all(not name.endswith("_") for name in written)
