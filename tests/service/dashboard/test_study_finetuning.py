"""The page of a study's fine-tunings, as the service renders it."""

from __future__ import annotations

import re

import pytest

from tests.service import synthetic
from tests.service.access_stories import token_for
from tests.service.dashboard.conftest import text_of


@pytest.fixture
def agent(service):
    return service.agent(value=lambda job: 0.8 - job["trial"] / 100)


@pytest.fixture
def study(service, agent):
    made = service.submit()["id"]
    agent.work()
    return made


def tune(service, study, **body):
    answer = service.http.post(f"/v1/studies/{study}/finetunes", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["items"]


def page(browser, study):
    return browser.get(f"/studies/{study}/finetuning")


def test_before_anything_was_asked_for_it_says_what_it_is_good_for(browser, study):
    text = text_of(page(browser, study))
    assert "Nothing is fine-tuned yet" in text
    assert "Fine-tune them" in text


def test_who_may_only_look_gets_no_form(service, browser, stranger, study):
    stranger.post("/v1/session", json={"token": token_for(service, "bert", "default", "read")})
    answer = page(stranger, study)
    assert "Nothing is fine-tuned yet" in text_of(answer)
    assert "data-tune" not in answer.text


def test_a_training_shows_how_far_it_is_and_its_curve(service, browser, study, agent):
    tune(service, study, top=1, recipe={"epochs": 4})
    job = agent.must_claim("finetune")
    points = [{"step": step, "loss": loss, "learning_rate": 0.01} for step, loss in ((1, 1.0), (2, 0.1), (3, 0.01))]
    agent.post(job, "progress", points=points, before=synthetic.tuning_score(0.7), dense=synthetic.tuning_score(0.9))
    answer = page(browser, study)
    text = text_of(answer)
    assert "3 of 4" in text
    assert "70.00%" in text
    (line,) = re.findall(r'<polyline points="([^"]+)"', answer.text)
    places = [tuple(map(float, place.split(","))) for place in line.split()]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == pytest.approx([2, 24, 46])  # equal factors are equal ways down
    assert "Loss of trial 0: 1 at first, 0.01 after 3 steps" in answer.text


def test_what_came_of_them_is_told_with_the_choice_and_what_the_proxy_was_worth(service, browser, study, agent):
    agent.tuned = {0: 0.05, 1: 0.15, 2: 0.01}
    tune(service, study)
    agent.work()
    text = text_of(page(browser, study))
    assert "The fine-tuned network of trial 1 is handed out" in text
    assert "+15.00 points" in text
    assert "Kendall’s τ 0.33: the proxy said little" in text
    overview = text_of(browser.get(f"/studies/{study}"))
    assert "3 of 3" in overview
    assert "trial 1 is the best" in overview
    assert "Trial 1, fine-tuned, model document" in overview


def test_a_loss_is_told_as_such(service, browser, study, agent):
    agent.tuned = dict.fromkeys(range(4), -0.05)
    tune(service, study, top=1)
    agent.work()
    text = text_of(page(browser, study))
    assert "None of them is better" in text
    assert "−5.00 points" in text
    assert "no better than before" in text


def test_a_failure_says_why(service, browser, study, agent):
    tune(service, study, top=1)
    agent.fail(agent.must_claim("finetune"), detail="the loss is no number any more")
    assert "the loss is no number any more" in text_of(page(browser, study))
