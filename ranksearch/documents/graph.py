"""The graph of a model document: what it is made of, and its form in JSON.

A graph is a list of nodes in the order of their execution. A node calls a module (``{"call": "layer1.0.conv1",
"args": [{"node": 3}]}``) or an operator (``{"op": "aten.add.Tensor", "args": […], "kwargs": {…}}``), and refers
only to inputs, to tensors of the file and to nodes before it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = [
    "Call",
    "DeviceOfNetwork",
    "Dtype",
    "Graph",
    "InputRef",
    "MemoryFormat",
    "ModuleSpec",
    "Node",
    "NodeRef",
    "Operation",
    "Output",
    "Reference",
    "TensorRef",
    "Value",
    "encode_graph",
    "references",
]


@dataclass(frozen=True, slots=True)
class NodeRef:
    """The result of an earlier node."""

    index: int


@dataclass(frozen=True, slots=True)
class InputRef:
    """One of the network's inputs."""

    index: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A parameter or buffer of the network, by its qualified name."""

    name: str


@dataclass(frozen=True, slots=True)
class Dtype:
    """A dtype by torch's name, such as ``float32``."""

    name: str


@dataclass(frozen=True, slots=True)
class MemoryFormat:
    """A memory format by torch's name, such as ``channels_last``."""

    name: str


@dataclass(frozen=True, slots=True)
class DeviceOfNetwork:
    """The device the network's inputs are on, whatever the device was when the document was packed."""


Reference: TypeAlias = NodeRef | InputRef | TensorRef
Value: TypeAlias = (
    bool | int | float | str | Reference | Dtype | MemoryFormat | DeviceOfNetwork | tuple["Value", ...] | None
)
Output: TypeAlias = Reference | tuple["Output", ...] | list["Output"] | dict[str, "Output"] | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator applied to values."""

    op: str
    args: tuple[Value, ...]
    kwargs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One module applied to one value."""

    module: str
    argument: Reference


Node: TypeAlias = Operation | Call


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """A module's class by torch's name and the constructor arguments that its tensors do not tell."""

    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole network but for its tensors.

    Args:
        modules: by qualified name.
        module_aliases: further names of shared modules → the name under which the module is called.
        tensor_aliases: further names of shared tensors → the name under which the tensor is stored.
        unsaved: buffers that the network's ``state_dict`` leaves out, as the original's did.
        nodes: in the order of their execution.
        output: the network's result: a reference, or tuples, lists and dicts of them.
    """

    modules: Mapping[str, ModuleSpec]
    module_aliases: Mapping[str, str]
    tensor_aliases: Mapping[str, str]
    unsaved: frozenset[str]
    nodes: tuple[Node, ...]
    output: Output

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return self  # nothing in it ever changes


def references(value: Value | Output) -> Iterator[Reference]:
    """Every reference inside a value or an output."""
    if isinstance(value, (NodeRef, InputRef, TensorRef)):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)


def encode_graph(graph: Graph) -> str:
    """The graph as JSON; the same graph always gives the same text."""
    content = {
        "modules": {name: {"kind": spec.kind, "options": dict(spec.options)} for name, spec in graph.modules.items()},
        "module_aliases": dict(graph.module_aliases),
        "tensor_aliases": dict(graph.tensor_aliases),
        "unsaved": sorted(graph.unsaved),
        "nodes": [_encoded_node(node) for node in graph.nodes],
        "output": _encoded_output(graph.output),
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _encoded_node(node: Node) -> dict[str, Any]:
    if isinstance(node, Call):
        return {"call": node.module, "args": [_encoded(node.argument)]}
    encoded: dict[str, Any] = {"op": node.op, "args": [_encoded(value) for value in node.args]}
    if node.kwargs:
        encoded["kwargs"] = {name: _encoded(value) for name, value in node.kwargs.items()}
    return encoded


def _encoded(value: Value) -> Any:  # noqa: ANN401, PLR0911 - JSON of any kind; one return for each kind
    match value:
        case NodeRef(index):
            return {"node": index}
        case InputRef(index):
            return {"input": index}
        case TensorRef(name):
            return {"tensor": name}
        case Dtype(name):
            return {"dtype": name}
        case MemoryFormat(name):
            return {"memory_format": name}
        case DeviceOfNetwork():
            return {"device": "network"}
        case tuple():
            return [_encoded(item) for item in value]
        case float() if not math.isfinite(value):  # JSON has no infinities
            return {"float": str(value)}
        case _:
            return value


def _encoded_output(output: Output) -> Any:  # noqa: ANN401 - JSON of any kind
    if isinstance(output, dict):
        return {"dict": {name: _encoded_output(item) for name, item in output.items()}}
    if isinstance(output, (tuple, list)):
        return {type(output).__name__: [_encoded_output(item) for item in output]}
    return _encoded(output)
