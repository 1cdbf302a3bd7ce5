"""The pages of models and data sets."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.service import synthetic
from tests.service.access_stories import token_for
from tests.service.dashboard.conftest import HOSTILE, text_of


def profile():
    """Two methods for the second layer, one for the third; the first stays dense."""
    both = synthetic.with_methods(
        synthetic.site("body.conv", 10_000, 200), synthetic.site("body.conv", 10_000, 200, points=3, method="tucker2")
    )
    return synthetic.profile(
        [synthetic.dense_site("stem", "it is the first layer"), both, synthetic.site("head", 5_000, 90)]
    )


@pytest.fixture
def prepared(service):
    return service.prepare(profile())


def test_models_are_listed_with_what_they_are(browser, prepared):
    text = text_of(browser.get("/models"))
    assert "net a graph of its own ready 3 × 8 × 8" in text


def test_without_a_model_the_page_says_how_to_make_one(browser):
    text = text_of(browser.get("/models"))
    assert "No model yet" in text
    assert "ranksearch.pack(model, example_inputs" in text


def test_a_model_that_waits_says_for_what(service, browser):
    model = service.upload_model().json()["id"]
    waits = service.get(f"/v1/models/{model}")["waiting_for"]
    assert waits
    for path in ("/models", f"/models/{model}"):
        assert waits.replace("`", "").split(":")[0] in re.sub(r"\s+", " ", text_of(browser.get(path))), path
    assert "ranksearch worker --url http://testserver" in text_of(browser.get(f"/models/{model}"))


def test_a_model_that_could_not_be_inspected_says_why(service, browser):
    model = service.upload_model().json()["id"]
    agent = service.agent()
    agent.fail(agent.must_claim("inspect"), code="document_unknown_operator", detail="aten.nonzero is unknown here")
    text = text_of(browser.get(f"/models/{model}"))
    assert "failed" in text
    assert "aten.nonzero is unknown here" in text


def test_a_model_that_came_as_an_onnx_file_says_so_before_and_after_it_is_translated(service, browser):
    model = service.upload_model(synthetic.onnx_file()).json()
    for path in ("/models", f"/models/{model['id']}"):
        assert browser.get(path).status_code == 200
    page = browser.get(f"/models/{model['id']}").text
    assert f'href="/v1/blobs/{model["blob"]["sha256"]}" download="net.onnx"' in page
    agent = service.agent()
    agent.complete(agent.must_claim("inspect"))
    assert "net from an ONNX file ready 3 × 8 × 8" in text_of(browser.get("/models"))
    text = text_of(browser.get(f"/models/{model['id']}"))
    size = len(synthetic.onnx_file())
    assert (
        f"Made from an ONNX file , {size} B: opset 18, by pytorch 2.14; outputs within 1e-06 of ONNX Runtime’s" in text
    )


def test_pages_take_onnx_files(browser):
    for path in ("/models", "/submit"):
        page = browser.get(path).text
        assert 'accept=".safetensors,.onnx"' in page
        assert "Upload a model document or an ONNX file" in page


def test_the_layers_of_a_model_have_the_costs_of_its_profile(browser, prepared):
    page = browser.get(f"/models/{prepared['model']}")
    text = text_of(page)
    grid = profile().sites[1].grids["cp3"]
    shares = [f"{grid[at].macs / 10_000:.0%}" for at in (0, len(grid) // 2, -1)]
    assert f"body.conv conv2d 8 × 8 × 3 × 3 10 k {10_000 / profile().dense.macs:.1%} {' · '.join(shares)}" in text
    assert "stays dense: it is the first layer" in text
    assert "2 of 3" in text
    assert re.findall(r'class="ranges">(\w+)</th>', page.text) == ["cp3", "tucker2"]


def test_a_model_leads_to_the_studies_that_search_it(service, browser, prepared):
    service.uploaded.update(prepared)
    study = service.submit(name="the first one")["id"]
    assert f'<a href="/studies/{study}">the first one</a>' in browser.get(f"/models/{prepared['model']}").text
    assert f'<a href="/studies/{study}">the first one</a>' in browser.get(f"/datasets/{prepared['dataset']}").text


def test_a_data_set_shows_its_images_with_their_labels(service, browser, prepared):
    page = browser.get(f"/datasets/{prepared['dataset']}")
    shown = re.findall(r'<img src="([^"]+)"[^>]*alt="([^"]+)"', page.text)
    assert shown[:2] == [(f"/v1/datasets/{prepared['dataset']}/images/{at}", f"Image {at}, {at}") for at in (0, 1)]
    assert len(shown) == 24
    further = re.search(r'rel="next" href="([^"]+)"', page.text)[1]
    assert "Images 24 to 39" in text_of(browser.get(further))
    assert browser.get(shown[0][0]).headers["content-type"] == "image/png"


def test_a_data_set_without_labels_says_so(service, browser):
    data = service.upload_dataset(synthetic.dataset_document(labels=None)).json()["id"]
    assert "no labels" in text_of(browser.get("/datasets"))
    assert "no label" in text_of(browser.get(f"/datasets/{data}"))


def test_names_are_shown_as_they_are(service, browser):
    model = service.upload_model(name=HOSTILE).json()["id"]
    document = synthetic.tensor_file(
        {
            "format": "ranksearch.dataset/1",
            "layout": "NHWC",
            "mean": "[0]",
            "std": "[1]",
            "class_names": json.dumps([HOSTILE]),
        },
        {
            "images": np.zeros((2, 4, 4, 1), dtype=np.uint8),
            "labels": np.zeros(2, dtype=np.int64),
        },
    )
    data = service.upload_dataset(document, name=HOSTILE).json()["id"]
    for path in ("/models", f"/models/{model}", "/datasets", f"/datasets/{data}"):
        text = browser.get(path).text
        assert "<script>alert" not in text, path
        assert "&lt;script&gt;alert" in text, path


def test_who_may_only_read_is_offered_nothing_that_changes(service, stranger, prepared):
    secret = token_for(service, "rita", "default", "read")
    assert stranger.post("/v1/session", json={"token": secret}).status_code == 201
    for path in ("/models", f"/models/{prepared['model']}", "/datasets", f"/datasets/{prepared['dataset']}"):
        text = stranger.get(path).text
        assert "hx-delete" not in text, path
        assert "data-upload" not in text, path


def test_other_projects_see_none_of_it(service, stranger, prepared):
    stranger.post("/v1/session", json={"token": token_for(service, "eve", "other")})
    assert stranger.get(f"/models/{prepared['model']}").status_code == 404
    assert stranger.get(f"/datasets/{prepared['dataset']}").status_code == 404
    assert "No model yet" in text_of(stranger.get("/models"))
