import json

import pytest
import torch
from torch import nn

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.model_summaries import summarise_model
from ranksearch.documents import load, pack
from ranksearch.documents.tensor_names import input_names, output_names


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(5, 4)

    def forward(self, left, right):
        mixed = self.mix(torch.cat([left, right], 1))
        return {"sum": mixed, "more": [mixed + 1, (left * 2, None)]}


class Any(nn.Module):
    def forward(self, *tensors):
        return sum(tensors)


EXAMPLE = (torch.randn(2, 3), torch.randn(2, 2))


def test_inputs_are_named_by_the_arguments(tmp_path):
    summary = summarise_model(pack(Both().eval(), EXAMPLE, tmp_path / "m"))
    assert [spec.name for spec in summary.inputs] == ["left", "right"]
    assert [spec.name for spec in summary.outputs] == ["sum", "more.0", "more.1.0"]


def test_a_loaded_network_keeps_them_when_it_is_packed_again(tmp_path):
    first = pack(Both().eval(), EXAMPLE, tmp_path / "m")
    again = pack(load(first), EXAMPLE, tmp_path / "n")
    assert first.read_bytes() == again.read_bytes()
    assert [spec.name for spec in load(again).input_specs] == ["left", "right"]


@pytest.mark.parametrize(("count", "names"), [(1, ("input",)), (2, ("input.0", "input.1"))])
def test_arguments_without_names_are_counted(count, names):
    assert input_names(Any(), count) == names


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (1, ("output",)),
        ((1, 2), ("output.0", "output.1")),
        ([1, {"box": 2}], ("output.0", "output.1.box")),
        ({"out": 1, "aux": {"0": 2, "1": None}}, ("out", "aux.0")),
        ({"a.b": 1, "a": {"b": 2}}, ("a.b", "a.b.2")),
        ({"": 1, "näh me": 2}, ("_", "n_h_me")),
        ({"x" * 500: 1}, ("x" * 192,)),
    ],
)
def test_outputs_are_named_by_the_way_to_them(answer, names):
    assert output_names(answer) == names


@pytest.mark.parametrize(
    "names",
    [
        "[]",
        "[" * 100_000,
        json.dumps({"inputs": ["left"], "outputs": ["sum", "more.0", "more.1.0"]}),
        json.dumps({"inputs": ["left", "left"], "outputs": ["sum", "more.0", "more.1.0"]}),
        json.dumps({"inputs": ["left", "<script>"], "outputs": ["sum", "more.0", "more.1.0"]}),
        json.dumps({"inputs": ["left", ""], "outputs": ["sum", "more.0", "more.1.0"]}),
        json.dumps({"inputs": ["left", "r" * 201], "outputs": ["sum", "more.0", "more.1.0"]}),
        json.dumps({"inputs": ["left", 5], "outputs": ["sum", "more.0", "more.1.0"]}),
        json.dumps({"inputs": ["left", "right"], "outputs": ["sum", "more.0", "more.1.0"], "else": []}),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path, names):
    path = changed(pack(Both().eval(), EXAMPLE, tmp_path / "m"), names=names)
    with pytest.raises(DocumentError) as refusal:
        load(path)
    assert refusal.value.code == "document_header_invalid"


def test_a_document_of_before_has_no_names_and_is_read(tmp_path):
    path = changed(pack(Both().eval(), EXAMPLE, tmp_path / "m"), names=None)
    loaded = load(path)
    assert [spec.name for spec in loaded.input_specs] == [None, None]
    assert set(loaded(*EXAMPLE)) == {"sum", "more"}


def changed(path, names):
    """The document with other names, or with none."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"].pop("names")
    if names is not None:
        header["__metadata__"]["names"] = names
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    return path
