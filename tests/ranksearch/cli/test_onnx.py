import json

import numpy as np
import pytest
import torch

import ranksearch as package
from tests.ranksearch import wire
from tests.ranksearch.documents.from_onnx.graphs import images, noise, of_one, saved

IMAGE = (4, 6, 5)


@pytest.fixture
def file(tmp_path):
    return saved(of_one("Conv", IMAGE, [noise(6, 4, 3, 3)]), tmp_path)


@pytest.mark.parametrize("words", [(), ("--no-verify",)])
def test_an_onnx_file_is_made_a_model_document_here(ranksearch, file, tmp_path, words):
    done = ranksearch("pack-onnx", file, "-o", tmp_path / "out.safetensors", "--json", *words)
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["summary"]["inputs"][0]["shape"] == list(IMAGE)
    assert package.load(told["path"])(images(IMAGE)).shape == (3, 6, 4, 3)


def test_without_a_name_it_is_the_files_here(ranksearch, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = ranksearch("pack-onnx", file)
    assert (done.exit_code, done.stdout.split(":")[0]) == (0, "net.safetensors")
    assert "216 parameters, input 4×6×5" in done.stdout


def test_what_is_wrong_with_a_file_is_said(ranksearch, tmp_path):
    done = ranksearch("pack-onnx", saved(of_one("NonZero", IMAGE), tmp_path), "-o", tmp_path / "out")
    assert done.exit_code == 5
    assert "the_NonZero" in done.stderr
    assert "mend:" in done.stderr
    assert "Traceback" not in done.stderr
    assert ranksearch("pack-onnx", tmp_path / "none.onnx").exit_code == 1


def test_an_onnx_file_and_an_npz_file_are_enough_to_submit(ranksearch, service, file, tmp_path):
    data = tmp_path / "images.npz"
    np.savez(data, images=torch.randn(500, 3, 8, 8).numpy(), labels=np.arange(500) % 10)
    done = ranksearch("submit", file, data, "--macs", "50%", "--no-watch")
    assert done.exit_code == 0, done.stderr
    sent = {request.url.path: request for request in service.requests if request.method == "POST"}
    assert sent["/v1/models"].content == file.read_bytes()
    assert sent["/v1/models"].url.params["name"] == "net"
    assert sent["/v1/datasets"].url.params["name"] == "images"
    (tmp_path / "sent").write_bytes(sent["/v1/datasets"].content)
    packed = package.load_data(tmp_path / "sent")
    assert (len(packed), packed.image_shape) == (500, (3, 8, 8))
    with np.load(data) as arrays:
        assert np.array_equal(packed.images().numpy(), arrays["images"])


def test_bytes_in_an_npz_file_do_not_say_how_they_are_normalised(ranksearch, service, tmp_path):
    data = tmp_path / "images.npz"
    np.savez(data, images=np.zeros((500, 8, 8, 3), np.uint8))
    done = ranksearch("submit", wire.MODEL, data, "--macs", "50%", "--no-watch")
    assert done.exit_code == 5
    assert "ranksearch pack-data" in done.stderr
    assert not service.requests


def test_models_are_listed_with_what_they_were_made_from(ranksearch, service):
    source = {"format": "onnx", "blob": {"sha256": "0" * 64, "size": 1}}
    service.answers["GET", "/v1/models"] = wire.page(wire.model() | {"source": source, "summary": None})
    done = ranksearch("models")
    assert done.exit_code == 0, done.stderr
    assert " onnx " in done.stdout
