"""Each operator alone: the document computes what ONNX Runtime does of the file."""

import re
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from ranksearch.documents.from_onnx.operators import supported
from tests.ranksearch.documents.from_onnx.graphs import (
    assert_computes,
    constant,
    images,
    ints,
    model,
    noise,
    of_one,
    packed,
    saved,
)

IMAGE = (4, 6, 5)
WEIGHT = noise(6, 4, 3, 3)
POSITIVE = np.abs(noise(4, 1, 1)) + 0.5


def followed(op, *before, constants=(), **attributes):
    """An operator on what others made of the input."""
    nodes = [helper.make_node(name, ["x"], ["x1"], **given) for name, given in before]
    kept = {f"c{place}": value for place, value in enumerate(constants)}
    return model([*nodes, helper.make_node(op, ["x1", *kept], ["y"], **attributes)], IMAGE, kept)


def compared(op):
    """A comparison has no numbers for an output: they choose among some."""
    nodes = [helper.make_node(op, ["x", "zero"], ["c"]), helper.make_node("Where", ["c", "x", "half"], ["y"])]
    return model(nodes, IMAGE, {"zero": np.float32(0), "half": np.float32(0.5)})


def logical(op):
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["a"]),
        helper.make_node("Less", ["x", "half"], ["b"]),
        helper.make_node(op, ["a", "b"] if op != "Not" else ["a"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    return model(nodes, IMAGE, {"zero": np.float32(0), "half": np.float32(0.5)})


def of_two(op, **attributes):
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node(op, ["x", "s"], ["y"], **attributes)]
    return model(nodes, IMAGE)


def resized(size=None, scales=None, **attributes):
    sizes = [None, np.array([1, 1, *scales], np.float32)] if scales else [None, None, ints(3, 4, *size)]
    batch = "batch" if scales else 3
    return of_one("Resize", IMAGE, sizes, batch=batch, **attributes)


UNARY = [
    *("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Identity", "Mish", "Neg", "Reciprocal", "Relu"),
    *("Round", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh"),
]
ATTRIBUTED = {
    "Celu": {"alpha": 0.7}, "Elu": {"alpha": 0.7}, "LeakyRelu": {"alpha": 0.2}, "ThresholdedRelu": {"alpha": 0.3},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4}, "Selu": {}, "Softmax": {"axis": 1}, "LogSoftmax": {},
    "Shrink": {"bias": 0.5, "lambd": 0.5}, "LpNormalization": {"axis": 1},
    "LRN": {"size": 3, "alpha": 1e-2}, "GlobalAveragePool": {}, "GlobalMaxPool": {}, "Flatten": {"axis": 1},
    "Transpose": {"perm": [0, 2, 3, 1]}, "SpaceToDepth": {"blocksize": 1}, "Dropout": {},
}  # fmt: skip

MODELS = {
    **{op: of_one(op, IMAGE, opset=18 if op != "Identity" else 13) for op in UNARY},
    **{op: of_one(op, IMAGE, **attributes) for op, attributes in ATTRIBUTED.items()},
    **{op: compared(op) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    **{op: logical(op) for op in ("And", "Or", "Xor", "Not")},
    **{op: of_two(op) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum")},
    **{f"{op} of a number": of_one(op, IMAGE, [np.float32(1.7)]) for op in ("Add", "Sub", "Mul", "Div")},
    **{f"{op} of channels": of_one(op, IMAGE, [noise(4, 1, 1)]) for op in ("Add", "Mul")},
    **{f"{op} of a constant": of_one(op, IMAGE, [POSITIVE], given=["c0", "x"]) for op in ("Sub", "Div")},
    **{op: of_one(op, IMAGE, [ints(2, 3)]) for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")},
    **{op: of_one(op, IMAGE, [ints(1)], keepdims=0) for op in ("ReduceLogSumExp", "ReduceProd", "ReduceSumSquare")},
    "ReduceSum": of_one("ReduceSum", IMAGE, [ints(-1)]),
    "ReduceSum of nothing": of_one("ReduceSum", IMAGE, noop_with_empty_axes=1),
    "ReduceMean of old": of_one("ReduceMean", IMAGE, axes=[2, 3], keepdims=0, opset=13),
    "Sqrt": followed("Sqrt", ("Abs", {})),
    "Log": followed("Log", ("Exp", {})),
    "Pow": of_one("Pow", IMAGE, [np.float32(3)]),
    "Mod": of_one("Mod", IMAGE, [np.float32(0.7)], fmod=1),
    "Clip": of_one("Clip", IMAGE, [np.float32(0), np.float32(1)]),
    "Clip on one side": of_one("Clip", IMAGE, [None, np.float32(0.4)]),
    "Gelu": of_one("Gelu", IMAGE, opset=20),
    "Gelu by tanh": of_one("Gelu", IMAGE, opset=20, approximate="tanh"),
    "HardSigmoid of torch": of_one("HardSigmoid", IMAGE, alpha=1 / 6),
    "PRelu of channels": of_one("PRelu", IMAGE, [noise(4, 1, 1)]),
    "PRelu of one": of_one("PRelu", IMAGE, [noise(1)]),
    "PRelu of rows": of_one("PRelu", IMAGE, [noise(6, 1)]),
    "Cast": followed("Cast", ("Relu", {}), to=TensorProto.INT64),
    "Dropout with a ratio": of_one("Dropout", IMAGE, [np.float32(0.5)]),
    "Softmax of old": of_one("Softmax", IMAGE, axis=1, opset=11),
    "Softmax along the last": of_one("Softmax", IMAGE, axis=-1, opset=11),
    "InstanceNormalization": of_one("InstanceNormalization", IMAGE, [noise(4), noise(4, seed=1)], epsilon=1e-3),
    "LayerNormalization": of_one("LayerNormalization", IMAGE, [noise(6, 5), noise(6, 5)], axis=2),
    "GroupNormalization": of_one("GroupNormalization", IMAGE, [noise(4), noise(4)], opset=21, num_groups=2),
    "BatchNormalization": of_one(
        "BatchNormalization", IMAGE, [noise(4), noise(4), noise(4), np.abs(noise(4)) + 0.1], epsilon=1e-3
    ),
    "Conv": of_one("Conv", IMAGE, [WEIGHT, noise(6)], pads=[1, 1, 1, 1]),
    "Conv without a bias": of_one("Conv", IMAGE, [WEIGHT], strides=[2, 1], dilations=[1, 2]),
    "Conv of groups": of_one("Conv", IMAGE, [noise(4, 2, 3, 1)], group=2),
    "Conv of margins of two widths": of_one("Conv", IMAGE, [WEIGHT], pads=[0, 1, 2, 0]),
    "Conv of the same size": of_one("Conv", IMAGE, [noise(6, 4, 2, 3)], auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv of the same size, below": of_one("Conv", IMAGE, [noise(6, 4, 2, 3)], auto_pad="SAME_LOWER"),
    "Conv of valid windows": of_one("Conv", IMAGE, [WEIGHT], auto_pad="VALID"),
    "Conv in one dimension": of_one("Conv", (4, 9), [noise(3, 4, 5)], pads=[2, 2]),
    "Conv in three dimensions": of_one("Conv", (2, 5, 6, 4), [noise(3, 2, 2, 2, 2)]),
    "ConvTranspose": of_one("ConvTranspose", IMAGE, [noise(4, 3, 3, 3), noise(3)], strides=[2, 2], pads=[1, 1, 1, 1]),
    "ConvTranspose with more": of_one(
        "ConvTranspose", IMAGE, [noise(4, 3, 3, 3)], strides=[2, 2], output_padding=[1, 1], group=2
    ),
    "ConvTranspose of margins of two widths": of_one(
        "ConvTranspose", IMAGE, [noise(4, 3, 3, 3)], strides=[2, 1], pads=[0, 1, 1, 2]
    ),
    "Gemm": of_one("Gemm", (7,), [noise(7, 5), noise(5)]),
    "Gemm transposed": of_one("Gemm", (7,), [noise(5, 7), noise(1, 5)], transB=1, alpha=0.5, beta=2.0),
    "Gemm without a bias": of_one("Gemm", (7,), [noise(5, 7)], transB=1),
    "MatMul": of_one("MatMul", (3, 7), [noise(7, 5)]),
    "MatMul of stacks": of_one("MatMul", (3, 7), [noise(1, 7, 5)]),
    "MaxPool": of_one("MaxPool", IMAGE, kernel_shape=[2, 3], strides=[2, 1], pads=[1, 1, 1, 1]),
    "MaxPool rounded up": of_one("MaxPool", IMAGE, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool of wide windows": of_one("MaxPool", IMAGE, kernel_shape=[2, 2], dilations=[2, 2]),
    "MaxPool of margins of two widths": of_one("MaxPool", IMAGE, kernel_shape=[2, 2], pads=[0, 1, 1, 0]),
    "AveragePool": of_one("AveragePool", IMAGE, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "AveragePool counting": of_one("AveragePool", IMAGE, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "AveragePool of the same size": of_one("AveragePool", IMAGE, kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
    "AveragePool of two widths, counting": of_one(
        "AveragePool", IMAGE, kernel_shape=[2, 2], pads=[0, 1, 1, 0], count_include_pad=1
    ),
    "Resize by nearest": resized(scales=(2, 2), mode="nearest", coordinate_transformation_mode="asymmetric",
                                 nearest_mode="floor"),
    "Resize by nearest, odd": resized(scales=(1.5, 1.3), mode="nearest", coordinate_transformation_mode="asymmetric",
                                      nearest_mode="floor"),
    "Resize by nearest pixel": resized(scales=(3, 2), mode="nearest"),
    "Resize by nearest to a size": resized(size=(12, 10), mode="nearest"),
    "Resize linearly": resized(scales=(2, 1.7), mode="linear"),
    "Resize linearly to a size": resized(
        size=(9, 3), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"
    ),
    "Resize with corners": resized(size=(9, 3), mode="linear", coordinate_transformation_mode="align_corners"),
    "Resize cubically": resized(size=(9, 13), mode="cubic"),
    "Resize along axes": of_one("Resize", IMAGE, [None, None, ints(12, 10)], axes=[2, 3], mode="linear"),
    "Reshape": of_one("Reshape", IMAGE, [ints(0, 2, -1)]),
    "Reshape of the batch": of_one("Reshape", IMAGE, [ints(-1, 8, 15)]),
    "Flatten of more": of_one("Flatten", IMAGE, axis=-3),
    "Squeeze": of_one("Squeeze", (4, 1, 1), [ints(2, 3)]),
    "Squeeze of all": of_one("Squeeze", (4, 1, 5), []),
    "Squeeze of old": of_one("Squeeze", (4, 1, 5), axes=[2], opset=11),
    "Unsqueeze": of_one("Unsqueeze", (4, 5), [ints(-1, 1)]),
    "Unsqueeze of old": of_one("Unsqueeze", (4, 5), axes=[2], opset=11),
    "Concat": followed("Concat", ("Relu", {}), constants=[], axis=1),
    "Concat of two": model(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Concat", ["r", "x"], ["y"], axis=-3)], IMAGE
    ),
    "Slice": of_one("Slice", IMAGE, [ints(1, 0), ints(3, -1), ints(1, 3), ints(1, 2)]),
    "Slice to the end": of_one("Slice", IMAGE, [ints(-2), ints(2**63 - 1), ints(2)]),
    "Slice backwards": of_one("Slice", IMAGE, [ints(-1), ints(-(2**63)), ints(3), ints(-1)]),
    "Split": of_one("Split", IMAGE, [ints(1, 3)], axis=1, outputs=["y", "z"]),
    "Split in equal parts": of_one("Split", IMAGE, axis=2, num_outputs=2, outputs=["y", "z"]),
    "Split of old": of_one("Split", IMAGE, axis=1, split=[3, 1], opset=11, outputs=["y", "z"]),
    "Gather": of_one("Gather", IMAGE, [ints(2, 0, -1)], axis=1),
    "Gather of one": of_one("Gather", IMAGE, [np.array(1, np.int64)], axis=2),
    "Gather of many": of_one("Gather", IMAGE, [np.array([[0, 1], [3, 2]], np.int64)], axis=1),
    "Pad": of_one("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 0, 1), np.float32(0.3)]),
    "Pad along axes": of_one("Pad", IMAGE, [ints(1, 2), None, ints(-1)], mode="edge"),
    "Pad by reflection": of_one("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 0, 1)], mode="reflect"),
    "Pad that crops": of_one("Pad", IMAGE, [ints(0, 0, -1, 0, 0, 0, -1, 2)]),
    "Expand": of_one("Expand", (4, 1, 1), [ints(1, 4, 3, 2)]),
    "Tile": of_one("Tile", IMAGE, [ints(1, 2, 1, 3)]),
    "DepthToSpace": of_one("DepthToSpace", IMAGE, blocksize=2),
    "DepthToSpace of torch": of_one("DepthToSpace", IMAGE, blocksize=2, mode="CRD"),
    "SpaceToDepth of more": of_one("SpaceToDepth", (3, 4, 6), blocksize=2),
    "Constant": model(
        [
            helper.make_node("Constant", [], ["c"], value=constant(noise(4, 1, 1))),
            helper.make_node("Mul", ["x", "c"], ["y"]),
        ],
        IMAGE,
    ),
    "CastLike": of_one("CastLike", IMAGE, [np.zeros(1, np.int64)]),
    "Shrink of nothing": of_one("Shrink", IMAGE, lambd=0.4),
    "Swish": of_one("Swish", IMAGE, opset=24),
}  # fmt: skip

NOT_RUN = {"Swish"}
"""ONNX Runtime has no kernel yet."""


@pytest.mark.parametrize("name", [name for name in MODELS if name not in NOT_RUN])
def test_an_operator_computes_what_onnx_runtime_does(name, tmp_path):
    made = MODELS[name]
    path = saved(made, tmp_path)
    network = packed(path)
    shape = [size.dim_value for size in made.graph.input[0].type.tensor_type.shape.dim][1:]
    assert_computes(path, network, images(shape))


def test_the_batch_stays_free(tmp_path):
    path = saved(MODELS["Conv of margins of two widths"], tmp_path)
    network = packed(path)
    for count in (1, 2, 5):
        assert_computes(path, network, images(IMAGE, count))


def shaped(*nodes, constants):
    return model(nodes, IMAGE, constants)


SHAPES = {
    "a flattening as torch's exporter writes it": shaped(
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
        constants={"zero": np.array(0, np.int64), "axes": ints(0), "rest": ints(-1)},
    ),
    "images twice as large": shaped(
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "two", "four", "zero"], ["hw"]),
        helper.make_node("Cast", ["hw"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "twice"], ["g"]),
        helper.make_node("Floor", ["g"], ["h"]),
        helper.make_node("Cast", ["h"], ["i"], to=TensorProto.INT64),
        helper.make_node("Slice", ["s", "zero", "two", "zero"], ["nc"]),
        helper.make_node("Concat", ["nc", "i"], ["t"], axis=0),
        helper.make_node("Resize", ["x", "", "", "t"], ["y"], mode="linear"),
        constants={"two": ints(2), "four": ints(4), "zero": ints(0), "twice": np.array([2, 2], np.float32)},
    ),
    "an expansion to the shape of something": shaped(
        helper.make_node("ReduceMean", ["x", "axes"], ["m"]),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Equal", ["s", "minus"], ["e"]),
        helper.make_node("Where", ["e", "ones", "s"], ["t"]),
        helper.make_node("Expand", ["m", "t"], ["y"]),
        constants={"axes": ints(2, 3), "minus": ints(-1, -1, -1, -1), "ones": ints(1, 1, 1, 1)},
    ),
    "an expansion with ones of the shape of a shape": shaped(
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "first"], ["n"]),
        helper.make_node("Concat", ["n", "minus"], ["t"], axis=0),
        helper.make_node("Shape", ["t"], ["r"]),
        helper.make_node("ConstantOfShape", ["r"], ["ones"], value=constant([1], dtype=np.int64)),
        helper.make_node("Mul", ["ones", "unknown"], ["u"]),
        helper.make_node("Equal", ["t", "u"], ["e"]),
        helper.make_node("Where", ["e", "ones", "t"], ["v"]),
        helper.make_node("Expand", ["token", "v"], ["k"]),
        helper.make_node("Add", ["x", "k"], ["y"]),
        constants={"first": ints(0), "minus": ints(-1, -1, -1), "unknown": ints(-1), "token": noise(1, 4, 1, 5)},
    ),
    "zeros of the batch": shaped(
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["z"], value=constant([0.5])),
        helper.make_node("Add", ["x", "z"], ["y"]),
        constants={},
    ),
    "a channel shuffle by products of sizes": shaped(
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "one"], ["c"]),
        helper.make_node("Div", ["c", "two"], ["d"]),
        helper.make_node("Unsqueeze", ["d", "axes"], ["d1"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "pair", "d1", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["b", "back"], ["y"]),
        constants={"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "two": np.array(2, np.int64),
                   "axes": ints(0), "pair": ints(2), "rest": ints(-1), "back": ints(0, 4, 6, 5)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_sizes_that_the_graph_computes_keep_the_batch_free(name, tmp_path):
    path = saved(SHAPES[name], tmp_path)
    network = packed(path)
    for count in (1, 4):
        assert_computes(path, network, images(IMAGE, count))


def test_every_operator_is_in_one_of_these_models():
    tried = {node.op_type for made in (*MODELS.values(), *SHAPES.values()) for node in made.graph.node}
    assert set(supported()) - tried == {"Range"}  # of sizes alone, for which no exporter is known to write it


def test_the_documentation_names_every_operator_and_no_other():
    page = (Path(__file__).parents[4] / "docs" / "onnx.md").read_text()
    table = page.partition("## Operators")[2].partition("Sizes may be computed")[0]
    named = set(re.findall(r"`([A-Z][A-Za-z0-9]+)`", table))
    assert named == set(supported())
