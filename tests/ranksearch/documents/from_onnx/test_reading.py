"""Files from somebody who means harm: each is refused for a reason that is said, before anything is built of it."""

import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
from onnx import TensorProto, helper

import ranksearch
from ranksearch.contracts.errors import OnnxError
from ranksearch.documents.from_onnx.reading import read_onnx
from tests.ranksearch.documents.from_onnx.graphs import constant, ints, model, noise, of_one, saved

IMAGE = (4, 6, 5)


def relu():
    return of_one("Relu", IMAGE)


def changed(change, made=None):
    made = made or relu()
    change(made)
    return made


def with_weight(**fields):
    """A convolution whose weight is what the fields make of it."""
    made = of_one("Conv", IMAGE, [noise(2, 4, 1, 1)])
    for name, value in fields.items():
        if isinstance(value, list):
            del getattr(made.graph.initializer[0], name)[:]
            getattr(made.graph.initializer[0], name).extend(value)
        else:
            setattr(made.graph.initializer[0], name, value)
    return made


def external(location):
    made = with_weight(raw_data=b"", data_location=TensorProto.EXTERNAL)
    made.graph.initializer[0].external_data.add(key="location", value=location)
    return made


def with_branches():
    branch = helper.make_graph([], "branch", [], [helper.make_empty_tensor_value_info("x")])
    condition = constant(np.array(True), "c", np.bool_)
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return changed(lambda made: made.graph.initializer.append(condition), model([node], IMAGE))


def nested(depth):
    """Graphs in attributes of nodes of graphs."""
    graph = helper.make_graph([], "innermost", [], [])
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", [], ["y"], then_branch=graph)], "g", [], [])
    return changed(lambda made: made.graph.node[0].attribute.add(name="body", g=graph))


def own_function():
    body = helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    return changed(lambda made: made.functions.append(body))


def renamed(op, domain=""):
    def change(made):
        made.graph.node[0].op_type, made.graph.node[0].domain = op, domain

    return changed(change)


def shaped(*sizes):
    def change(made):
        for place, size in enumerate(sizes):
            made.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size

    return changed(change)


def typed(kind):
    def change(made):
        made.graph.input[0].type.tensor_type.elem_type = kind

    return changed(change)


def chain(count):
    names = ["x", *(f"v{place}" for place in range(count - 1)), "y"]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
    return model(nodes, IMAGE)


def opset(version):
    def change(made):
        made.opset_import[0].version = version

    return changed(change)


def of_version(code):
    return changed(lambda made: made.graph.initializer.append(TensorProto(name="s", dims=[1], data_type=code)))


def sparse():
    values = constant([1.0], "s")
    indices = constant([0], "i", np.int64)
    made = helper.make_sparse_tensor(values, indices, [4])
    return changed(lambda other: other.graph.sparse_initializer.append(made))


WHOLE = relu().SerializeToString()
LARGE = 2**40

HOSTILE = {
    "external data": (external("weights.bin"), "onnx_external_data"),
    "external data by a path that leads elsewhere": (external("../../../etc/passwd"), "onnx_external_data"),
    "an absolute path": (external("/etc/passwd"), "onnx_external_data"),
    "a subgraph": (with_branches(), "onnx_unsupported"),
    "subgraphs in subgraphs": (nested(20), "onnx_unsupported"),
    "a function": (own_function(), "onnx_unsupported"),
    "a sparse tensor": (sparse(), "onnx_unsupported"),
    "training information": (changed(lambda made: made.training_info.add()), "onnx_unsupported"),
    "a custom operator": (renamed("Custom", "com.example"), "onnx_unknown_operator"),
    "an operator of a runtime": (renamed("FusedConv", "com.microsoft"), "onnx_unknown_operator"),
    "ten thousand nodes": (chain(10_000), "onnx_too_large"),
    "an opset before": (opset(7), "onnx_version_unsupported"),
    "an opset of the future": (opset(2**40), "onnx_version_unsupported"),
    "no opset": (changed(lambda made: made.ClearField("opset_import")), "onnx_malformed"),
    "a huge dimension": (with_weight(dims=[LARGE, 4, 1, 1]), "onnx_malformed"),
    "dimensions whose product is huge": (with_weight(dims=[2**31, 2**31, 2**31, 2**31]), "onnx_too_large"),
    "a negative dimension": (with_weight(dims=[-2, -4, 1, 1]), "onnx_malformed"),
    "many dimensions": (with_weight(dims=[1] * 1000), "onnx_malformed"),
    "fewer bytes than its shape": (with_weight(raw_data=b"\0" * 8), "onnx_malformed"),
    "more bytes than its shape": (with_weight(raw_data=b"\0" * 4096), "onnx_malformed"),
    "fewer values than its shape": (with_weight(raw_data=b"", float_data=[1.0]), "onnx_malformed"),
    "text for a weight": (with_weight(data_type=TensorProto.STRING), "onnx_unsupported"),
    "half a precision": (with_weight(data_type=TensorProto.FLOAT16), "onnx_unsupported"),
    "a type that there is not": (with_weight(data_type=9999), "onnx_unsupported"),
    "a weight without a name": (changed(lambda made: made.graph.initializer.add()), "onnx_malformed"),
    "one name twice": (changed(lambda made: made.graph.node.append(made.graph.node[0])), "onnx_malformed"),
    "a cycle": (
        model(
            [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])], IMAGE, outputs=("b",)
        ),
        "onnx_malformed",
    ),
    "a value that nobody makes": (of_one("Add", IMAGE, given=["x", "nothing"]), "onnx_malformed"),
    "an output that nobody makes": (changed(lambda made: made.graph.output.add(name="nothing")), "onnx_malformed"),
    "no outputs": (changed(lambda made: made.graph.ClearField("output")), "onnx_malformed"),
    "no inputs": (model([helper.make_node("Constant", [], ["y"], value_float=1.0)], (), inputs=()), "onnx_malformed"),
    "images of no size": (shaped(1, 0, 6, 5), "onnx_too_large"),
    "images of a negative size": (shaped(1, -3, 6, 5), "onnx_too_large"),
    "images beyond any memory": (shaped(1, LARGE, LARGE, LARGE), "onnx_too_large"),
    "images of whole numbers": (typed(TensorProto.UINT8), "onnx_unsupported"),
    "an input that is no tensor": (changed(lambda made: made.graph.input[0].type.Clear()), "onnx_unsupported"),
    "an attribute of another function": (
        changed(lambda made: made.graph.node[0].attribute.add(name="a", ref_attr_name="b")),
        "onnx_malformed",
    ),
    "an attribute of many numbers": (
        changed(lambda made: made.graph.node[0].attribute.add(name="a", type=7).ints.extend([1] * 10_000)),
        "onnx_malformed",
    ),
    "lists of whole numbers that fill the memory once parsed": (
        changed(lambda made: made.graph.initializer.add(name="w", data_type=7).int64_data.extend([1] * (20 << 20))),
        "onnx_too_large",
    ),
}  # fmt: skip

# Tags of the wire format: the graph is field 7 of a model; a node field 1, a value's information field 13 of a graph.
VERSION, GRAPH = b"\x08\x08", b"\x3a"


def length(number):
    """As a varint."""
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def in_graph(content):
    return VERSION + GRAPH + length(len(content)) + content


RAW = {
    "nothing": (b"", "onnx_malformed"),
    "one byte": (b"\x08", "onnx_malformed"),
    "a version and nothing more": (VERSION, "onnx_malformed"),
    "text": (b"hello, this is no model at all", "onnx_malformed"),
    "cut off in the graph": (WHOLE[: len(WHOLE) // 2], "onnx_truncated"),
    "cut off by a byte": (WHOLE[:-1], "onnx_truncated"),
    "something behind it": (WHOLE + b"\xff", "onnx_truncated"),
    "a length beyond the file": (VERSION + GRAPH + length(2**62), "onnx_truncated"),
    "a length of ten bytes and more": (VERSION + GRAPH + b"\xff" * 12, "onnx_truncated"),
    "no graph": (VERSION + b"\x12\x01a", "onnx_truncated"),
    "empty nodes without end": (in_graph(b"\x0a\x00" * 500_000), "onnx_too_large"),
    "a field of number 0": (in_graph(b"\x02\x01a"), "onnx_malformed"),
    "a group": (in_graph(b"\x0b\x0c"), "onnx_malformed"),
    "a field that goes beyond its message": (in_graph(b"\x0a\x7f\x00"), "onnx_malformed"),
    "a name that is no text": (in_graph(b"\x0a\x04\x1a\x02\xff\xfe"), "onnx_malformed"),
    "as many fields outside": (VERSION + b"\x12\x00" * 20_000, "onnx_truncated"),
}


def refused(path):
    began = time.monotonic()
    with pytest.raises(OnnxError) as caught:
        ranksearch.pack_onnx(path, path.with_suffix(".safetensors"))
    assert time.monotonic() - began < 30
    assert not path.with_suffix(".safetensors").exists()
    return caught.value


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused(name, tmp_path):
    made, code = HOSTILE[name]
    error = refused(saved(made, tmp_path))
    assert error.code == code
    assert error.mend or error.expected


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_no_model_are_refused(name, tmp_path):
    content, code = RAW[name]
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert refused(path).code == code


def test_a_refusal_names_the_node_the_operator_what_is_supported_and_how_to_mend_it(tmp_path):
    error = refused(saved(of_one("NonZero", IMAGE), tmp_path))
    assert error.code == "onnx_unknown_operator"
    assert "the_NonZero" in error.detail
    assert error.got == "NonZero"
    assert "docs/onnx.md" in error.expected
    assert "ranksearch.pack" in error.mend
    error = refused(saved(of_one("Resize", IMAGE, [None, np.array([1, 1, 2, 2], np.float32)], antialias=1), tmp_path))
    assert error.code == "onnx_unsupported"
    assert "the_Resize" in error.detail
    assert "antialias" in error.detail
    assert (error.got, error.expected) == ("1", "0")


UNSUPPORTED = {
    "a weight that is computed": model(
        [helper.make_node("GlobalAveragePool", ["x"], ["w"]), helper.make_node("Conv", ["x", "w"], ["y"])], IMAGE
    ),
    "indices that are computed": model(
        [helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64), helper.make_node("Gather", ["x", "i"], ["y"])],
        IMAGE,
    ),
    "places of the largest": of_one("MaxPool", IMAGE, kernel_shape=[2, 2], outputs=["y", "where"]),
    "a batch norm that trains": of_one(
        "BatchNormalization", IMAGE, [np.ones(4, np.float32)] * 4, training_mode=1, outputs=["y", "m", "v"]
    ),
    "a dropout that trains": of_one("Dropout", IMAGE, [np.float32(0.5), np.array(True)]),
    "channels that do not fit": of_one("Conv", IMAGE, [noise(6, 5, 3, 3)]),
    "an axis that is not there": of_one("Concat", IMAGE, axis=9),
    "an attribute of another kind": of_one("Softmax", IMAGE, axis="channels"),
    "a stride beyond bounds": of_one("Conv", IMAGE, [noise(6, 4, 3, 3)], strides=[2**30, 1]),
    "a margin beyond bounds": of_one("Pad", IMAGE, [ints(0, 0, 0, 0, 0, 0, 0, 2**40)]),
    "images made too large": of_one("Resize", IMAGE, [None, np.array([1, 1, 1e6, 1e6], np.float32)], mode="linear"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_no_document_holds_is_refused_with_its_node(name, tmp_path):
    error = refused(saved(UNSUPPORTED[name], tmp_path))
    assert error.code == "onnx_unsupported"
    assert "node '" in error.detail


BOMBS = {
    "an expansion": of_one("Expand", (1, 1), [ints(1, 2**30, 2**30)]),
    "a repetition": model([helper.make_node("Tile", [f"v{n}", "r"], [f"v{n + 1}"]) for n in range(6)],
                          (1,), {"r": ints(1, 8000)}, inputs=("v0",), outputs=("v6",)),
    "a constant of zeros": model(
        [helper.make_node("ConstantOfShape", ["s"], ["z"]), helper.make_node("Add", ["x", "z"], ["y"])],
        (1,), {"s": ints(1, 2**31 - 1)},
    ),
    "a constant that grows": model(
        [helper.make_node("Tile", ["c", "r"], ["d"]), helper.make_node("Tile", ["d", "r"], ["e"]),
         helper.make_node("Add", ["x", "e"], ["y"])],
        (1,), {"c": noise(1, 1), "r": ints(1, 16_000)},
    ),
    "an outer product": model([helper.make_node("MatMul", ["x", "t"], ["y"]),
                               helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1])][::-1], (30_000, 1)),
    "windows of margins": of_one("MaxPool", (64, 512, 512), kernel_shape=[1, 1], pads=[4000, 4000, 4000, 4000]),
}  # fmt: skip


def test_a_small_file_cannot_ask_for_much_memory(tmp_path):
    """In a process whose memory is bounded; a refusal is an answer, a death is not."""
    paths = [saved(made, tmp_path, f"{name}.onnx") for name, made in BOMBS.items()]
    program = (
        "import sys, resource; from ranksearch.documents.from_onnx.packing import translate_onnx\n"
        "from ranksearch import RankSearchError\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))\n"
        "for path in sys.argv[1:]:\n"
        "    try: translate_onnx(path, path + '.out', verify=False)\n"
        "    except RankSearchError as error: print(error.code)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    *codes, megabytes = done.stdout.split()
    assert len(codes) == len(BOMBS)
    assert set(codes) <= {"onnx_too_large", "onnx_unsupported", "onnx_malformed"}
    assert int(megabytes) < 1500


def test_a_producer_of_control_characters_is_shown_without(tmp_path):
    made = relu()
    made.producer_name, made.producer_version = "a\x1b[2J\nb", "\x00" + "1" * 500
    assert read_onnx(saved(made, tmp_path)).producer == "a[2Jb 1" + "1" * 93


STEERING = {
    "an operator": (renamed("\x1b[2J"), "onnx_malformed"),
    "a domain": (renamed("Relu", "a\x1b[2J"), "onnx_unknown_operator"),
    "an attribute": (of_one("Resize", IMAGE, [None, np.ones(4, np.float32)], mode="\x1b[2J"), "onnx_unsupported"),
    "a node": (changed(lambda made: setattr(made.graph.node[0], "name", "\x1b[2J"), of_one("NonZero", IMAGE)), None),
    "a size": (
        changed(lambda made: setattr(made.graph.input[0].type.tensor_type.shape.dim[1], "dim_param", "\x1b[2J")),
        "onnx_shape_unknown",
    ),
    "a weight": (changed(lambda made: made.graph.initializer.add(name="\x1b[2J", data_type=8)), "onnx_unsupported"),
}


@pytest.mark.parametrize("name", STEERING)
def test_a_refusal_repeats_nothing_that_steers_a_terminal(name, tmp_path):
    made, code = STEERING[name]
    error = refused(saved(made, tmp_path))
    assert code is None or error.code == code
    assert "\x1b" not in str(error)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        ranksearch.pack_onnx(tmp_path / "none.onnx", tmp_path / "out")


def test_damaged_bytes_anywhere_are_refused_or_taken_and_never_raise_otherwise(tmp_path):
    whole = bytearray(of_one("Conv", IMAGE, [noise(2, 4, 1, 1)]).SerializeToString())
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(damaged), random.integers(1, 4)):
            damaged[place] = random.integers(0, 256)
        path = tmp_path / "net.onnx"
        path.write_bytes(damaged)
        try:
            read_onnx(path)
        except OnnxError as error:
            assert error.code  # noqa: PT017 - both are fine, anything else is not
