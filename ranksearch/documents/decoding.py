"""Reads a document's graph from JSON and believes nothing in it: structure, names, references, arguments.

What passes may be built. To *run* a network from somebody unknown stays a task for a sandbox: its literal sizes
are bounded here, but sizes computed while it runs are not.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.tensorfile import parse_bounded_json
from ranksearch.documents.arguments import check_operation
from ranksearch.documents.graph import (
    Call,
    DeviceOfNetwork,
    Dtype,
    Graph,
    InputRef,
    MemoryFormat,
    ModuleSpec,
    Node,
    NodeRef,
    Operation,
    Output,
    TensorRef,
    Value,
)
from ranksearch.documents.names import check_name

__all__ = ["decode_graph"]

_MAX_NODES = 200_000
_MAX_LIST = 4096
_MAX_DEPTH = 8
_TEXT = re.compile(r"[A-Za-z0-9_,.\-> ]{0,200}", re.ASCII)
_MEMBERS = {"modules", "module_aliases", "tensor_aliases", "unsaved", "nodes", "output"}
_DTYPES = frozenset(
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()  # noqa: SIM905 - a plain list
)
_MEMORY_FORMATS = frozenset({"contiguous_format", "preserve_format", "channels_last", "channels_last_3d"})
_FLOATS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


def decode_graph(text: str, n_inputs: int) -> Graph:
    """The graph in ``text``, checked.

    Args:
        text: JSON as :func:`ranksearch.documents.graph.encode_graph` writes it.
        n_inputs: how many inputs the document declares.

    Raises:
        DocumentError: ``document_graph_invalid`` or ``document_unknown_operator``.
    """
    content = parse_bounded_json(text, "the graph", error=DocumentError, code="document_graph_invalid")
    if not isinstance(content, dict) or set(content) != _MEMBERS:
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        _refuse("the graph has other members than it should", got=got, expected=sorted(_MEMBERS))
    modules = _modules(content["modules"])
    nodes = content["nodes"]
    if not isinstance(nodes, list) or len(nodes) > _MAX_NODES:
        _refuse("the nodes are not a list of bearable length", expected=f"at most {_MAX_NODES} nodes")
    reader = _NodeReader(n_inputs, modules)
    decoded = tuple(reader.node(index, node) for index, node in enumerate(nodes))
    return Graph(
        modules=modules,
        module_aliases=_aliases(content["module_aliases"], "module_aliases"),
        tensor_aliases=_aliases(content["tensor_aliases"], "tensor_aliases"),
        unsaved=_unsaved(content["unsaved"]),
        nodes=decoded,
        output=reader.output(content["output"]),
    )


def _refuse(detail: str, *, got: object = None, expected: object = None) -> NoReturn:
    mend = "pack the model again with ranksearch.pack"
    raise DocumentError("document_graph_invalid", detail, got=got, expected=expected, mend=mend)


def _modules(entry: object) -> dict[str, ModuleSpec]:
    if not isinstance(entry, dict):
        _refuse("the modules are not an object", got=type(entry).__name__)
    modules = {}
    for name, spec in entry.items():
        check_name(name)
        if not isinstance(spec, dict) or set(spec) != {"kind", "options"} or not isinstance(spec["kind"], str):
            _refuse(f"module {name!r} is malformed", got=spec, expected="kind and options")
        if not isinstance(spec["options"], dict):
            _refuse(f"module {name!r} has malformed options", got=spec["options"])
        modules[name] = ModuleSpec(spec["kind"], spec["options"])
    return modules


def _aliases(entry: object, what: str) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(target, str) for target in entry.values()):
        _refuse(f"{what} is not an object of names", got=entry)
    for name, target in entry.items():
        check_name(name)
        check_name(target)
    return entry


def _unsaved(entry: object) -> frozenset[str]:
    if not isinstance(entry, list) or not all(isinstance(name, str) for name in entry):
        _refuse("unsaved is not a list of names", got=entry)
    return frozenset(entry)


class _NodeReader:
    """Reads nodes one after the other, and knows what each may refer to."""

    def __init__(self, n_inputs: int, modules: dict[str, ModuleSpec]) -> None:
        self._n_inputs = n_inputs
        self._modules = modules
        self._n_nodes = 0

    def node(self, index: int, entry: object) -> Node:
        if not isinstance(entry, dict):
            _refuse(f"node {index} is not an object", got=entry)
        args = entry.get("args")
        if not isinstance(args, list):
            _refuse(f"node {index} has no list of arguments", got=entry)
        values = tuple(self._value(value) for value in args)
        if set(entry) == {"call", "args"}:
            node: Node = self._call(index, entry["call"], values)
        elif set(entry) | {"kwargs"} == {"op", "args", "kwargs"}:
            kwargs = entry.get("kwargs", {})
            if not isinstance(kwargs, dict) or not isinstance(entry["op"], str):
                _refuse(f"node {index} is malformed", got=entry)
            node = Operation(entry["op"], values, {name: self._value(value) for name, value in kwargs.items()})
            check_operation(index, node)
        else:
            _refuse(f"node {index} is neither a call nor an operator", got=sorted(entry))
        self._n_nodes = index + 1
        return node

    def output(self, entry: object, depth: int = 0) -> Output:
        if depth > _MAX_DEPTH:
            _refuse("the output is nested too deeply")
        if isinstance(entry, dict) and len(entry) == 1:
            ((kind, content),) = entry.items()
            if kind == "dict" and isinstance(content, dict):
                return {name: self.output(item, depth + 1) for name, item in content.items()}
            if kind in ("list", "tuple") and isinstance(content, list):
                items = [self.output(item, depth + 1) for item in content]
                return items if kind == "list" else tuple(items)
        value = self._value(entry)
        if value is None or isinstance(value, (NodeRef, InputRef)):
            return value
        _refuse("the output is not made of nodes", got=entry)

    def _call(self, index: int, name: object, values: tuple[Value, ...]) -> Call:
        if not isinstance(name, str) or name not in self._modules:
            _refuse(f"node {index} calls a module that the graph does not hold", got=name)
        if len(values) != 1 or not isinstance(values[0], (NodeRef, InputRef, TensorRef)):
            _refuse(f"node {index} does not call {name!r} with one tensor", got=values)
        return Call(name, values[0])

    def _value(self, entry: object, depth: int = 0) -> Value:
        if isinstance(entry, dict):
            return self._special(entry)
        if isinstance(entry, list):
            if depth > _MAX_DEPTH or len(entry) > _MAX_LIST:
                _refuse("a list of arguments is too long or nested too deeply", got=entry)
            return tuple(self._value(item, depth + 1) for item in entry)
        if isinstance(entry, str):
            if not _TEXT.fullmatch(entry):
                _refuse("an argument is a text that no operator takes", got=entry)
            return entry
        if isinstance(entry, float) and entry in (float("inf"), float("-inf")):
            _refuse("a number is too large", got=entry)
        if type(entry) is int and not -(2**63) <= entry < 2**63:
            _refuse("a number is too large", got=entry)
        if entry is None or isinstance(entry, (bool, int, float)):
            return entry
        _refuse("an argument is of no known kind", got=entry)

    def _special(self, entry: dict[str, Any]) -> Value:
        ((kind, content),) = entry.items() if len(entry) == 1 else ((None, None),)
        if kind == "node" and type(content) is int and 0 <= content < self._n_nodes:
            return NodeRef(content)
        if kind == "input" and type(content) is int and 0 <= content < self._n_inputs:
            return InputRef(content)
        if isinstance(content, str) and (named := _named(kind, content)) is not None:
            return named
        _refuse(
            "an argument refers to nothing that may be referred to",
            got=entry,
            expected="a node before it, an input, a tensor, a dtype, a memory format or the network's device",
        )


def _named(kind: str | None, content: str) -> Value:
    """What a text stands for: a tensor, a constant of torch, a number JSON lacks; ``None`` where it may not."""
    if kind == "tensor":
        check_name(content)
        return TensorRef(content)
    if kind == "dtype" and content in _DTYPES:
        return Dtype(content)
    if kind == "memory_format" and content in _MEMORY_FORMATS:
        return MemoryFormat(content)
    if kind == "device" and content == "network":
        return DeviceOfNetwork()
    return _FLOATS.get(content) if kind == "float" else None
