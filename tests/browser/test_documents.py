"""Models and data sets in a browser: uploaded, looked at, refused, deleted."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from playwright.sync_api import expect

from ranksearch.contracts.errors import NotFoundError
from tests.service import synthetic


@pytest.fixture
def pictures():
    """A data set of small gradients, so that there is something to see."""
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    images = np.stack([np.roll(ramp[None, :, None] + ramp[:, None, None] // 2, at, 1) for at in range(40)])
    labels = np.arange(40, dtype=np.int64) % 3
    metadata = {
        "format": "ranksearch.dataset/1",
        "layout": "NHWC",
        "mean": "[0.5, 0.5, 0.5]",
        "std": "[0.25, 0.25, 0.25]",
        "class_names": '["aeroplane", "a name of a class that is rather long", "cat"]',
    }
    return synthetic.tensor_file(metadata, {"images": np.repeat(images, 3, 3), "labels": labels})


def file(name, content):
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


@pytest.mark.parametrize("name", ["models", "datasets"])
def test_the_lists_are_in_order(signed_in_page, check_page, name):
    signed_in_page.goto(f"/{name}")
    check_page(signed_in_page, name)


def test_the_page_of_a_model_is_in_order(signed_in_page, seeded, check_page):
    signed_in_page.goto(f"/models/{seeded.model}")
    assert signed_in_page.get_by_role("row").count() == 21
    check_page(signed_in_page, "model")


def test_a_data_set_is_uploaded_and_shows_its_images(signed_in_page, check_page, pictures):
    page = signed_in_page
    page.goto("/datasets")
    page.get_by_label("Upload a data set document").set_input_files(file("gradients.safetensors", pictures))
    page.wait_for_url("**/datasets/dts_*")
    assert page.get_by_role("heading", level=1).inner_text() == "gradients"
    shown = page.get_by_role("img", name="Image 2, cat")
    shown.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelectorAll('.picture img')[2].naturalWidth === 32")
    check_page(page, "dataset")


def test_a_file_that_is_chosen_before_the_page_is_ready_is_uploaded(signed_in_page, pictures):
    page, held = signed_in_page, []
    page.route("**/upload.js", lambda route: held.append(route), times=1)  # noqa: PLW0108 - its signature is read
    page.goto("/datasets", wait_until="commit")
    page.get_by_label("Upload a data set document").set_input_files(file("early.safetensors", pictures))
    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    page.wait_for_url("**/datasets/dts_*")


def test_a_pickle_is_refused_as_a_model_and_says_what_to_do(signed_in_page, watches, check_page):
    page = signed_in_page
    page.goto("/models")
    page.get_by_label("Upload a model document").set_input_files(file("resnet.pt", pickle.dumps({"w": [0.0] * 1000})))
    box = page.get_by_role("region", name="Problem")
    box.wait_for()
    assert "pickles are never opened here" in box.inner_text()
    assert "ranksearch.pack" in box.inner_text()
    (said,) = watches[page].errors
    assert "422" in said
    watches[page].errors.clear()  # Chromium says of every 422 that it is one
    check_page(page, "models-refused")


def test_an_onnx_file_is_uploaded_under_its_name_and_says_what_it_is(signed_in_page, seeded, check_page):
    page = signed_in_page
    page.goto("/models")
    page.get_by_label("Upload a model document or an ONNX file").set_input_files(
        file("Plain net.onnx", synthetic.onnx_file(salt=3))
    )
    page.wait_for_url("**/models/mdl_*")
    expect(page.get_by_role("heading", name="Plain net", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="an ONNX file")).to_have_attribute("download", "Plain net.onnx")
    check_page(page, "model-from-onnx")
    seeded.http.delete(f"/v1/models/{page.url.rpartition('/')[2]}")


def test_an_upload_is_cancelled(signed_in_page, seeded):
    page = signed_in_page
    before = seeded.http.get("/v1/models").json()["items"]
    page.goto("/models")
    page.route("**/v1/models?name=*", lambda _route: None)  # an upload that does not come to its end
    page.get_by_label("Upload a model document").set_input_files(file("slow.safetensors", b"\0" * 4096))
    assert page.get_by_text("slow.safetensors").is_visible()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_label("Upload a model document").wait_for(state="attached")
    assert page.get_by_text("Upload a model document").is_visible()
    assert page.get_by_role("region", name="Problem").count() == 0
    assert seeded.http.get("/v1/models").json()["items"] == before


def test_what_studies_need_is_not_deleted_and_what_they_do_not_is(signed_in_page, seeded, watches):
    page = signed_in_page
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"/datasets/{seeded.dataset}")
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("Studies need this data set").wait_for()
    watches[page].errors.clear()
    spare = seeded.http.post("/v1/models", params={"name": "spare"}, content=synthetic.model_document(salt=77)).json()[
        "id"
    ]
    page.goto(f"/models/{spare}")
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/models")
    assert seeded.http.get(f"/v1/models/{spare}").json()["code"] in NotFoundError.codes
    watches[page].quiet()
