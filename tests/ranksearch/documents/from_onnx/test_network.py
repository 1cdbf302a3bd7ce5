"""What becomes of an ONNX graph: layers, names, constants, the batch."""

import time

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import ranksearch
from ranksearch.contracts.errors import DocumentError, OnnxError
from ranksearch.contracts.model_summaries import summarise_model
from ranksearch.documents.from_onnx.naming import Names
from ranksearch.documents.from_onnx.packing import translate_onnx
from tests.ranksearch.documents.from_onnx.graphs import (
    assert_computes,
    images,
    ints,
    model,
    noise,
    of_one,
    packed,
    saved,
)

IMAGE = (4, 6, 5)
KERNEL = noise(4, 4, 1, 1)


def conv(weight="w", *, given="x", gives="y", name="", **attributes):
    return helper.make_node("Conv", [given, weight], [gives], name=name, **attributes)


def refused(made, folder, **options):
    with pytest.raises(OnnxError) as caught:
        packed(saved(made, folder), **options)
    return caught.value


@pytest.mark.parametrize(
    ("node", "weight", "expected"),
    [
        ("node_conv2d", "layer1.0.conv1.weight", "layer1.0.conv1"),
        ("/layer1/layer1.0/conv1/Conv", "onnx::Conv_193", "layer1.0.conv1"),
        ("/features/features.0/features.0.0/Conv", "onnx::Conv_1", "features.0.0"),
        ("", "weights", "y"),
        ("the first one", "", "the_first_one"),
        ("", "forward.weight", "y"),
        ("", "_graph.weight", "y"),
    ],
)
def test_a_layer_has_the_name_that_the_exporter_kept(node, weight, expected, tmp_path):
    made = model([conv(weight or "c", name=node)], IMAGE, {weight or "c": KERNEL})
    network = packed(saved(made, tmp_path))
    assert [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)] == [expected]


def test_layers_of_one_name_are_two_layers(tmp_path):
    nodes = [conv("a", gives="m", name="/block/Conv"), conv("b", given="m", name="/block/Conv_1")]
    path = saved(model(nodes, IMAGE, {"a": KERNEL, "b": KERNEL + 1}), tmp_path)
    network = packed(path)
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == 2
    assert_computes(path, network, images(IMAGE))


def test_a_thousand_layers_of_one_name_are_named_quickly():
    names, began = Names(frozenset({"forward"})), time.process_time()
    taken = [names.take(name, "block") for name in ["block", "forward", "_hidden"] for _ in range(1000)]
    assert len(set(taken)) == 3000
    assert "forward" not in taken
    assert names.take("forward") == "forward_2"
    assert time.process_time() - began < 2


def test_a_layer_that_lies_in_another_gets_another_name(tmp_path):
    nodes = [conv("a.weight", gives="m"), conv("a.b.weight", given="m")]
    path = saved(model(nodes, IMAGE, {"a.weight": KERNEL, "a.b.weight": KERNEL + 1}), tmp_path)
    network = packed(path)
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == 2
    assert_computes(path, network, images(IMAGE))


def test_a_layer_that_is_used_twice_is_one_layer(tmp_path):
    path = saved(model([conv(gives="m"), conv(given="m")], IMAGE, {"w": KERNEL}), tmp_path)
    network = packed(path)
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == 1
    assert sum(tensor.numel() for tensor in network.parameters()) == KERNEL.size
    assert_computes(path, network, images(IMAGE))


def test_normalisations_that_share_equal_statistics_stay_apart(tmp_path):
    names = ["s", "s", "z", "s"]
    nodes = [
        helper.make_node("BatchNormalization", [given, *names], [gives], name=f"bn{gives}")
        for given, gives in (("x", "m"), ("m", "y"))
    ]
    kept = {"s": np.ones(4, np.float32) * 2, "z": np.ones(4, np.float32)}
    path = saved(model(nodes, IMAGE, kept), tmp_path)
    network = packed(path)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) == 2
    assert_computes(path, network, images(IMAGE))


def test_a_momentum_is_torchs(tmp_path):
    made = of_one("BatchNormalization", IMAGE, [noise(4), noise(4), noise(4), np.ones(4, np.float32)], momentum=0.7)
    (layer,) = (layer for layer in packed(saved(made, tmp_path)).modules() if isinstance(layer, nn.BatchNorm2d))
    assert layer.momentum == pytest.approx(0.3)


def test_a_product_and_its_bias_are_one_linear_layer(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["m"], name="/head/MatMul"),
        helper.make_node("Add", ["b", "m"], ["y"], name="/head/Add"),
    ]
    path = saved(model(nodes, (7,), {"w": noise(5, 7), "b": noise(5)}), tmp_path)
    network = packed(path)
    assert isinstance(network.head, nn.Linear)
    assert [name for name, _ in network.named_parameters()] == ["head.weight", "head.bias"]
    assert_computes(path, network, images((7,)))


def test_a_product_that_is_used_twice_keeps_its_bias_outside(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Mul", ["a", "m"], ["y"]),
    ]
    path = saved(model(nodes, (7,), {"w": noise(7, 5), "b": noise(5)}), tmp_path)
    assert_computes(path, packed(path), images((7,)))


def test_weights_are_parameters_and_constants_are_buffers(tmp_path):
    nodes = [
        helper.make_node("Constant", [], ["mean"], value_floats=[0.1, 0.2, 0.3, 0.4, 0.5]),
        helper.make_node("Sub", ["x", "mean"], ["m"]),
        helper.make_node("Mul", ["m", "block.gamma"], ["y"]),
    ]
    path = saved(model(nodes, IMAGE, {"block.gamma": noise(4, 1, 1)}), tmp_path)
    network = packed(path)
    assert [name for name, _ in network.named_parameters()] == ["block.gamma"]
    assert [name for name, _ in network.named_buffers()] == ["mean"]
    assert summarise_model(path.with_suffix(".safetensors")).params == 4
    assert_computes(path, network, images(IMAGE))


def test_what_no_output_needs_is_left_out(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("NonMaxSuppression", ["x", "x"], ["z"])]
    network = packed(saved(model(nodes, IMAGE), tmp_path))
    assert torch.equal(network(images(IMAGE)), torch.relu(images(IMAGE)))


def test_several_inputs_and_outputs_keep_their_order(tmp_path):
    nodes = [helper.make_node("Sub", ["x", "z"], ["a"]), helper.make_node("Mul", ["x", "a"], ["b"])]
    path = saved(model(nodes, IMAGE, inputs=("x", "z"), outputs=("b", "a")), tmp_path)
    network = packed(path, verify=True)
    assert [spec.name for spec in network.input_specs] == ["x", "z"]
    assert_computes(path, network, images(IMAGE), images(IMAGE, seed=1))


def test_weights_that_older_files_list_among_the_inputs(tmp_path):
    made = model([conv()], IMAGE, {"w": KERNEL})
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, KERNEL.shape))
    path = saved(made, tmp_path)
    assert packed(path).input_specs[0].shape == IMAGE


@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_is_made_free(batch, tmp_path):
    flat = helper.make_node("Reshape", ["x", "shape"], ["f"])
    product = helper.make_node("Gemm", ["f", "w"], ["y"], name="/head/Gemm")
    kept = {"shape": ints(batch, 120), "w": noise(120, 3)}
    path = saved(model([flat, product], IMAGE, kept, batch=batch), tmp_path)
    network = packed(path, verify=True)
    assert_computes(path, network, images(IMAGE, batch))
    with torch.no_grad():
        assert network(images(IMAGE, 7)).shape == (7, 3)


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_a_graph_that_knows_one_batch_only_is_refused(batch, tmp_path):
    """The batch is mixed with the channels, as one number that no other batch has."""
    fixed = 1 if batch == "batch" else batch
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["f"]), helper.make_node("Reshape", ["f", "back"], ["y"])]
    kept = {"shape": ints(fixed * 4, 30), "back": ints(-1, 4, 30)}
    error = refused(model(nodes, IMAGE, kept, batch=batch), tmp_path)
    assert error.code == "onnx_batch_fixed"
    assert "Reshape" in str(error)
    assert "dynamic_axes" in error.mend


def test_outputs_without_a_batch_are_refused(tmp_path):
    error = refused(of_one("ReduceMean", IMAGE, keepdims=0), tmp_path)
    assert (error.code, "'y'" in error.detail) == ("onnx_batch_fixed", True)


def test_a_free_size_besides_the_batch_is_refused_with_its_name(tmp_path):
    made = of_one("Relu", IMAGE)
    made.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    error = refused(made, tmp_path)
    assert (error.code, "height" in error.got) == ("onnx_shape_unknown", True)


def test_a_weight_that_is_no_number_is_refused(tmp_path):
    broken = KERNEL.copy()
    broken[0] = np.nan
    with pytest.raises(DocumentError) as caught:
        packed(saved(model([conv()], IMAGE, {"w": broken}), tmp_path))
    assert caught.value.code == "document_not_finite"


def test_a_translation_says_where_it_comes_from_and_how_far_it_is_off(tmp_path):
    path = saved(model([conv()], IMAGE, {"w": KERNEL}), tmp_path)
    found = translate_onnx(path, tmp_path / "out.safetensors")
    assert (found.opset, found.producer) == (18, "by hand")
    assert 0 <= found.max_relative_difference < 1e-5


def test_a_translation_that_computes_something_else_is_refused_and_changes_no_file(tmp_path, monkeypatch):
    from ranksearch.documents.from_onnx import operators  # noqa: PLC0415 - what is broken here

    path = saved(of_one("Relu", IMAGE), tmp_path)
    wrong = {**operators._OPERATORS, "Relu": lambda call: torch.tanh(call.tensor(0))}
    monkeypatch.setattr(operators, "_OPERATORS", wrong)
    earlier = tmp_path / "out.safetensors"
    earlier.write_bytes(b"from before")
    with pytest.raises(OnnxError) as caught:
        ranksearch.pack_onnx(path, earlier)
    assert caught.value.code == "onnx_disagrees"
    assert earlier.read_bytes() == b"from before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.onnx", "out.safetensors"]


def test_the_same_file_gives_the_same_document(tmp_path):
    path = saved(model([conv()], IMAGE, {"w": KERNEL}), tmp_path)
    documents = [ranksearch.pack_onnx(path, tmp_path / name).read_bytes() for name in ("one", "other")]
    assert documents[0] == documents[1]
