import json
import os
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ranksearch.contracts.errors import DatasetError, DocumentError
from ranksearch.contracts.tensorfile import HeaderLimits, read_header


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape=(2,), dtype="F32", offsets=(0, 8)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def code_of(tmp_path: Path, content: bytes, **options) -> str:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises((DocumentError, DatasetError)) as caught:
        read_header(path, **options)
    return caught.value.code


def test_reads_what_the_safetensors_package_wrote(tmp_path):
    tensors = {
        "a": torch.zeros(2, 3),
        "b": torch.ones(4, dtype=torch.int64),
        "c": torch.zeros(1, dtype=torch.bool),
    }
    save_file(tensors, tmp_path / "m.safetensors", {"format": "x", "empty": ""})
    header = read_header(tmp_path / "m.safetensors")
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {"a": (2, 3), "b": (4,), "c": (1,)}
    assert {name: tensor.dtype for name, tensor in header.tensors.items()} == {"a": "F32", "b": "I64", "c": "BOOL"}
    assert header.metadata == {"format": "x", "empty": ""}
    assert header.file_bytes == (tmp_path / "m.safetensors").stat().st_size


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_file_without_a_header_length_is_truncated(tmp_path, length):
    assert code_of(tmp_path, b"\0" * length) == "document_truncated"


def test_a_data_set_gets_data_set_errors(tmp_path):
    assert code_of(tmp_path, b"", error=DatasetError) == "dataset_truncated"


def test_a_header_longer_than_the_file_is_truncated(tmp_path):
    assert code_of(tmp_path, (100).to_bytes(8, "little") + b"{}") == "document_truncated"


@pytest.mark.parametrize("length", [2**31, 2**40, 2**64 - 1])
def test_a_header_that_claims_gigabytes_is_too_large(tmp_path, length):
    assert code_of(tmp_path, length.to_bytes(8, "little") + b"{}") == "document_too_large"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b" {}",
        b"{",
        b'{"a": 1}',
        b"{" * 1000,
        b'{"a":' * 100_000,
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b'{"__metadata__": {"a": 1}}',
        b'{"__metadata__": []}',
        b'{"__metadata__": {"a": "\\ud800"}}',
        b'{"__metadata__": {"a": "1", "a": "2"}}',
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_broken_json_is_an_invalid_header(tmp_path, header):
    assert code_of(tmp_path, raw(header)) == "document_header_invalid"


@pytest.mark.parametrize(
    "bad",
    [
        entry(shape=(3,)),
        entry(shape=(-2,)),
        entry(shape=(True, 2)),
        entry(shape=(2.0,)),
        entry(shape=("2",)),
        entry(shape=(2**32, 2**32)),
        entry(shape=(2**62,), offsets=(0, 2**64)),
        entry(shape=(1,) * 20, offsets=(0, 4)),
        entry(offsets=(8, 0)),
        entry(offsets=(0, 8, 8)),
        entry(offsets=(-8, 0)),
        entry(offsets=(0, 8.0)),
        {**entry(), "more": 1},
        {"dtype": "F32"},
        None,
        [],
    ],
)
def test_a_malformed_entry_is_an_invalid_header(tmp_path, bad):
    assert code_of(tmp_path, raw({"a": bad}, bytes(8))) == "document_header_invalid"


@pytest.mark.parametrize("dtype", ["F8_E4M3", "C64", "f32", 5, None, []])
def test_an_unknown_dtype_is_a_wrong_dtype(tmp_path, dtype):
    assert code_of(tmp_path, raw({"a": entry(dtype=dtype)}, bytes(8))) == "document_wrong_dtype"


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800", "x" * 1025])
def test_an_unprintable_name_is_an_invalid_header(tmp_path, name):
    assert code_of(tmp_path, raw({name: entry()}, bytes(8))) == "document_header_invalid"


@pytest.mark.parametrize("second", [(4, 12), (0, 8), (9, 17), (16, 24)])
def test_overlaps_and_holes_are_an_invalid_header(tmp_path, second):
    content = raw({"a": entry(), "b": entry(offsets=second)}, bytes(24))
    assert code_of(tmp_path, content) == "document_header_invalid"


def test_bytes_behind_the_last_tensor_are_an_invalid_header(tmp_path):
    assert code_of(tmp_path, raw({"a": entry()}, bytes(9))) == "document_header_invalid"


def test_missing_data_are_truncated(tmp_path):
    assert code_of(tmp_path, raw({"a": entry()}, bytes(7))) == "document_truncated"


def test_duplicate_names_are_an_invalid_header(tmp_path):
    one = json.dumps(entry()).encode()
    content = raw(b'{"a":' + one + b',"a":' + one + b"}", bytes(8))
    assert code_of(tmp_path, content) == "document_header_invalid"


def test_too_many_tensors_are_too_large(tmp_path):
    many = {f"t{index}": entry(shape=(0,), offsets=(0, 0)) for index in range(11)}
    assert code_of(tmp_path, raw(many), limits=HeaderLimits(tensors=10)) == "document_too_large"


def test_a_pickle_is_named_as_one(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "model.pt")
    with pytest.raises(DocumentError, match="pickle"):
        read_header(tmp_path / "model.pt")


def test_a_header_length_that_looks_like_a_pickle_s_first_bytes_is_none(tmp_path):
    header = json.dumps({"a": entry()}).encode()
    (tmp_path / "m").write_bytes(raw(header + b" " * (0x0280 - len(header)), bytes(8)))
    assert (tmp_path / "m").read_bytes().startswith(b"\x80\x02")
    assert read_header(tmp_path / "m").tensors.keys() == {"a"}


def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DocumentError, match="regular file"):
        read_header(tmp_path / "pipe")


def test_petabytes_in_a_header_take_no_memory(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(raw({"a": entry(shape=(2**48,), offsets=(0, 2**50))}))
    tracemalloc.start()
    with pytest.raises(DocumentError):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"1,", b'{"a":[[[]]]},'])
def test_a_header_full_of_values_takes_bounded_memory(tmp_path, unit):
    path = tmp_path / "m"
    path.write_bytes(raw(b'{"a":[' + unit * (15 * 2**20 // len(unit)) + b"0]}"))
    tracemalloc.start()
    with pytest.raises(DocumentError):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 2**20


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_document_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "arbitrary"
    path.write_bytes(raw(b"{" + content) if len(content) % 2 else content)
    with pytest.raises(DocumentError):
        read_header(path)
