import time

import onnx
import pytest
from onnx import TensorProto, helper

from ranksearch.contracts import onnxfile
from ranksearch.contracts.errors import OnnxError
from ranksearch.contracts.onnxfile import LengthDelimited, is_onnx, read_field
from tests.service import synthetic


@pytest.fixture
def file(tmp_path):
    def written(content):
        path = tmp_path / "file"
        path.write_bytes(content)
        return path

    return written


def model():
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value])
    graph.output[0].name = "y"
    return helper.make_model(graph, producer_name="somebody", doc_string="a" * 1000)


def test_what_onnx_writes_is_recognised(file):
    assert is_onnx(file(model().SerializeToString()))


def test_the_service_tests_file_is_recognised(file):
    assert is_onnx(file(synthetic.onnx_file()))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        synthetic.model_document(),
        synthetic.dataset_document(),
        b"PK\x03\x04 a zip file",
        b"\x80\x04\x95 a pickle",
        b"\x08\x00 no version",
        b"\x08\x08\x00\x00\x00\x00\x00\x00{" + bytes(3000),  # a safetensors file whose header has 2056 bytes
    ],
)
def test_other_files_are_not(content, file):
    assert not is_onnx(file(content))


@pytest.mark.parametrize("cut", [3, 10, 30, -1])
def test_a_file_that_is_cut_off_is_refused_wherever_it_is(cut, file):
    with pytest.raises(OnnxError) as caught:
        is_onnx(file(model().SerializeToString()[:cut]))
    assert caught.value.code == "onnx_truncated"


def test_a_file_without_a_graph_is_refused(file):
    made = model()
    made.ClearField("graph")
    with pytest.raises(OnnxError):
        is_onnx(file(made.SerializeToString()))


def test_a_file_beyond_a_protocol_buffer_is_refused_without_reading_it(file, monkeypatch):
    monkeypatch.setattr(onnxfile, "MAX_ONNX_BYTES", 100)
    with pytest.raises(OnnxError) as caught:
        is_onnx(file(model().SerializeToString()))
    assert caught.value.code == "onnx_too_large"


def test_empty_fields_without_end_cost_little(file):
    path = file(b"\x08\x08" + b"\x12\x00" * 5_000_000)
    began = time.process_time()
    with pytest.raises(OnnxError):
        is_onnx(path)
    assert time.process_time() - began < 5


def test_fields_are_those_that_onnx_sees():
    content = model().SerializeToString()
    fields, at = [], 0
    while at < len(content):
        field = read_field(content, at, len(content))
        fields.append(field)
        at = field.end
    by_number = {field.number: field for field in fields}
    assert set(by_number) == {described.number for described, _ in model().ListFields()}
    graph = by_number[7]
    assert isinstance(graph, LengthDelimited)
    assert onnx.GraphProto.FromString(content[graph.start : graph.end]) == model().graph
