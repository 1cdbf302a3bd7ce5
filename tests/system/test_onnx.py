"""Somebody has an ONNX file: a real service, and a real worker that opens it where it can do no harm."""

import itertools

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import ranksearch
from ranksearch.contracts.errors import OnnxError, RankSearchError
from tests.ranksearch.documents.from_onnx.graphs import noise, of_one
from tests.system.conftest import TinyNet
from tests.system.watching import wait_for

IMAGE = (1, 8, 8)


@pytest.fixture(scope="module")
def file(documents, tmp_path_factory):
    """The digits net as torch's older exporter writes it: BatchNorms folded, a batch of one."""
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    network = TinyNet()
    network.load_state_dict(ranksearch.load(documents / "model.safetensors").state_dict())
    torch.onnx.export(network.eval(), (torch.randn(1, *IMAGE),), path, dynamo=False, input_names=["images"])
    return path


@pytest.fixture(scope="module")
def study(deployment, documents, file):
    with deployment.client() as client:
        handle = client.submit(file, documents / "data.safetensors", budget="50%", n_trials=4, pruner="none")
        handle.wait(timeout=240)
        yield handle


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_from_an_onnx_file_to_a_compressed_one(deployment, study, documents, file, digits, tmp_path):
    with deployment.client() as client:
        model = client.models.get(study.status().request.model)
        assert client.models.upload(file).id == model.id
    assert (model.name, model.source.format, model.summary.inputs[0].shape) == ("digits", "onnx", IMAGE)
    assert model.source.blob != model.blob
    assert model.source.max_relative_difference < 1e-4
    assert {site.name for site in model.profile.sites if site.grids} >= {"stem", "down", "block.conv1"}

    images = digits.normalised(digits.held_out[0][:64])
    document = ranksearch.load(study.pull(tmp_path / "small.safetensors", timeout=240))
    exported = study.artifact(format="onnx").download(tmp_path / "small.onnx", timeout=240)
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        wanted = document(images).numpy()
    assert np.abs(got - wanted).max() <= 1e-4 * np.ptp(wanted)
    original = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    before = np.concatenate([original.run(None, {"images": images[[n]].numpy()})[0] for n in range(len(images))])
    assert (got.argmax(1) == before.argmax(1)).mean() > 0.8


HOSTILE = {
    "an operator that reads its input's values": (of_one("NonZero", IMAGE), "onnx_unknown_operator"),
    "a custom operator": (helper.make_node("Evil", ["x"], ["y"], domain="com.evil"), "onnx_unknown_operator"),
    "a path that leads elsewhere": ("../../../../etc/passwd", "onnx_external_data"),
    "ten thousand nodes": (10_000, "onnx_too_large"),
    "an expansion beyond any memory": (of_one("Tile", IMAGE, [np.array([1, 1, 10_000, 1_000], np.int64)]), None),
    "a weight of another size than it says": (of_one("Conv", IMAGE, [noise(2, 1, 3, 3)]), "onnx_malformed"),
}


def made(what):
    """The bytes of a hostile file."""
    if isinstance(what, int):
        names = ["x", *(f"v{number}" for number in range(what - 1)), "y"]
        nodes = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
        model = of_one("Relu", IMAGE)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    elif isinstance(what, str):
        model = of_one("Conv", IMAGE, [noise(2, 1, 3, 3)])
        weight = model.graph.initializer[0]
        weight.raw_data, weight.data_location = b"", TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=what)
    elif hasattr(what, "op_type"):
        model = of_one("Relu", IMAGE)
        model.graph.node[0].CopyFrom(what)
    else:
        model = what
        if model.graph.node[0].op_type == "Conv":
            model.graph.initializer[0].dims[0] = 2**20
    return model.SerializeToString()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_the_child_and_its_worker_works_on(deployment, client, name, tmp_path):
    what, code = HOSTILE[name]
    path = tmp_path / "hostile.onnx"
    path.write_bytes(made(what))
    model = client.models.upload(path)
    with pytest.raises(RankSearchError) as caught:
        client.models.wait(model.id, timeout=120)
    assert code is None or (type(caught.value), caught.value.code) == (OnnxError, code)
    wait_for(lambda: all(worker.state == "idle" for worker in client.workers.list()))
    found = client.models.get(model.id)
    assert (found.state, found.summary, found.source.opset) == ("failed", None, None)
    assert "Traceback" not in (deployment.data_dir / "logs" / "service.log").read_text()
    client.models.delete(model.id)
