"""Documents from somebody who means harm: always a DocumentError, little memory, and nothing runs."""

import contextlib
import copy
import json
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.tensorfile import read_header
from ranksearch.documents import load


@pytest.fixture
def rewritten(forked_document, tmp_path):
    """The document with its metadata, graph or tensors changed."""
    metadata = dict(read_header(forked_document).metadata)
    tensors = load_file(forked_document)

    def write(change_graph=None, change_tensors=None, **changes):
        graph = json.loads(metadata["graph"])
        if change_graph is not None:
            change_graph(graph)
        held = copy.deepcopy(tensors)
        if change_tensors is not None:
            change_tensors(held)
        path = tmp_path / "hostile.safetensors"
        save_file(held, path, {**metadata, "graph": json.dumps(graph), **changes})
        return path

    return write


def code_of(path):
    with pytest.raises(DocumentError) as caught:
        load(path)
    return caught.value.code


def setter(*path, value):
    def change(graph):
        for part in path[:-1]:
            graph = graph[part]
        graph[path[-1]] = value

    return change


def first_operation(graph, **changes):
    """Put an operator in the place of the first node."""
    graph["nodes"][0] = {"op": "aten.relu.default", "args": [{"input": 0}], **changes}


def operation(name, *args, **kwargs):
    return lambda graph: first_operation(graph, op=name, args=list(args), kwargs=kwargs)


def test_the_document_itself_loads(rewritten):
    load(rewritten())


@pytest.mark.parametrize(
    "name",
    [
        "aten.system",
        "aten.system.default",
        "os.system",
        "__import__",
        "builtins.eval",
        "aten.__class__",
        "aten.relu.__init__",
        "torch.load",
        "aten.from_file.default",
        "aten.rand.default",
        "aten.empty.memory_format",
        "size.__class__",
        "",
    ],
)
def test_an_operator_that_is_not_listed_is_refused(rewritten, name):
    assert code_of(rewritten(operation(name, {"input": 0}))) == "document_unknown_operator"


INPUT = {"input": 0}


@pytest.mark.parametrize(
    "change",
    [
        operation("aten.relu.default"),
        operation("aten.relu.default", INPUT, INPUT),
        operation("aten.relu.default", "text"),
        operation("aten.relu.default", INPUT, self=INPUT),
        operation("aten.relu.default", INPUT, out=INPUT),
        operation("aten.relu.default", {"input": 1}),
        operation("aten.relu.default", {"input": -1}),
        operation("aten.relu.default", {"input": True}),
        operation("aten.relu.default", {"node": 0}),
        operation("aten.relu.default", {"node": 5}),
        operation("aten.relu.default", {"tensor": "../secret"}),
        operation("aten.relu.default", {"tensor": "stem.__class__"}),
        operation("aten.relu.default", {"tensor": "stem.forward"}),
        operation("aten.relu.default", {"input": 0, "node": 0}),
        operation("aten.relu.default", {"eval": "1"}),
        operation("aten.relu.default", {"dtype": "float32"}),
        operation("aten.to.dtype", INPUT, {"dtype": "complex64"}),
        operation("aten.to.dtype", INPUT, {"dtype": "load"}),
        operation("aten.to.device", INPUT, {"device": "cuda"}, {"dtype": "float32"}),
        operation("aten.gelu.default", INPUT, approximate="__import__('os')"),
        operation("aten.add.Tensor", INPUT, 2**70),
        operation("aten.add.Tensor", INPUT, {"float": "1e5"}),
        operation("aten.view.default", INPUT, [1.5]),
        operation("aten.view.default", INPUT, [True]),
        operation("aten.view.default", INPUT, [[1]]),
        operation("aten.zeros.default", [2**40]),
        operation("aten.zeros.default", [2**14, 2**15]),
        operation("aten.full.default", [2**20, 2**20], 1.0),
        operation("aten.expand.default", INPUT, [2**30]),
        operation("aten.repeat.default", INPUT, [2**15, 2**15]),
        operation("aten.arange.default", 2**40),
        operation("aten.arange.default", 1e30),
        operation("aten.linspace.default", 0, 1, 2**40),
        operation("aten.eye.default", 2**40),
        operation("aten.pad.default", INPUT, [2**40, 0]),
        operation("aten.constant_pad_nd.default", INPUT, [2**20, 2**20]),
        operation("aten.upsample_nearest2d.vec", INPUT, [2**20, 2**20], None),
        operation("aten.upsample_nearest2d.vec", INPUT, None, [1e9, 1e9]),
        operation("aten.conv2d.default", INPUT, {"tensor": "scale"}, None, 1, [2**40]),
        operation("size.mul", {"node": 0}, "a"),
        operation("size.mul", 2**60, 2**60),
        operation("size.of", INPUT, "shape"),
        operation("item", INPUT, 0),
        lambda graph: first_operation(graph, kwargs=[]),
        lambda graph: first_operation(graph, args={}),
        lambda graph: first_operation(graph, extra=1),
        lambda graph: first_operation(graph, op=5),
        setter("nodes", 0, value=None),
        setter("nodes", 0, value={"call": "gone", "args": [INPUT]}),
        setter("nodes", 0, value={"call": ["stem.0"], "args": [INPUT]}),
        setter("nodes", 0, value={"call": "stem.0", "args": []}),
        setter("nodes", 0, value={"call": "stem.0", "args": [5]}),
        setter("nodes", value={}),
        setter("more", value=1),
        setter("output", value={"node": 10_000}),
        setter("output", value={"tensor": "scale"}),
        setter("output", value="text"),
        setter("output", value={"dict": []}),
        setter("modules", value=[]),
        setter("modules", "head", value=5),
        setter("modules", "head", "kind", value="Sequential"),
        setter("modules", "head", "options", value={"bias": True}),
        setter("modules", "head", "options", value=None),
        setter("modules", "__class__", value={"kind": "Linear", "options": {}}),
        setter("modules", "forward", value={"kind": "Linear", "options": {}}),
        setter("modules", "a..b", value={"kind": "Linear", "options": {}}),
        setter("modules", "", value={"kind": "Linear", "options": {}}),
        setter("modules", ".".join("a" * 100), value={"kind": "Linear", "options": {}}),
        setter("modules", "stem.0", "options", "stride", value=[0, 1]),
        setter("modules", "stem.0", "options", "stride", value=[2**40, 1]),
        setter("modules", "stem.0", "options", "stride", value=1),
        setter("modules", "stem.0", "options", "stride", value=["1", "1"]),
        setter("modules", "stem.0", "options", "padding", value=[-1, 0]),
        setter("modules", "stem.0", "options", "padding", value="reflect"),
        setter("modules", "stem.0", "options", "dilation", value=[True, 1]),
        setter("modules", "stem.0", "options", "groups", value=0),
        setter("modules", "stem.0", "options", "groups", value=3),
        setter("modules", "stem.0", "options", "groups", value=2**40),
        setter("modules", "stem.0", "options", "groups", value="1"),
        setter("modules", "stem.1", "options", "eps", value="small"),
        setter("modules", "stem.1", "options", "eps", value=-1),
        setter("modules", "stem.1", "options", "momentum", value=7),
        setter("module_aliases", value={"x": "gone"}),
        setter("module_aliases", value={"head.deep": "left"}),
        setter("module_aliases", value={"__init__": "left"}),
        setter("module_aliases", value=5),
        setter("tensor_aliases", value={"x": ["scale"]}),
        setter("tensor_aliases", value={"head.weight.deep": "scale"}),
        setter("unsaved", value=[[]]),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused(rewritten, change):
    assert code_of(rewritten(change)) == "document_graph_invalid"


def test_an_alias_to_no_tensor_is_a_missing_tensor(rewritten):
    assert code_of(rewritten(setter("tensor_aliases", value={"x": "gone"}))) == "document_missing_tensor"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda held: held.pop("head.weight"), "document_missing_tensor"),
        (lambda held: held.pop("scale"), "document_missing_tensor"),
        (lambda held: held.update(extra=torch.zeros(2)), "document_graph_invalid"),
        (lambda held: held.update({"head.extra": torch.zeros(2)}), "document_graph_invalid"),
        (lambda held: held.update({"head.weight": torch.zeros(96)}), "document_wrong_shape"),
        (lambda held: held.update({"head.weight": torch.zeros(0, 96)}), "document_wrong_shape"),
        (lambda held: held.update({"head.bias": torch.zeros(6)}), "document_wrong_shape"),
        (lambda held: held.update({"stem.1.running_mean": torch.zeros(7)}), "document_wrong_shape"),
        (lambda held: held.update({"stem.1.num_batches_tracked": torch.zeros(7)}), "document_wrong_shape"),
        (lambda held: held.update({"head.weight": torch.zeros(5, 96, dtype=torch.int64)}), "document_wrong_dtype"),
        (lambda held: held["head.weight"].fill_(float("nan")), "document_not_finite"),
        (lambda held: held["stem.1.running_var"].fill_(float("inf")), "document_not_finite"),
        (lambda held: held["shift"].fill_(float("nan")), "document_not_finite"),
    ],
)
def test_wrong_tensors_are_refused(rewritten, change, code):
    assert code_of(rewritten(change_tensors=change)) == code


@pytest.mark.parametrize("buffers", ['["head.weight"]', "[]"])
def test_a_parameter_declared_a_buffer_is_refused(rewritten, buffers):
    assert code_of(rewritten(buffers=buffers)) == "document_graph_invalid"


@pytest.mark.parametrize(
    "graph", ["", "[]", "null", "{", "[" * 10**6, '{"a":' * 10**5, "NaN", "[" + "1," * 10**6 + "1]"]
)
def test_a_graph_that_is_no_json_object_is_refused(rewritten, graph):
    assert code_of(rewritten(graph=graph)) == "document_graph_invalid"


def test_deep_lists_of_arguments_are_refused(rewritten):
    deep = 1
    for _ in range(100):
        deep = [deep]
    assert code_of(rewritten(operation("aten.view.default", INPUT, deep))) == "document_graph_invalid"


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_opened(tmp_path, zipped):
    bomb = Bomb()
    bomb.path = str(tmp_path / "exploded")
    path = tmp_path / "model.safetensors"
    if zipped:
        torch.save(bomb, path)
    else:
        path.write_bytes(pickle.dumps(bomb))
    assert code_of(path).startswith("document_")
    assert not (tmp_path / "exploded").exists()


def test_cut_short_anywhere_it_is_refused(forked_document, tmp_path):
    content = forked_document.read_bytes()
    path = tmp_path / "short.safetensors"
    for length in [*range(64), *range(64, len(content), max(1, len(content) // 200)), len(content) - 1]:
        path.write_bytes(content[:length])
        assert code_of(path) in ("document_truncated", "document_too_large", "document_header_invalid")


@pytest.mark.parametrize("region", ["length", "header", "data"])
@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_give_a_network_or_a_document_error(forked_document, tmp_path, region, seed):
    content = forked_document.read_bytes()
    start = read_header(forked_document).data_start
    low, high = {"length": (0, 8), "header": (8, start), "data": (start, len(content))}[region]
    chance = random.Random(seed)  # noqa: S311 - any bytes will do
    path = tmp_path / "flipped.safetensors"
    for _ in range(60):
        changed = bytearray(content)
        for _ in range(chance.choice([1, 1, 2, 8])):
            changed[chance.randrange(low, high)] = chance.randrange(256)
        path.write_bytes(changed)
        with contextlib.suppress(DocumentError):
            load(path)


@pytest.mark.parametrize("seed", range(4))
def test_exchanged_json_values_give_a_network_or_a_document_error(rewritten, seed):
    chance = random.Random(seed)  # noqa: S311 - any values will do
    replacements = [None, True, -1, 0, 2**63, 1e308, "", "x", "__class__", [], {}, [[]], {"node": 0}, {"input": 0}]

    def exchange(value):
        if chance.random() < 0.01:
            return chance.choice(replacements)
        if isinstance(value, dict):
            return {name: exchange(item) for name, item in value.items()}
        return [exchange(item) for item in value] if isinstance(value, list) else value

    for _ in range(40):
        with contextlib.suppress(DocumentError):
            load(rewritten(lambda graph: graph.update(exchange(dict(graph)))))


def memory_after_loading(path):
    """Peak resident memory, in MiB, by which a fresh process grows while it refuses the document."""
    program = """
import resource, sys
from ranksearch.contracts.errors import DocumentError
from ranksearch.documents import load
import torch, torchvision
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load(sys.argv[1])
except DocumentError as error:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(error.code, grown // 1024)
"""
    answer = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    code, grown = answer.stdout.split()
    return code, int(grown)


def test_ten_million_tensors_take_bounded_memory(tmp_path):
    path = tmp_path / "many.safetensors"
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
    header = b"{" + b"".join(entry % index for index in range(10_000_000 // 40))
    path.write_bytes((len(entry) * 10_000_000).to_bytes(8, "little") + header)
    code, grown = memory_after_loading(path)
    assert code == "document_too_large"
    assert grown < 64


def test_names_that_ask_for_millions_of_modules_are_too_large(rewritten):
    aliases = {".".join(["x"] * 50) + f".{index}.y": "scale" for index in range(51_000)}
    assert code_of(rewritten(setter("tensor_aliases", value=aliases))) == "document_too_large"


def test_the_name_of_a_huge_architecture_takes_bounded_memory(tmp_path):
    specs = '[{"shape":[3,224,224],"dtype":"float32"}]'
    metadata = {"format": "ranksearch.model/1", "kind": "registry", "architecture": "torchvision:vit_h_14"}
    metadata |= {"inputs": specs, "outputs": specs, "buffers": "[]", "options": "{}"}
    save_file({"a": torch.zeros(1)}, tmp_path / "huge.safetensors", metadata)
    code, grown = memory_after_loading(tmp_path / "huge.safetensors")
    assert code == "document_missing_tensor"
    assert grown < 256
