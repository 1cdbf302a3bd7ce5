"""Pictures and labels of a data set: what is in the document, decoded by another program."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.scheduling import dataset_images
from service.scheduling.png import png
from tests.service import synthetic
from tests.service.access_stories import bearer, token_for

RANDOM = np.random.default_rng(7)
COUNT = 12


def document(images, *, layout, labels=None, names=None, labels_first=False):
    channels = images.shape[1 if layout == "NCHW" else 3]
    metadata = {
        "format": "ranksearch.dataset/1",
        "layout": layout,
        "mean": json.dumps([0.5] * channels),
        "std": json.dumps([0.25] * channels),
    }
    if names is not None:
        metadata["class_names"] = json.dumps(names)
    tensors = {"images": images}
    if labels is not None:
        tensors = {"labels": labels, "images": images} if labels_first else {"images": images, "labels": labels}
    return synthetic.tensor_file(metadata, tensors)


def pixels(service, dataset, index):
    """A picture as Pillow reads it, ``(H, W, C)``."""
    answer = service.http.get(f"/v1/datasets/{dataset}/images/{index}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    read = np.asarray(Image.open(io.BytesIO(answer.content)))
    return read[..., None] if read.ndim == 2 else read


def uploaded(service, given):
    answer = service.upload_dataset(given)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labels_first", [False, True])
def test_pictures_show_the_bytes_of_their_images(service, layout, channels, labels_first):
    images = RANDOM.integers(0, 256, (COUNT, 5, 7, channels), dtype=np.uint8)
    stored = images if layout == "NHWC" else np.moveaxis(images, 3, 1)
    labels = np.arange(COUNT, dtype=np.int64)
    dataset = uploaded(service, document(stored, layout=layout, labels=labels, labels_first=labels_first))
    for index in (0, 4, COUNT - 1):
        np.testing.assert_array_equal(pixels(service, dataset, index), images[index])


def test_floats_between_0_and_1_are_shown_as_they_are(service):
    images = RANDOM.random((3, 6, 6, 3), dtype=np.float32) * np.float32(0.5)
    dataset = uploaded(service, document(images, layout="NHWC"))
    np.testing.assert_array_equal(pixels(service, dataset, 2), np.rint(images[2].astype(float) * 255))


def test_floats_of_another_range_are_shown_from_their_smallest_to_their_largest(service):
    images = RANDOM.normal(size=(3, 1, 6, 6)).astype(np.float32)
    dataset = uploaded(service, document(images, layout="NCHW"))
    shown, image = pixels(service, dataset, 1)[..., 0], images[1, 0]
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.unravel_index(image.argmax(), image.shape) == np.unravel_index(shown.argmax(), shown.shape)
    assert (np.diff(shown.ravel()[image.ravel().argsort()].astype(int)) >= 0).all()


def test_a_large_image_is_thinned_out(service):
    images = RANDOM.integers(0, 256, (1, 1100, 40, 1), dtype=np.uint8)
    dataset = uploaded(service, document(images, layout="NHWC"))
    np.testing.assert_array_equal(pixels(service, dataset, 0), images[0, ::3, ::3])


def test_samples_have_the_labels_and_the_names_of_their_classes(service):
    labels = np.array([1, 0, 2, 2, 1], dtype=np.int64)
    images = np.zeros((5, 2, 2, 3), dtype=np.uint8)
    names = ["apple", "bear", "cat"]
    dataset = uploaded(service, document(images, layout="NHWC", labels=labels, names=names))
    told = service.get(f"/v1/datasets/{dataset}/samples?start=1&count=3")
    assert told["count"] == 5
    assert told["items"] == [
        {"index": 1, "label": 0, "class_name": "apple", "url": f"/v1/datasets/{dataset}/images/1"},
        {"index": 2, "label": 2, "class_name": "cat", "url": f"/v1/datasets/{dataset}/images/2"},
        {"index": 3, "label": 2, "class_name": "cat", "url": f"/v1/datasets/{dataset}/images/3"},
    ]


def test_without_labels_there_are_none(service):
    dataset = uploaded(service, document(np.zeros((2, 2, 2, 1), dtype=np.uint8), layout="NHWC"))
    items = service.get(f"/v1/datasets/{dataset}/samples")["items"]
    assert [(one["label"], one["class_name"]) for one in items] == [(None, None)] * 2


@pytest.mark.parametrize("path", ["samples?start=12", "images/12", "images/99999999999999999"])
def test_an_image_that_is_not_there_is_refused(service, path):
    dataset = uploaded(service, document(np.zeros((COUNT, 2, 2, 1), dtype=np.uint8), layout="NHWC"))
    answer = service.http.get(f"/v1/datasets/{dataset}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_slice_out_of_range")
    assert answer.json()["expected"] == "0 to 11"


def test_images_of_other_channels_have_labels_and_no_picture(service):
    images = np.zeros((2, 5, 4, 4), dtype=np.uint8)
    dataset = uploaded(service, document(images, layout="NCHW", labels=np.array([0, 1], dtype=np.int64)))
    items = service.get(f"/v1/datasets/{dataset}/samples")["items"]
    assert [(one["label"], one["url"]) for one in items] == [(0, None), (1, None)]
    answer = service.http.get(f"/v1/datasets/{dataset}/images/0")
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_shape_mismatch")


def test_an_image_of_more_bytes_than_a_picture_may_cost_is_not_read(service, monkeypatch):
    monkeypatch.setattr(dataset_images, "_LARGEST_IMAGE", 15)
    dataset = uploaded(service, document(np.zeros((2, 4, 4, 1), dtype=np.uint8), layout="NHWC"))
    assert service.get(f"/v1/datasets/{dataset}/samples")["items"][0]["url"] is None
    assert service.http.get(f"/v1/datasets/{dataset}/images/0").json()["code"] == "dataset_too_large"


@pytest.mark.parametrize("path", ["samples", "images/0"])
def test_other_projects_get_what_does_not_exist(service, path):
    dataset = uploaded(service, synthetic.dataset_document())
    other = TestClient(service.app, headers=bearer(token_for(service, "eve", "other")))
    answer = other.get(f"/v1/datasets/{dataset}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "dataset_not_found")


@pytest.mark.parametrize("broken", [b"", b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60])
def test_a_document_that_is_not_what_it_was_is_refused_and_not_believed(service, broken):
    given = synthetic.dataset_document()
    dataset = uploaded(service, given)
    service.backend.blobs.address(synthetic.sha256(given)).write_bytes(broken)
    for path in ("samples", "images/0"):
        answer = service.http.get(f"/v1/datasets/{dataset}/{path}")
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] in {"dataset_truncated", "dataset_too_large", "dataset_header_invalid"}


def test_a_document_whose_tensors_were_exchanged_is_refused(service):
    given = synthetic.dataset_document()
    dataset = uploaded(service, given)
    other = document(np.zeros((40, 8, 9, 3), dtype=np.uint8), layout="NHWC", labels=np.zeros(40, dtype=np.int64))
    service.backend.blobs.address(synthetic.sha256(given)).write_bytes(other)
    assert service.http.get(f"/v1/datasets/{dataset}/images/0").json()["code"] == "dataset_header_invalid"


def test_pictures_are_kept_by_the_browser_that_asked(service):
    dataset = uploaded(service, synthetic.dataset_document())
    kept = service.http.get(f"/v1/datasets/{dataset}/images/0").headers["cache-control"]
    assert kept.startswith("private")
    assert "immutable" in kept


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 17, 3), (64, 2, 1)])
def test_png_is_read_by_others_as_it_was_written(shape):
    image = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    read = Image.open(io.BytesIO(png(image)))
    read.load()
    np.testing.assert_array_equal(np.asarray(read).reshape(shape), image)


def pairs(images, **more):
    """Speeds, depths that are no picture, and the images."""
    inputs = [
        {"name": "speed"},
        {"name": "depth", "layout": "NCHW", "mean": [0, 0], "std": [1, 1]},
        {"name": "rgb", "layout": "NHWC", "mean": [0.5] * 3, "std": [0.25] * 3},
    ]
    tensors = {
        "input.speed": RANDOM.random((COUNT, 2), dtype=np.float32),
        "input.depth": RANDOM.random((COUNT, 2, 5, 7), dtype=np.float32),
        "input.rgb": images,
        **more,
    }
    return synthetic.tensor_file({"format": "ranksearch.dataset/1", "inputs": json.dumps(inputs)}, tensors)


def test_of_several_inputs_the_first_that_can_be_shown_is(service):
    images = RANDOM.integers(0, 256, (COUNT, 5, 7, 3), dtype=np.uint8)
    dataset = uploaded(service, pairs(images, labels=np.arange(COUNT, dtype=np.int64)))
    assert np.array_equal(pixels(service, dataset, 4), images[4])
    items = service.http.get(f"/v1/datasets/{dataset}/samples", params={"start": 3}).json()["items"]
    assert items[0]["label"] == 3
    assert items[0]["url"] is not None


def test_what_is_no_image_has_labels_and_no_picture(service):
    metadata = {"format": "ranksearch.dataset/1", "inputs": '[{"name": "signal"}]'}
    tensors = {"input.signal": np.zeros((COUNT, 4, 16), np.float32), "labels": np.arange(COUNT, dtype=np.int64)}
    dataset = uploaded(service, synthetic.tensor_file(metadata, tensors))
    items = service.http.get(f"/v1/datasets/{dataset}/samples").json()["items"]
    assert (items[1]["label"], items[1]["url"]) == (1, None)
    refused = service.http.get(f"/v1/datasets/{dataset}/images/0")
    assert (refused.status_code, refused.json()["code"]) == (422, "dataset_shape_mismatch")


def test_the_inputs_are_told(service):
    images = np.zeros((COUNT, 5, 7, 3), np.uint8)
    dataset = uploaded(service, pairs(images))
    told = service.http.get(f"/v1/datasets/{dataset}").json()["summary"]["inputs"]
    assert [(one["name"], one["shape"], one["layout"]) for one in told] == [
        ("speed", [2], None),
        ("depth", [2, 5, 7], "NCHW"),
        ("rgb", [3, 5, 7], "NHWC"),
    ]


@pytest.mark.parametrize("many", [False, True])
def test_pages_show_every_input(service, many):
    document_ = pairs(np.zeros((COUNT, 5, 7, 3), np.uint8))
    if not many:
        metadata = {"format": "ranksearch.dataset/1", "inputs": '[{"name": "speed"}]'}
        document_ = synthetic.tensor_file(metadata, {"input.speed": np.zeros((COUNT, 2), np.float32)})
    dataset = uploaded(service, document_)
    for page in ("/datasets", f"/datasets/{dataset}"):
        shown = service.http.get(page)
        assert shown.status_code == 200, shown.text
        assert ("depth" in shown.text) == many
    assert "speed" in shown.text
    assert "taken as it is" in shown.text
