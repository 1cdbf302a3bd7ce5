import pytest
from pydantic import ValidationError

from ranksearch.contracts.goals import Constraints, SearchImages, percentage
from ranksearch.contracts.profiles import Cost


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


def test_latency_is_no_bound_on_macs_or_params():
    assert Constraints(latency_ms=4.5).limits(Cost(macs=10, params=10)) == {}


@pytest.mark.parametrize(("bound", "limit"), [(4.5, 4.5), (3, 3.0), ("50%", 10.0), (None, None)])
def test_a_bound_on_latency_is_in_milliseconds_or_of_the_dense_networks(bound, limit):
    assert Constraints(latency_ms=bound).latency_limit(20.0) == limit


@pytest.mark.parametrize("bounds", [{"macs": 1}, {"params": "1%"}, {"latency_ms": 0.1}])
def test_whatever_is_bounded_is_given(bounds):
    assert Constraints.model_validate(bounds).given


def test_no_bound_is_not_given():
    assert not Constraints().given


@pytest.mark.parametrize(
    "bounds",
    [
        {"macs": 0},
        {"macs": -5},
        {"flops": 3},
        {"macs": 0.4},
        {"params": "0%"},
        {"latency_ms": 0},
        {"latency_ms": -0.5},
        {"latency_ms": "fast"},
        {"latency_ms": "101%"},
        {"latency_ms": float("inf")},
        {"latency_ms": float("nan")},
    ],
)
def test_what_is_no_bound_is_refused(bounds):
    with pytest.raises(ValidationError):
        Constraints.model_validate(bounds)


@pytest.mark.parametrize(
    "bounds", [{}, {"macs": 7}, {"macs": "33%", "params": 5, "latency_ms": 4.5}, {"latency_ms": "9%"}]
)
def test_constraints_come_back_from_json_as_they_went(bounds):
    made = Constraints.model_validate(bounds)
    assert Constraints.model_validate_json(made.model_dump_json()) == made


def test_all_images_are_none():
    assert SearchImages.model_validate({"calibration": None, "validation": None}).calibration is None


@pytest.mark.parametrize("wrong", [{"calibration": 0}, {"validation": -1}, {"test": 5}, {"calibration": 1.5}])
def test_numbers_of_images_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValidationError):
        SearchImages.model_validate(wrong)
