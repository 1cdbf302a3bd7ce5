"""Reads the header of a safetensors file from somebody unknown, in bounded memory and without torch.

A safetensors file is eight bytes of header length, a JSON header, then the tensors' bytes. The header is
checked in full against the real file before anything is believed: its size before it is read, its number of
values before it is parsed, every tensor's dtype, shape and place afterwards. What passes here may be mapped and
sliced safely.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ranksearch.contracts.errors import DatasetError, DocumentError

__all__ = [
    "DTYPE_BYTES",
    "TORCH_DTYPES",
    "HeaderLimits",
    "StoredTensor",
    "TensorFileHeader",
    "parse_bounded_json",
    "read_header",
    "read_header_in_parts",
]

DTYPE_BYTES: Mapping[str, int] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "I32": 4,
    "I64": 8,
    "F16": 2,
    "BF16": 2,
    "F32": 4,
    "F64": 8,
}
"""The dtypes a document may hold, by their names in the format, with the bytes of one element."""

TORCH_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}
"""Names in the file format → names in torch."""

FileError = type[DocumentError] | type[DatasetError]

_LENGTH_BYTES = 8
_MAX_DIMS = 16
_MAX_NAME = 1024
_MAX_ELEMENTS = 2**62
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """What a header may cost to read.

    Args:
        header_bytes: longest header, in bytes; a larger claim is refused before anything is read.
        tensors: most tensors.
        json_values: most JSON values, counted by their separators before parsing, since a parsed value takes
            some fifty times the two bytes it may be written in.
    """

    header_bytes: int = 16 * 2**20
    tensors: int = 100_000
    json_values: int = 1_500_000


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor's place: dtype by its name in the format, shape, and first and last + 1 byte in the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class TensorFileHeader:
    """A checked header: tensors by name, metadata, where the data start, and the file's size in bytes."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]
    data_start: int
    file_bytes: int


def read_header(
    path: str | os.PathLike[str], limits: HeaderLimits | None = None, *, error: FileError = DocumentError
) -> TensorFileHeader:
    """Read and check the header of the safetensors file at ``path``.

    Args:
        path: a regular file.
        limits: what the header may cost; the defaults suit every document this project writes.
        error: which document's errors to raise; their codes begin with ``document_`` or ``dataset_``.

    Raises:
        DocumentError: ``document_truncated``, ``document_too_large``, ``document_header_invalid`` or
            ``document_wrong_dtype``.
        DatasetError: the same with ``dataset_``, where ``error`` is ``DatasetError``.
        OSError: there is no such file, or it may not be read.
    """
    return _HeaderReader(limits or HeaderLimits(), error).read(Path(path))


def read_header_in_parts(
    read: Callable[[int, int], bytes],
    size: int,
    limits: HeaderLimits | None = None,
    *,
    error: FileError = DocumentError,
) -> TensorFileHeader:
    """As :func:`read_header`, for a file that is not here.

    Args:
        read: its bytes from a first one up to another, which lie within the file.
        size: of the file, in bytes.
        limits: as :func:`read_header`.
        error: as :func:`read_header`.

    Raises:
        DocumentError: as :func:`read_header`.
        DatasetError: as :func:`read_header`.
    """
    return _HeaderReader(limits or HeaderLimits(), error).parts(read, size)


def parse_bounded_json(
    text: str | bytes, what: str, *, error: FileError, code: str, max_values: int = 1_500_000
) -> Any:  # noqa: ANN401 - JSON of any kind
    """Parse JSON from somebody unknown: bounded in values, no duplicate keys, no NaN, no bottomless nesting.

    Args:
        text: the JSON; the caller bounds its length.
        what: what the text is, for the message, e.g. ``"the graph"``.
        error: class of the error to raise.
        code: code of the error to raise.
        max_values: most separators ``, [ {`` in the text; each value beyond the first needs one.
    """

    def refuse(detail: str) -> NoReturn:
        raise error(code, f"{what} is not usable JSON: {detail}", mend="pack the model or the images again")

    marks: tuple[Any, ...] = (b",", b"[", b"{") if isinstance(text, bytes) else (",", "[", "{")
    if (count := sum(text.count(mark) for mark in marks)) > max_values:
        refuse(f"up to {count} values, at most {max_values} are read")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            refuse("a key occurs twice in one object")
        return found

    def no_constant(name: str) -> NoReturn:
        refuse(f"{name} is not a JSON number")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except RecursionError:
        refuse("it is nested too deeply")
    except ValueError as problem:  # broken JSON, broken UTF-8, an integer of thousands of digits
        refuse(str(problem))


class _HeaderReader:
    """The steps of :func:`read_header`, sharing the limits and the kind of error."""

    def __init__(self, limits: HeaderLimits, error: FileError) -> None:
        self._limits = limits
        self._error = error
        self._prefix = "dataset" if issubclass(error, DatasetError) else "document"

    def read(self, path: Path) -> TensorFileHeader:
        with open(path, "rb", opener=_without_blocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                self._refuse("header_invalid", f"{path} is not a regular file", expected="a safetensors file")

            def part(start: int, stop: int) -> bytes:
                file.seek(start)
                return file.read(stop - start)

            return self.parts(part, status.st_size)

    def parts(self, read: Callable[[int, int], bytes], size: int) -> TensorFileHeader:
        raw = self._raw_header(read, size)
        data_start = _LENGTH_BYTES + len(raw)
        members = self._members(raw)
        metadata = self._metadata(members.pop("__metadata__", {}))
        if len(members) > self._limits.tensors:
            self._refuse("too_large", "too many tensors", got=len(members), expected=f"≤ {self._limits.tensors}")
        tensors = {name: self._tensor(name, entry) for name, entry in members.items()}
        self._check_places(tensors, size - data_start)
        return TensorFileHeader(tensors, metadata, data_start, size)

    def _refuse(self, code: str, detail: str, *, got: object = None, expected: object = None) -> NoReturn:
        mend = "upload the whole file" if code == "truncated" else "write the file again with this project's pack"
        raise self._error(f"{self._prefix}_{code}", detail, got=got, expected=expected, mend=mend)

    def _raw_header(self, read: Callable[[int, int], bytes], size: int) -> bytes:
        start = read(0, min(_LENGTH_BYTES, size))
        if len(start) < _LENGTH_BYTES:
            self._refuse("truncated", "the file is shorter than a header length", got=f"{size} bytes")
        length = int.from_bytes(start, "little")
        if length > self._limits.header_bytes:
            if start.startswith(_PICKLE_STARTS):
                raise self._error(
                    f"{self._prefix}_header_invalid",
                    "this is a pickle (torch.save writes such files), and pickles are never opened here",
                    got=start,
                    expected="a safetensors file",
                    mend="load it where you trust it, and write it with ranksearch.pack or ranksearch.pack_data",
                )
            limit = f"at most {self._limits.header_bytes} bytes"
            self._refuse("too_large", "the header claims too many bytes", got=length, expected=limit)
        if length > size - _LENGTH_BYTES:
            self._refuse("truncated", "the file ends inside its header", got=f"{size} bytes")
        raw = read(_LENGTH_BYTES, _LENGTH_BYTES + length)
        if len(raw) != length:
            self._refuse("truncated", "the file ends inside its header", got=f"{len(raw)} header bytes")
        return raw

    def _members(self, raw: bytes) -> dict[str, Any]:
        if not raw.startswith(b"{"):
            self._refuse("header_invalid", "the header does not start with {", got=raw[:40])
        members = parse_bounded_json(
            raw,
            "the header",
            error=self._error,
            code=f"{self._prefix}_header_invalid",
            max_values=self._limits.json_values,
        )
        if not isinstance(members, dict):
            self._refuse("header_invalid", "the header is not a JSON object", got=raw[:40])
        return members

    def _metadata(self, entry: object) -> dict[str, str]:
        if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
            self._refuse("header_invalid", "the metadata are not an object of strings")
        try:
            for key, value in entry.items():
                key.encode(), value.encode()
        except UnicodeEncodeError:
            self._refuse("header_invalid", "the metadata hold half of a surrogate pair")
        return entry

    def _tensor(self, name: str, entry: object) -> StoredTensor:
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            self._refuse("header_invalid", "a tensor's name is not printable text of 1 to 1024 characters", got=name)
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            wrong, expected = f"the entry of tensor {name!r} is malformed", "dtype, shape, data_offsets"
            self._refuse("header_invalid", wrong, got=entry, expected=expected)
        dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
            known = ", ".join(DTYPE_BYTES)
            self._refuse("wrong_dtype", f"tensor {name!r} has an unknown dtype", got=dtype, expected=known)
        if not _is_sizes(shape) or len(shape) > _MAX_DIMS:
            expected = f"at most {_MAX_DIMS} sizes ≥ 0"
            self._refuse("header_invalid", f"tensor {name!r} has no valid shape", got=shape, expected=expected)
        if not _is_sizes(place) or len(place) != 2:  # noqa: PLR2004 - begin and end
            self._refuse("header_invalid", f"tensor {name!r} has no valid data_offsets", got=place)
        elements = math.prod(shape)
        if elements > _MAX_ELEMENTS or place[1] - place[0] != elements * DTYPE_BYTES[dtype]:
            self._refuse(
                "header_invalid",
                f"tensor {name!r} has offsets that do not fit its shape {shape} and dtype {dtype}",
                got=place,
                expected=f"{elements * DTYPE_BYTES[dtype]} bytes",
            )
        return StoredTensor(dtype, tuple(shape), place[0], place[1])

    def _check_places(self, tensors: dict[str, StoredTensor], data_bytes: int) -> None:
        end = 0
        for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
            if tensor.begin != end:
                kind = "overlaps another" if tensor.begin < end else "leaves a hole before it"
                self._refuse("header_invalid", f"tensor {name!r} {kind}", got=tensor.begin, expected=end)
            end = tensor.end
        if end > data_bytes:
            got = f"{data_bytes} bytes of data"
            self._refuse("truncated", "the file ends before its last tensor", got=got, expected=f"{end} bytes")
        if end < data_bytes:
            got = f"{data_bytes} bytes of data"
            self._refuse("header_invalid", "there are bytes behind the last tensor", got=got, expected=f"{end} bytes")


def _without_blocking(path: str, flags: int) -> int:
    """Open so that a named pipe answers at once instead of waiting for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


def _is_sizes(value: object) -> bool:
    """Whether ``value`` is a list of non-negative integers below 2**63; JSON's true and false are not."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)
