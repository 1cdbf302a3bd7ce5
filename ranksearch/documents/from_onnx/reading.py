"""Reads an ONNX file and believes nothing in it: bounds first, then structure, names, types and constants."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import onnx
from google.protobuf.message import DecodeError

from ranksearch.contracts.errors import OnnxError
from ranksearch.contracts.onnxfile import is_onnx
from ranksearch.documents.from_onnx.graph import Array, Attribute, OnnxGraph, OnnxInput, OnnxNode
from ranksearch.documents.from_onnx.tensors import array_of, dtype_name
from ranksearch.documents.from_onnx.wire import check_wire

__all__ = ["OPSETS", "read_onnx"]

OPSETS = range(11, 25)
"""Versions of the operators in which those that are translated mean what they are translated to."""

_MAX_NODES = 5000
_MAX_CONSTANTS = 20_000
_MAX_INPUTS = 16
_MAX_LIST = 4096
_MAX_DIMS = 8
_MAX_SIZE = 2**16
_MAX_ELEMENTS = 2**26
_LONGEST_PRODUCER = 100
_DEFAULT_DOMAINS = ("", "ai.onnx")
_OPERATOR = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)


def read_onnx(path: str | os.PathLike[str]) -> OnnxGraph:
    """The network of the ONNX file at ``path``.

    Raises:
        OnnxError: the file is no ONNX model, is damaged, too large, of another version, or holds what is not taken.
        OSError: there is no such file, or it may not be read.
    """
    if not is_onnx(path):
        raise OnnxError(
            "onnx_malformed",
            "this is not an ONNX file",
            expected="a model as torch.onnx.export or onnx.save_model writes it",
            mend="check the path; a model document needs no translation",
        )
    data = Path(path).read_bytes()
    check_wire(memoryview(data), onnx.ModelProto.DESCRIPTOR)
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as problem:
        raise OnnxError(
            "onnx_malformed",
            "the ONNX file cannot be parsed",
            got=str(problem),
            mend="check that it came through whole, and export the model again",
        ) from problem
    del data
    return _Reader(model).read()


class _Reader:
    """The steps of :func:`read_onnx`, on a parsed file."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - a protocol buffer
        self._model = model
        self._graph = model.graph
        self._constants: dict[str, Array] = {}
        self._known: set[str] = {""}

    def read(self) -> OnnxGraph:
        opset = self._opset()
        for what, items, most in (
            ("nodes", self._graph.node, _MAX_NODES),
            ("constants", self._graph.initializer, _MAX_CONSTANTS),
            ("inputs", self._graph.input, _MAX_CONSTANTS),
            ("outputs", self._graph.output, _MAX_INPUTS),
        ):
            if len(items) > most:
                detail = f"the network has more {what} than are taken"
                raise OnnxError("onnx_too_large", detail, got=len(items), expected=f"at most {most}")
        for tensor in self._graph.initializer:
            self._define(tensor.name, "a constant")
            self._constants[tensor.name] = array_of(tensor, tensor.name)
        inputs = self._inputs()
        nodes = [self._node(node) for node in self._graph.node]
        outputs = tuple(value.name for value in self._graph.output)
        if not outputs or any(name not in self._known or not name for name in outputs):
            _refuse("an output of the network is computed by no node", got=list(outputs)[:5])
        live = _live(nodes, outputs)
        return OnnxGraph(
            opset=opset,
            producer=self._producer(),
            inputs=inputs,
            outputs=outputs,
            constants=self._constants,
            weights=frozenset(self._constants),
            nodes=tuple(live),
        )

    def _opset(self) -> int:
        for entry in self._model.opset_import:
            if entry.domain in _DEFAULT_DOMAINS:
                if entry.version in OPSETS:
                    return int(entry.version)
                raise OnnxError(
                    "onnx_version_unsupported",
                    "the file's operators are of a version that is not taken",
                    got=f"opset {entry.version}",
                    expected=f"opset {OPSETS[0]} to {OPSETS[-1]}",
                    mend="export with opset_version=18, or convert: onnx.version_converter.convert_version(model, 18)",
                )
        return _refuse("the file does not say of which version its operators are", expected="an opset_import")

    def _producer(self) -> str:
        told = f"{self._model.producer_name} {self._model.producer_version}"
        return _printable(told).strip()[:_LONGEST_PRODUCER]

    def _define(self, name: str, what: str) -> None:
        if not name or name in self._known:
            _refuse(f"{what} has no name of its own", got=[name])
        self._known.add(name)

    def _inputs(self) -> tuple[OnnxInput, ...]:
        inputs = []
        for value in self._graph.input:
            if value.name in self._constants:
                continue  # older files list weights among the inputs
            self._define(value.name, "an input")
            inputs.append(_input(value))
        if not 1 <= len(inputs) <= _MAX_INPUTS:
            _refuse("the network has no inputs, or too many", got=len(inputs), expected=f"1 to {_MAX_INPUTS}")
        batches = {one.batch for one in inputs}
        if len(batches) > 1:
            raise OnnxError(
                "onnx_batch_fixed",
                "the inputs differ in their first size, the batch",
                got=[f"{one.name}: {one.batch or 'free'}" for one in inputs],
                expected="the same batch for all, best a free one",
                mend="export with a free batch for every input",
            )
        return tuple(inputs)

    def _node(self, node: Any) -> OnnxNode:  # noqa: ANN401 - a protocol buffer
        if not _OPERATOR.fullmatch(node.op_type):
            _refuse(f"node {node.name!r} has no name of an operator", got=[node.op_type])
        if node.domain not in _DEFAULT_DOMAINS:
            raise OnnxError(
                "onnx_unknown_operator",
                f"node {node.name!r} is of an operator that ONNX does not define",
                got=_printable(f"{node.domain}::{node.op_type}"),
                expected="operators of ONNX's own domain",
                mend="export without custom operators and without a runtime's own optimisations",
            )
        inputs, outputs = tuple(node.input), tuple(node.output)
        if len(inputs) > _MAX_LIST or not any(outputs):
            _refuse(f"node {node.name!r} ({node.op_type}) has no outputs, or too many inputs", got=len(inputs))
        if missing := [name for name in inputs if name not in self._known]:
            _refuse(f"node {node.name!r} ({node.op_type}) takes a value that nothing before it makes", got=missing[:3])
        for name in filter(None, outputs):
            self._define(name, f"an output of node {node.name!r} ({node.op_type})")
        attributes = {attribute.name: _attribute(attribute, node) for attribute in node.attribute}
        return OnnxNode(node.name, node.op_type, inputs, outputs, attributes)


def _refuse(detail: str, *, got: object = None, expected: object = None) -> NoReturn:
    mend = "check the file with onnx.checker.check_model, and export the model again"
    raise OnnxError("onnx_malformed", detail, got=got, expected=expected, mend=mend)


def _input(value: Any) -> OnnxInput:  # noqa: ANN401 - a protocol buffer
    kind = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or kind.elem_type != onnx.TensorProto.FLOAT:
        raise OnnxError(
            "onnx_unsupported",
            f"the input {value.name!r} is no tensor of float32",
            got=dtype_name(kind.elem_type),
            expected="FLOAT",
            mend="export the model in float32, without the scaling of bytes in it: data sets say how that is done",
        )
    sizes = [size.dim_value if size.WhichOneof("value") == "dim_value" else None for size in kind.shape.dim]
    told = [size.dim_param or size.dim_value or "?" for size in kind.shape.dim]
    batch, shape = (sizes[0], sizes[1:]) if sizes else (None, [])
    if not shape or any(size is None for size in shape):
        raise OnnxError(
            "onnx_shape_unknown",
            f"the input {value.name!r} has sizes that the file does not tell",
            got=told,
            expected="a free batch, and numbers for all other sizes",
            mend="export with dynamic_axes (or dynamic_shapes) for the batch alone, or fix the others:"
            " onnxruntime.tools.make_dynamic_shape_fixed",
        )
    fixed = [size for size in shape if size is not None]
    elements = 1
    for size in fixed:
        elements *= max(0, size)
    if len(fixed) >= _MAX_DIMS or not all(1 <= size <= _MAX_SIZE for size in fixed) or elements > _MAX_ELEMENTS:
        expected = f"sizes from 1 to {_MAX_SIZE}, together at most {_MAX_ELEMENTS} values"
        raise OnnxError("onnx_too_large", f"the input {value.name!r} is of no usable size", got=told, expected=expected)
    if batch is not None and not 1 <= batch <= _MAX_LIST:
        batch = None  # zero and negative numbers are how some exporters write a free size
    return OnnxInput(value.name, tuple(fixed), batch)


def _attribute(attribute: Any, node: Any) -> Attribute:  # noqa: ANN401 - protocol buffers
    where = f"attribute {attribute.name!r} of node {node.name!r} ({node.op_type})"
    if attribute.ref_attr_name:
        _refuse(f"{where} refers to a function's, and there are none", got=[attribute.ref_attr_name])
    for values in (attribute.ints, attribute.floats, attribute.strings):
        if len(values) > _MAX_LIST:
            _refuse(f"{where} is too long", got=len(values), expected=f"at most {_MAX_LIST}")
    if attribute.type == onnx.AttributeProto.TENSOR:
        return array_of(attribute.t, f"{node.name}.{attribute.name}")
    read = _ATTRIBUTES.get(attribute.type)
    return _refuse(f"{where} is of a kind that no operator here takes") if read is None else read(attribute)


_ATTRIBUTES: Mapping[int, Callable[[Any], Attribute]] = {
    onnx.AttributeProto.INT: lambda attribute: int(attribute.i),
    onnx.AttributeProto.FLOAT: lambda attribute: float(attribute.f),
    onnx.AttributeProto.STRING: lambda attribute: _text(attribute.s),
    onnx.AttributeProto.INTS: lambda attribute: tuple(int(item) for item in attribute.ints),
    onnx.AttributeProto.FLOATS: lambda attribute: tuple(float(item) for item in attribute.floats),
    onnx.AttributeProto.STRINGS: lambda attribute: tuple(_text(item) for item in attribute.strings),
}


def _text(value: bytes) -> str:
    return _printable(value.decode("utf-8", "replace"))


def _printable(text: str) -> str:
    """Without what steers a terminal: messages repeat it."""
    return "".join(letter for letter in text if letter.isprintable())


def _live(nodes: list[OnnxNode], outputs: Iterable[str]) -> list[OnnxNode]:
    """The nodes that the outputs need, in their order."""
    needed, live = set(outputs), []
    for node in reversed(nodes):
        if needed & set(filter(None, node.outputs)):
            live.append(node)
            needed.update(node.inputs)
    return live[::-1]
