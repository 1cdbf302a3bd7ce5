import pytest
from pydantic import ValidationError

from ranksearch.contracts.study_requests import DataSlice, StudyRequest

MINIMAL = {
    "model": "m",
    "calibration": {"dataset": "d", "stop": 8},
    "validation": {"dataset": "d", "start": 8},
    "constraints": {"macs": "33%"},
}


def request(**members):
    return StudyRequest.model_validate({**MINIMAL, **members})


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
        {"level": "finetuned"},
        {"sampler": "bayes"},
        {"pruner": "median"},
        {"warm_starts": ["best"]},
        {"finalists": -1},
        {"timeout": 0},
        {"plateau": 0},
        {"target": float("nan")},
        {"target": float("inf")},
        {"from_studies": ["s"] * 17},
        {"trials": 5},
        {"name": ""},
    ],
)
def test_wrong_members_are_refused(wrong):
    with pytest.raises(ValidationError):
        StudyRequest.model_validate({**MINIMAL, **wrong})


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"constraints": {}}, "the proxy alone needs constraints"),
        ({"objectives": []}, "at least 1 item"),
        ({"objectives": ["speed"]}, "'proxy', 'macs', 'params' or 'latency_ms'"),
        ({"objectives": ["proxy", "macs", "macs"]}, "names one of them twice"),
        ({"objectives": ["macs", "params"]}, "lacks proxy"),
        ({"objectives": ["macs"]}, "needs max_drop"),
        ({"objectives": ["macs"], "max_drop": -0.01}, "greater than or equal to 0"),
        ({"max_drop": 0.01}, "max_drop belongs to one cost"),
        ({"objectives": ["proxy", "macs"], "max_drop": 0.01}, "max_drop belongs to one cost"),
    ],
)
def test_a_goal_that_cannot_be_searched_for_is_refused(members, message):
    with pytest.raises(ValidationError, match=message):
        request(**members)


@pytest.mark.parametrize(
    "members",
    [
        {"objectives": ["macs"], "max_drop": 0.0, "constraints": {}},
        {"objectives": ["latency_ms"], "max_drop": 0.01, "constraints": {}},
        {"objectives": ["proxy", "macs"], "constraints": {}},
        {"objectives": ["macs", "proxy", "params", "latency_ms"], "constraints": {}},
        {"constraints": {"latency_ms": "50%"}},
        {"level": "statistics", "sampler": "tpe", "pruner": "none", "warm_starts": [], "from_studies": ["sty_1"]},
        {"search_images": {"calibration": None}, "finalists": 0, "timeout": 1.5, "plateau": 3, "target": -0.5},
    ],
)
def test_a_request_comes_back_from_json_as_it_went(members):
    made = request(**members)
    assert StudyRequest.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("members", "smallest"),
    [
        ({}, False),
        ({"objectives": ["params"], "max_drop": 0.01}, True),
        ({"objectives": ["proxy", "macs"]}, False),
    ],
)
def test_one_cost_alone_asks_for_the_smallest(members, smallest):
    assert request(**members).smallest is smallest


@pytest.mark.parametrize(
    ("members", "measured"),
    [
        ({}, False),
        ({"constraints": {"latency_ms": 4.5}}, True),
        ({"objectives": ["proxy", "latency_ms"]}, True),
        ({"objectives": ["latency_ms"], "max_drop": 0.1}, True),
    ],
)
def test_latency_is_measured_where_it_is_asked_for(members, measured):
    assert request(**members).measures_latency is measured


def test_two_requests_do_not_share_their_lists():
    request().from_studies.append("sty_1")
    assert request().from_studies == []
