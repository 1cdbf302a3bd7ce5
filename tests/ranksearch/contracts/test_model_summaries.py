import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.model_summaries import summarise_model

MODEL = {
    "format": "ranksearch.model/1",
    "kind": "graph",
    "graph": "{}",
    "inputs": '[{"shape": [3, 8, 8], "dtype": "float32"}]',
    "outputs": '[{"shape": [10], "dtype": "float32"}]',
    "buffers": '["n"]',
}


@pytest.fixture
def model(tmp_path):
    def written(**changes):
        metadata = {name: text for name, text in {**MODEL, **changes}.items() if text is not None}
        tensors = {"w": torch.zeros(3, 4), "n": torch.zeros(5, dtype=torch.int64)}
        save_file(tensors, tmp_path / "m.safetensors", metadata)
        return tmp_path / "m.safetensors"

    return written


def test_a_model_is_summarised(model):
    summary = summarise_model(path := model())
    assert summary.model_dump() == {
        "kind": "graph",
        "architecture": None,
        "inputs": ({"shape": (3, 8, 8), "dtype": "float32", "name": None},),
        "outputs": ({"shape": (10,), "dtype": "float32", "name": None},),
        "params": 12,
        "tensors": 2,
        "bytes": path.stat().st_size,
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"format": None}, "document_header_invalid"),
        ({"format": "ranksearch.dataset/1"}, "document_header_invalid"),
        ({"format": "ranksearch.model/2"}, "document_version_unsupported"),
        ({"kind": "pickle"}, "document_header_invalid"),
        ({"graph": None}, "document_header_invalid"),
        ({"architecture": "torchvision:resnet18"}, "document_header_invalid"),
        ({"inputs": "[]"}, "document_header_invalid"),
        ({"inputs": "[" * 100_000}, "document_header_invalid"),
        ({"inputs": '[{"shape": [-1], "dtype": "float32"}]'}, "document_header_invalid"),
        ({"inputs": '[{"shape": [1e3], "dtype": "float32"}]'}, "document_header_invalid"),
        ({"outputs": '[{"shape": [1], "dtype": "object"}]'}, "document_header_invalid"),
        ({"outputs": None}, "document_header_invalid"),
        ({"buffers": '["gone"]'}, "document_missing_tensor"),
        ({"buffers": "5"}, "document_header_invalid"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(model, changes, code):
    with pytest.raises(DocumentError) as caught:
        summarise_model(model(**changes))
    assert caught.value.code == code


def test_needs_neither_torch_nor_numpy():
    program = "import sys, ranksearch.contracts.model_summaries; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []
