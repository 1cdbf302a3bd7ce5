"""Constants of an ONNX file: shape, type and bytes are checked against each other before an array is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import onnx

from ranksearch.contracts.errors import OnnxError
from ranksearch.documents.from_onnx.graph import Array

__all__ = ["array_of", "dtype_name"]

_KINDS: Mapping[int, tuple[str, str]] = {
    onnx.TensorProto.FLOAT: ("<f4", "float_data"),
    onnx.TensorProto.DOUBLE: ("<f8", "double_data"),
    onnx.TensorProto.INT64: ("<i8", "int64_data"),
    onnx.TensorProto.INT32: ("<i4", "int32_data"),
    onnx.TensorProto.INT16: ("<i2", "int32_data"),
    onnx.TensorProto.INT8: ("<i1", "int32_data"),
    onnx.TensorProto.UINT8: ("<u1", "int32_data"),
    onnx.TensorProto.BOOL: ("?", "int32_data"),
}
"""ONNX's type → numpy's, and the field that holds such values where they are not raw bytes."""

_MAX_DIMS = 8
_MAX_ELEMENTS = 2**31


def dtype_name(kind: int) -> str:
    """ONNX's name of a type of elements, or its number where it has none."""
    names = {value: name for name, value in onnx.TensorProto.DataType.items()}
    return str(names.get(kind, kind))


def array_of(tensor: Any, name: str) -> Array:  # noqa: ANN401 - a protocol buffer
    """The values of a tensor, in memory of their own or of the file's parsed bytes; not to be written to.

    Raises:
        OnnxError: ``onnx_external_data``, ``onnx_unsupported`` for a type, ``onnx_too_large``, or ``onnx_malformed``
            where its bytes do not fit its shape.
    """
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise OnnxError(
            "onnx_external_data",
            f"the weights of {name!r} lie in another file",
            got=[f"{entry.key}={entry.value}" for entry in tensor.external_data][:3],
            expected="one file with everything in it",
            mend="torch.onnx.export(…, external_data=False) writes one file; to join files that are there:"
            ' onnx.save_model(onnx.load("net.onnx"), "single.onnx")',
        )
    if tensor.data_type not in _KINDS:
        raise OnnxError(
            "onnx_unsupported",
            f"the values of {name!r} are of a type that is not taken",
            got=dtype_name(tensor.data_type),
            expected="FLOAT for weights; whole numbers for sizes and indices",
            mend="export the model in float32, before it is quantised or halved",
        )
    shape = _shape(tensor, name)
    code, field = _KINDS[tensor.data_type]
    dtype, count = np.dtype(code), math.prod(shape)
    raw = tensor.raw_data
    if raw or not count:
        if len(raw) != count * dtype.itemsize:
            _misfit(name, shape, f"{len(raw)} bytes", f"{count * dtype.itemsize} bytes")
        return np.frombuffer(raw, dtype).reshape(shape)
    values = getattr(tensor, field)
    if len(values) != count:
        _misfit(name, shape, f"{len(values)} values", f"{count} values")
    return np.array(values, dtype).reshape(shape)


def _shape(tensor: Any, name: str) -> tuple[int, ...]:  # noqa: ANN401 - a protocol buffer
    shape = tuple(tensor.dims)
    if len(shape) > _MAX_DIMS or any(not 0 <= size <= _MAX_ELEMENTS for size in shape):
        expected = f"at most {_MAX_DIMS} sizes from 0 to {_MAX_ELEMENTS}"
        detail = f"the shape of {name!r} is none that a weight has"
        raise OnnxError("onnx_malformed", detail, got=list(shape), expected=expected)
    if math.prod(shape) > _MAX_ELEMENTS:
        detail = f"{name!r} has more values than a file can hold"
        raise OnnxError("onnx_too_large", detail, got=list(shape), expected=f"at most {_MAX_ELEMENTS} values")
    return shape


def _misfit(name: str, shape: tuple[int, ...], got: str, expected: str) -> NoReturn:
    raise OnnxError(
        "onnx_malformed",
        f"the values of {name!r} do not fit its shape {list(shape)}",
        got=got,
        expected=expected,
        mend="export the model again: the file is damaged",
    )
