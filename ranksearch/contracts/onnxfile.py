"""Recognises an ONNX file by its shape, in bounded memory, without ONNX and without parsing it.

An ONNX file is a protocol buffer: a row of fields, each with a number and, where it holds more than a number, the
length of what it holds. The fields of the outermost message are followed by their lengths alone; the graph, which is
one of them, is opened by a worker's confined process and by nobody else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ranksearch.contracts.errors import OnnxError

__all__ = ["MAX_ONNX_BYTES", "Field", "LengthDelimited", "is_onnx", "read_field"]

MAX_ONNX_BYTES = 2**31 - 1
"""What a protocol buffer may hold; larger networks keep their weights in other files, which are not taken."""

_IR_VERSION, _GRAPH = 1, 7
_MAX_IR_VERSION = 99
_MAX_FIELDS = 10_000
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
_LONGEST_HEAD = 2 * _LONGEST_VARINT
_SAFETENSORS_BRACE = 8


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its number, and where the next one begins."""

    number: int
    end: int


@dataclass(frozen=True, slots=True)
class LengthDelimited(Field):
    """A field that holds bytes, from ``start`` to ``end``."""

    start: int


def read_field(data: bytes | memoryview, at: int, stop: int) -> Field | None:
    """The field that begins at a byte; None where there is none that ends by ``stop``.

    Args:
        data: at least a field's head of it: at most 20 bytes from ``at`` on.
        at: where it begins.
        stop: the end of the message that it belongs to, which may lie beyond ``data``.
    """
    tag, at = _varint(data, at, stop)
    if at < 0 or not 0 < tag >> 3 < 2**29:
        return None
    number, wire_type = tag >> 3, tag & 7
    if wire_type == _VARINT:
        _, at = _varint(data, at, stop)
        return Field(number, at) if at >= 0 else None
    if wire_type == _DELIMITED:
        length, start = _varint(data, at, stop)
        return LengthDelimited(number, start + length, start) if start >= 0 and start + length <= stop else None
    size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire_type)
    return Field(number, at + size) if size is not None and at + size <= stop else None


def is_onnx(path: str | os.PathLike[str]) -> bool:
    """Whether the file at ``path`` has the shape of an ONNX model.

    What begins as one, and is no safetensors file, is taken for one: then what is wrong with it is said.

    Raises:
        OnnxError: it begins as an ONNX model, and is cut off, damaged or too large.
        OSError: there is no such file, or it may not be read.
    """
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        start = file.read(_LONGEST_HEAD)
        if not _begins_as_onnx(start):
            return False
        if size > MAX_ONNX_BYTES:
            raise OnnxError(
                "onnx_too_large",
                "the ONNX file is larger than a protocol buffer may be",
                got=f"{size} bytes",
                expected=f"at most {MAX_ONNX_BYTES} bytes",
                mend="pack the model itself with ranksearch.pack, whose documents have no such bound",
            )
        at, numbers = 0, set()
        for _ in range(_MAX_FIELDS):
            if at == size:
                break
            file.seek(at)
            field = read_field(file.read(_LONGEST_HEAD), 0, size - at)
            if field is None:
                raise _damaged(at, size)
            numbers.add(field.number)
            at += field.end
    if at != size or _GRAPH not in numbers:
        raise _damaged(at, size)
    return True


def _begins_as_onnx(start: bytes) -> bool:
    """The version of the format comes first, since fields are written by their numbers."""
    if start[_SAFETENSORS_BRACE : _SAFETENSORS_BRACE + 1] == b"{" and start[3:_SAFETENSORS_BRACE] == bytes(5):
        return False  # the length of a safetensors header, below 16 MiB, and the header
    first = _IR_VERSION << 3 | _VARINT
    return len(start) > 2 and start[0] == first and 0 < start[1] <= _MAX_IR_VERSION  # noqa: PLR2004 - a field and more


def _varint(data: bytes | memoryview, at: int, stop: int) -> tuple[int, int]:
    """A number of 7 bits a byte and the place after it; a negative place where there is none."""
    value = 0
    for shift in range(0, 7 * _LONGEST_VARINT, 7):
        if at >= stop or at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            return value, at
    return 0, -1


def _damaged(at: int, size: int) -> OnnxError:
    return OnnxError(
        "onnx_truncated",
        "this begins as an ONNX file and does not go on as one: it is cut off or damaged",
        got=f"{size} bytes, readable up to byte {at}",
        expected="a whole ONNX model in one file",
        mend="upload the whole file; if it is no ONNX model, write one with torch.onnx.export or ranksearch.pack",
    )
