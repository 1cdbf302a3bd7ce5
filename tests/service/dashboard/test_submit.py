"""The page that submits: what it offers, and to whom."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from ranksearch.contracts.defaults import DEFAULT_BUDGET, split
from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.contracts.resources import Dataset
from ranksearch.contracts.study_requests import StudyRequest
from tests.service import synthetic
from tests.service.access_stories import token_for
from tests.service.dashboard.conftest import text_of


def value_of(page, name):
    field = re.search(rf'<input[^>]*name="{name}"[^>]*>', page.text)[0]
    return re.search(r'value="([^"]*)"', field)[1]


@pytest.fixture
def prepared(service):
    return service.prepare()


@pytest.fixture
def form(browser, prepared):
    return browser.get(f"/submit?model={prepared['model']}&data={prepared['dataset']}")


def test_it_begins_with_the_documents_that_there_are(browser, prepared):
    page = browser.get("/submit")
    assert f'<option value="{prepared["model"]}">net</option>' in page.text
    assert f'<option value="{prepared["dataset"]}">data</option>' in page.text
    assert "data-study" not in page.text


def test_its_defaults_are_the_products(service, form, prepared):
    calibration, validation = split(Dataset.model_validate(service.get(f"/v1/datasets/{prepared['dataset']}")))
    assert value_of(form, "macs") == DEFAULT_BUDGET.rstrip("%")
    assert value_of(form, "n_trials") == str(StudyRequest.model_fields["n_trials"].default)
    assert value_of(form, "calibration-stop") == str(calibration.stop)
    assert value_of(form, "validation-start") == str(validation.start)
    chosen = re.findall(r'name="methods" value="(\w+)" checked', form.text)
    assert chosen == StudyRequest.model_fields["methods"].default


def test_a_model_that_is_not_inspected_says_what_it_waits_for(service, browser):
    model = service.upload_model().json()["id"]
    page = browser.get(f"/submit?model={model}")
    assert "data-waits" in page.text
    assert "ranksearch worker --url" in text_of(page)


def test_a_model_that_could_not_be_inspected_says_why(service, browser):
    model = service.upload_model().json()["id"]
    agent = service.agent()
    agent.fail(agent.must_claim("inspect"), code="document_unknown_operator", detail="aten.nonzero is unknown here")
    page = browser.get(f"/submit?model={model}")
    assert "aten.nonzero is unknown here" in text_of(page)
    assert "data-waits" not in page.text


def test_one_image_alone_is_refused_with_the_reason(service, browser, prepared):
    data = service.upload_dataset(synthetic.dataset_document(count=1)).json()["id"]
    text = text_of(browser.get(f"/submit?model={prepared['model']}&data={data}"))
    assert "One image cannot both calibrate and validate".lower() in text.lower()


def test_an_earlier_study_fills_it_in(service, browser, prepared):
    study = service.submit(
        seed=4,
        constraints={"macs": 60_000, "params": "70%"},
        n_trials=9,
        keep_dense=["layer2.conv"],
        finetune={"top": 5, "recipe": {"epochs": 7}},
    )
    page = browser.get(f"/submit?from={study['id']}")
    assert (value_of(page, "macs"), value_of(page, "params"), value_of(page, "n_trials")) == ("60000", "70", "9")
    base = json.loads(unescape(re.search(r'data-base="([^"]*)"', page.text)[1]))
    assert (base["seed"], base["finetune"]["recipe"]["epochs"], value_of(page, "finetune")) == (4, 7, "5")
    assert "n_trials" not in base
    kept = re.search(r'<input[^>]*value="layer2.conv"[^>]*>', page.text)[0]
    assert "checked" not in kept


def test_a_study_of_another_project_fills_in_nothing(service, stranger, prepared):
    study = service.submit()["id"]
    stranger.post("/v1/session", json={"token": token_for(service, "eve", "other")})
    assert stranger.get(f"/submit?from={study}").status_code == 404
    assert stranger.get(f"/submit?model={prepared['model']}").status_code == 404


def test_who_may_not_submit_is_told_so_and_not_led_there(service, stranger):
    stranger.post("/v1/session", json={"token": token_for(service, "rita", "default", "read")})
    assert stranger.get("/submit").status_code == 403
    assert 'href="/submit"' not in stranger.get("/models").text


def offered(page):
    """The metrics that can be asked for."""
    select = re.search(r'<select id="metric".*?</select>', page.text, re.DOTALL)[0]
    return re.findall(r'value="(\w+)"', select)


def test_a_classifier_is_offered_what_fits_it_and_says_what_it_is_judged_by(form):
    assert offered(form) == ["accuracy", "kl", "loss", "features", "outputs"]
    assert "what suits the study: kl" in form.text
    assert 'data-smallest-metric="accuracy"' in form.text
    assert "The network takes" not in form.text


def test_a_network_that_is_no_classifier_is_offered_what_fits_it_and_shows_what_it_takes(service, browser):
    wanted = [
        TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in (("rgb", (3, 8, 8)), ("speed", (2,)))
    ]
    outputs = [
        TensorSpec(name="out", shape=(4, 8, 8), dtype="float32"),
        TensorSpec(name="box", shape=(), dtype="float32"),
    ]
    profile = synthetic.profile().model_copy(update={"inputs": wanted, "outputs": outputs})
    ids = service.prepare(profile=profile, inputs=[("speed", (2,)), ("rgb", (3, 8, 8))])
    page = browser.get(f"/submit?model={ids['model']}&data={ids['dataset']}")
    assert offered(page) == ["features", "outputs"]
    assert 'data-smallest-metric="outputs"' in page.text
    assert 'name="finetune"' not in page.text
    shown = text_of(page)
    assert "rgb 3 × 8 × 8 from rgb, speed 2 from speed" in shown.replace(" ,", ",")
    assert "out 4 × 8 × 8, box 1" in shown
