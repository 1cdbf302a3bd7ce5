import json

import httpx
import pytest

from ranksearch.contracts.errors import InputError
from ranksearch.contracts.goals import Constraints, SearchImages
from ranksearch.contracts.studies import Study
from tests.ranksearch import wire

OTHER = "sty_zzzzzzzzzzzzzzzz"


@pytest.fixture
def requests():
    return []


@pytest.fixture
def client(serve, requests):
    """Of a service that has a model and a data set."""

    def handler(request):
        request.read()
        requests.append(request)
        answers = {"models": wire.model(), "datasets": wire.dataset()}
        return httpx.Response(200, json=answers.get(request.url.path.split("/")[2], wire.study()))

    return serve(handler)


@pytest.fixture
def asked(client, requests):
    """Submit with these arguments; what the service was asked for."""

    def submit(**arguments):
        client.submit(wire.MODEL, wire.DATASET, **arguments)
        return json.loads(requests[-1].content)

    return submit


@pytest.mark.parametrize(
    ("budget", "bounds"),
    [
        ("33%", {"macs": "33%"}),
        (123, {"macs": 123}),
        ({"params": "50%"}, {"params": "50%"}),
        ({"macs": 7, "params": "50%"}, {"macs": 7, "params": "50%"}),
        ({"latency_ms": 4.5}, {"latency_ms": 4.5}),
        ({"latency_ms": "50%"}, {"latency_ms": "50%"}),
        (Constraints(macs="10%"), {"macs": "10%"}),
    ],
)
def test_budgets(asked, budget, bounds):
    assert asked(budget=budget)["constraints"] == {"macs": None, "params": None, "latency_ms": None, **bounds}


def test_without_a_word_the_best_proxy_within_40_percent_of_the_macs_is_searched_for(asked):
    request = asked()
    assert (request["objectives"], request["constraints"]["macs"]) == (["proxy"], "40%")


def test_a_drop_alone_asks_for_the_fewest_macs_without_a_bound(asked):
    request = asked(max_drop=0.01)
    assert (request["objectives"], request["max_drop"], request["constraints"]["macs"]) == (["macs"], 0.01, None)


def test_a_drop_of_nothing_is_a_drop(asked):
    assert asked(max_drop=0)["objectives"] == ["macs"]


def test_a_drop_may_go_with_another_cost_and_a_bound(asked):
    request = asked(objectives="params", max_drop=0.02, budget="50%")
    assert (request["objectives"], request["constraints"]["macs"]) == (["params"], "50%")


def test_a_front_needs_no_bound(asked):
    assert asked(objectives=["proxy", "macs"])["constraints"]["macs"] is None


MEMBERS = {
    "metric": "kl",
    "methods": ["svd"],
    "keep_dense": ["head"],
    "n_trials": 7,
    "n_startup_trials": 3,
    "level": "statistics",
    "sampler": "tpe",
    "pruner": "none",
    "warm_starts": ["greedy"],
    "finalists": 0,
    "plateau": 20,
    "target": 0.01,
    "priority": -7,
    "max_parallel": 4,
    "requirements": {"device": "cuda", "memory_bytes": 2**34, "labels": {"site": "berlin"}},
    "seed": 3,
    "batch_size": 9,
    "name": "x",
}


@pytest.mark.parametrize(("member", "value"), MEMBERS.items())
def test_a_member_is_passed_on_under_its_name(asked, member, value):
    assert asked(**{member: value})[member] == value


def test_the_time_of_the_study_is_not_the_wait_for_the_inspection(asked):
    assert asked(study_timeout=60, timeout=5)["timeout"] == 60


def test_no_warm_starts_are_none(asked):
    assert asked(warm_starts=[])["warm_starts"] == []


@pytest.mark.parametrize("member", ["methods", "keep_dense", "warm_starts"])
def test_a_single_word_needs_no_list(asked, member):
    word = MEMBERS[member][0]
    assert asked(**{member: word})[member] == [word]


def test_earlier_studies_are_ids_handles_or_studies(asked, client):
    earlier = [OTHER, client.study("sty_1"), Study.model_validate(wire.study())]
    assert asked(from_studies=earlier)["from_studies"] == [OTHER, "sty_1", wire.STUDY]


@pytest.mark.parametrize(
    ("images", "numbers"),
    [
        ({"calibration": 5, "validation": None}, {"calibration": 5, "validation": None}),
        ({"validation": 70}, {"calibration": 256, "validation": 70}),
        (SearchImages(calibration=None), {"calibration": None, "validation": 1000}),
    ],
)
def test_how_many_images_a_trial_uses(asked, images, numbers):
    assert asked(search_images=images)["search_images"] == numbers


def test_a_request_that_says_nothing_has_the_services_defaults(asked):
    request = asked()
    del request["model"], request["calibration"], request["validation"]
    assert request == {
        "constraints": {"macs": "40%", "params": None, "latency_ms": None},
        "objectives": ["proxy"],
        "max_drop": None,
        "name": None,
        "methods": ["cp3", "svd"],
        "keep_dense": [],
        "metric": None,
        "level": "reconstruction",
        "sampler": "auto",
        "pruner": "wilcoxon",
        "warm_starts": ["uniform", "equal_error", "greedy"],
        "from_studies": [],
        "search_images": {"calibration": 256, "validation": 1000},
        "finalists": 5,
        "finetune": None,
        "n_trials": 100,
        "n_startup_trials": 10,
        "timeout": None,
        "plateau": None,
        "target": None,
        "priority": 0,
        "max_parallel": None,
        "requirements": {"device": None, "memory_bytes": None, "labels": {}},
        "seed": 0,
        "batch_size": 64,
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budget": "0%"}, "macs cannot be used"),
        ({"budget": "forty"}, "neither a number nor a percentage"),
        ({"budget": 0}, "macs cannot be used"),
        ({"budget": {}}, "the proxy alone needs constraints"),
        ({"budget": {"flops": "40%"}}, "flops cannot be used"),
        ({"budget": 0.4}, "macs cannot be used"),
        ({"budget": "140%"}, "macs cannot be used"),
        ({"budget": {"latency_ms": 0}}, "latency_ms cannot be used"),
        ({"objectives": "macs"}, "needs max_drop"),
        ({"objectives": []}, "objectives cannot be used"),
        ({"objectives": ["macs", "proxy"], "max_drop": 0.1}, "max_drop belongs to one cost"),
        ({"n_trials": 0}, "n_trials cannot be used"),
        ({"search_images": {"calibration": 0}}, "search_images.calibration cannot be used"),
        ({"study_timeout": 0}, "timeout cannot be used"),
        ({"sampler": "bayes"}, "'error_model'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_uploaded(client, requests, wrong, message):
    with pytest.raises(InputError, match=message):
        client.submit(wire.MODEL, wire.DATASET, **wrong)
    assert requests == []
