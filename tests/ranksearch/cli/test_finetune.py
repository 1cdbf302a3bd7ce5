"""``ranksearch finetune``."""

import json

import pytest

from tests.ranksearch import wire

PATH = f"/v1/studies/{wire.STUDY}/finetunes"


@pytest.fixture
def trained(service):
    service.answers["POST", PATH] = wire.page(wire.finetune("pending", step=0))
    running, ready = wire.page(wire.finetune("running", step=3)), wire.page(wire.finetune())
    service.answers["GET", PATH] = [running, ready, ready]


def posted(service):
    return [json.loads(request.content) for request in service.requests if request.method == "POST"]


def test_it_asks_waits_and_shows_what_came_of_it(ranksearch, service, trained):
    done = ranksearch("finetune", "first", "--watch")
    assert done.exit_code == 0, done.stderr
    assert "trials 3 are fine-tuned, 8 steps each" in done.stderr
    assert "trial 3 running 3/8" in done.stderr
    assert "93.00%" in done.stdout
    assert "the best" in done.stdout
    assert posted(service)[0]["trials"] is None


def test_options_are_the_requests(ranksearch, service, trained):
    options = ("--trial", "3", "--trial", "5", "--epochs", "4", "--learning-rate", "0.01", "--augmentation", "flip")
    ranksearch("finetune", "first", *options)
    (asked,) = posted(service)
    assert asked["trials"] == [3, 5]
    recipe = asked["recipe"]
    assert (recipe["epochs"], recipe["learning_rate"], recipe["augmentation"]) == (4, 0.01, "flip")


def test_to_show_them_nothing_is_asked_for(ranksearch, service, trained):
    done = ranksearch("finetune", "first", "--show", "--json")
    assert [one["step"] for one in json.loads(done.stdout)] == [3]
    assert posted(service) == []


def test_where_there_are_none_it_says_how_to_have_some(ranksearch, service):
    service.answers["GET", PATH] = wire.page()
    done = ranksearch("finetune", "first", "--show")
    assert f"ranksearch finetune {wire.STUDY}" in done.stderr


def test_those_under_way_are_stopped(ranksearch, service):
    service.answers["GET", PATH] = wire.page(wire.finetune(), wire.finetune("running", trial=5, step=2))
    service.answers["POST", f"{PATH}/job_ft5/cancel"] = wire.finetune("cancelled", trial=5)
    done = ranksearch("finetune", "first", "--cancel")
    assert done.exit_code == 0, done.stderr
    assert len([request for request in service.requests if request.method == "POST"]) == 1


def test_a_failure_is_told_and_is_the_exit_status(ranksearch, service, trained):
    failed = wire.finetune("failed", step=3, error=wire.problem("evaluation_not_finite", 500, detail="no number"))
    service.answers["GET", PATH] = wire.page(failed)
    done = ranksearch("finetune", "first", "--watch")
    assert done.exit_code == 1
    assert "no number" in done.stdout


@pytest.mark.parametrize("options", [("--epochs", "-1"), ("--augmentation", "mixup")])
def test_a_recipe_that_makes_no_sense_is_bad_input(ranksearch, trained, options):
    done = ranksearch("finetune", "first", *options)
    assert (done.exit_code, done.stderr.startswith("error: ")) == (5, True)
