"""Tensors to and from the bytes of a safetensors file: written all or nothing, the same bytes every time.

The ``safetensors`` package reads these files, and writes files that are read here. Writing is done here because
its metadata come in no fixed order, so that equal models would get different hashes; reading, because it maps the
file, and a mapped file that somebody shortens kills the process.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ranksearch.contracts.errors import DatasetError, DocumentError
from ranksearch.contracts.tensorfile import DTYPE_BYTES, TORCH_DTYPES, StoredTensor, TensorFileHeader

__all__ = ["Rows", "read_tensor", "write_tensor_file", "written_in_place"]

_FILE_DTYPES = {getattr(torch, name): file_name for file_name, name in TORCH_DTYPES.items()}
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class Rows:
    """A tensor that is written piece by piece, for what would not fit in memory.

    Args:
        dtype: of every piece.
        shape: of the whole.
        pieces: consecutive parts along the first dimension.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: Iterable[Tensor]


def write_tensor_file(file: Path, tensors: Mapping[str, Tensor | Rows], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; equal contents give equal bytes.

    Args:
        file: where to write.
        tensors: any layout and device; one at a time is brought to the CPU.
        metadata: text by name.

    Raises:
        DocumentError: ``document_wrong_dtype`` for a tensor whose dtype the format lacks.
        ValueError: the pieces of a tensor are not as many rows as were announced.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _FILE_DTYPES:
            detail = f"tensor {name!r} is of a dtype that documents do not hold"
            got, expected = str(tensor.dtype), sorted(DTYPE_BYTES)
            raise DocumentError("document_wrong_dtype", detail, got=got, expected=expected)
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))  # keeps each aligned
    header, sizes = _header(order, tensors, metadata)
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for name in order:
            tensor = tensors[name]
            pieces = tensor.pieces if isinstance(tensor, Rows) else (tensor,)
            written = sum(_write(stream, piece, tensor.dtype) for piece in pieces)
            if written != sizes[name]:
                raise ValueError(f"{name!r} was announced with {sizes[name]} bytes and has {written}")
        stream.flush()
        os.fsync(stream.fileno())


def _header(
    order: list[str], tensors: Mapping[str, Tensor | Rows], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    sizes = {}
    end = 0
    for name in order:
        tensor = tensors[name]
        shape = list(tensor.shape)
        sizes[name] = math.prod(shape) * tensor.dtype.itemsize
        begin, end = end, end + sizes[name]
        entries[name] = {"dtype": _FILE_DTYPES[tensor.dtype], "shape": shape, "data_offsets": [begin, end]}
    header = json.dumps(entries, separators=(",", ":")).encode()
    return header + b" " * (-len(header) % _ALIGNMENT), sizes


def _write(stream: BinaryIO, tensor: Tensor, dtype: torch.dtype) -> int:
    if not tensor.numel():
        return 0
    plain = tensor.detach().to(device="cpu", dtype=dtype).contiguous().reshape(-1)
    return stream.write(plain.view(torch.uint8).numpy().data)


@contextlib.contextmanager
def written_in_place(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes ``path``'s place at the end, or vanishes with the error."""
    target = Path(path)
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def read_tensor(
    file: BinaryIO,
    header: TensorFileHeader,
    name: str,
    *,
    rows: tuple[int, int] | None = None,
    error: type[DocumentError | DatasetError] = DocumentError,
) -> Tensor:
    """Read one tensor, or the rows ``[start, stop)`` of it, into memory of its own.

    Args:
        file: the file the header was read from.
        header: the checked header.
        name: which tensor.
        rows: first and last + 1 index along the first dimension, within its size.
        error: which document's error to raise.

    Raises:
        DocumentError: ``document_truncated``: the file became shorter since its header was checked.
        DatasetError: ``dataset_truncated``, where ``error`` is ``DatasetError``.
    """
    stored = header.tensors[name]
    shape, begin, size = _extent(stored, rows)
    dtype = getattr(torch, TORCH_DTYPES[stored.dtype])
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    buffer = bytearray(size)
    file.seek(header.data_start + begin)
    if file.readinto(buffer) != size:  # type: ignore[attr-defined]  # typing's BinaryIO lacks it
        prefix = "dataset" if issubclass(error, DatasetError) else "document"
        raise error(f"{prefix}_truncated", f"the file ended inside {name!r} while it was read")
    if dtype is torch.bool:  # a byte that is neither 0 nor 1 must not become a bool
        return (torch.frombuffer(buffer, dtype=torch.uint8) != 0).reshape(shape)
    return torch.frombuffer(buffer, dtype=dtype).reshape(shape)


def _extent(stored: StoredTensor, rows: tuple[int, int] | None) -> tuple[tuple[int, ...], int, int]:
    if rows is None:
        return stored.shape, stored.begin, stored.end - stored.begin
    start, stop = rows
    row_bytes = (stored.end - stored.begin) // stored.shape[0]
    return (stop - start, *stored.shape[1:]), stored.begin + start * row_bytes, (stop - start) * row_bytes
