"""Bounds what parsing a protocol buffer may cost, from its bytes alone, before it is parsed.

A parser makes an object of some hundred bytes of every two bytes of a hostile file, and follows any nesting. So the
bytes are walked first, along the message types that ONNX describes: lengths are followed and nothing is built. What is
beyond a network's needs, and what is not supported anyway, ends here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ranksearch.contracts.errors import OnnxError
from ranksearch.contracts.onnxfile import LengthDelimited, read_field

__all__ = ["WireLimits", "check_wire"]

_REFUSED: Mapping[tuple[str, str], tuple[str, str]] = {
    ("AttributeProto", "g"): ("subgraphs", "control flow such as If, Loop or Scan"),
    ("AttributeProto", "graphs"): ("subgraphs", "control flow such as If, Loop or Scan"),
    ("AttributeProto", "sparse_tensor"): ("sparse tensors", "a weight that is stored sparsely"),
    ("AttributeProto", "sparse_tensors"): ("sparse tensors", "a weight that is stored sparsely"),
    ("GraphProto", "sparse_initializer"): ("sparse tensors", "a weight that is stored sparsely"),
    ("ModelProto", "functions"): ("functions", "operators that the file defines itself"),
    ("ModelProto", "training_info"): ("training information", "a graph that is trained further"),
}
_MEND = (
    "export the model once more for inference: torch.onnx.export(model.eval(), …) writes none of it;"
    " functions that are there are put in their places by onnx.inliner.inline_local_functions"
)


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What a file may hold.

    Args:
        fields: of all messages together; a network of a thousand nodes has some thirty thousand.
        depth: of messages within messages.
        varint_bytes: of lists of whole numbers, which take up to eight times as much once parsed. Weights are floats,
            or lie in ``raw_data``.
    """

    fields: int = 400_000
    depth: int = 12
    varint_bytes: int = 16 << 20


def check_wire(data: memoryview, kind: Descriptor, limits: WireLimits | None = None) -> None:
    """Walk the bytes of a message.

    Args:
        data: all of its bytes.
        kind: the message's type.
        limits: the defaults suit every network that can be searched.

    Raises:
        OnnxError: ``onnx_malformed``, ``onnx_too_large``, or ``onnx_unsupported`` for parts that no document holds.
    """
    _Walk(data, limits or WireLimits()).over(kind)


class _Walk:
    """The messages that are still to be walked, and what has been seen so far."""

    def __init__(self, data: memoryview, limits: WireLimits) -> None:
        self._data = data
        self._limits = limits
        self._pending: list[tuple[int, int, Descriptor, int]] = []
        self._fields = 0
        self._varint_bytes = 0

    def over(self, kind: Descriptor) -> None:
        self._pending.append((0, len(self._data), kind, 1))
        while self._pending:
            self._message(*self._pending.pop())

    def _message(self, at: int, stop: int, kind: Descriptor, depth: int) -> None:
        if depth > self._limits.depth:
            _too_large(f"messages are nested deeper than {self._limits.depth} levels")
        while at < stop:
            self._fields += 1
            if self._fields > self._limits.fields:
                _too_large(f"it has more than {self._limits.fields} fields")
            field = read_field(self._data, at, stop)
            if field is None:
                raise OnnxError(
                    "onnx_malformed",
                    f"the bytes of a {kind.name} are no protocol buffer",
                    got=f"what follows byte {at}",
                    mend="check that the file is an ONNX model and came through whole",
                )
            at = field.end
            known = kind.fields_by_number.get(field.number)
            if known is not None and isinstance(field, LengthDelimited):
                self._bytes(field, kind, known, depth)

    def _bytes(self, field: LengthDelimited, kind: Descriptor, known: FieldDescriptor, depth: int) -> None:
        if (refused := _REFUSED.get((kind.name, known.name))) is not None:
            _unsupported(*refused)
        if known.message_type is not None:
            self._pending.append((field.start, field.end, known.message_type, depth + 1))
        elif known.type == FieldDescriptor.TYPE_STRING:
            _check_text(self._data[field.start : field.end], f"{kind.name}.{known.name}")
        elif known.cpp_type in _VARINTS:
            self._varint_bytes += field.end - field.start
            if self._varint_bytes > self._limits.varint_bytes:
                _too_large(f"its lists of whole numbers take over {self._limits.varint_bytes} bytes")


_VARINTS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
        FieldDescriptor.CPPTYPE_BOOL,
        FieldDescriptor.CPPTYPE_ENUM,
    }
)


def _check_text(data: memoryview, where: str) -> None:
    """The parser takes any bytes for text, and hands them out as bytes where they are none."""
    try:
        str(data, "utf-8")
    except UnicodeDecodeError as problem:
        raise OnnxError(
            "onnx_malformed",
            f"a {where} is no text",
            got=f"{problem.reason} at byte {problem.start} of it",
            expected="UTF-8",
            mend="check that the file came through whole, and export the model again",
        ) from problem


def _too_large(detail: str) -> NoReturn:
    raise OnnxError(
        "onnx_too_large",
        f"the ONNX file is no network that can be searched: {detail}",
        mend="export the network alone, its weights as float32",
    )


def _unsupported(what: str, that_is: str) -> NoReturn:
    detail = f"the ONNX file holds {what} ({that_is}), which no model document does"
    raise OnnxError("onnx_unsupported", detail, got=what, expected="one graph of operators", mend=_MEND)
