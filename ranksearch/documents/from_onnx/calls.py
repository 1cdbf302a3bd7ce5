"""What an operator sees of the node that it is called for: its inputs, its attributes, and how to refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ranksearch.documents.from_onnx.graph import Array, OnnxGraph, OnnxNode, refuse_node

__all__ = ["Host", "NodeCall", "Operator", "Value"]

Value: TypeAlias = Tensor | Array
"""A tensor that depends on the network's inputs, or numbers that are known while tracing: a constant, or sizes."""

Plain = TypeVar("Plain", int, float, str)

_MAX_RANK = 8


class Host(Protocol):
    """Whom an operator's layers and tensors belong to."""

    graph: OnnxGraph

    @property
    def device(self) -> str:
        """Where what is made of nothing is made: without values, where only shapes are found out."""

    def tensor_of(self, name: str, values: Array) -> Tensor:
        """A constant as a tensor where the network's other tensors are."""

    def apply_layer(self, call: NodeCall, weight: str, make: Callable[[], nn.Module], given: Tensor) -> Tensor:
        """What a layer of the network, made at the first call, gives."""

    def frees_batch(self, call: NodeCall, size: object, of: Tensor) -> bool:
        """Whether a size that the file fixes stands for the batch, which is ``of``'s first size."""


class NodeCall:
    """One node, on its inputs.

    Args:
        host: the network.
        index: the node's place in the graph.
        node: which.
        values: of its inputs; None for one that is left out.
    """

    def __init__(self, host: Host, index: int, node: OnnxNode, values: Sequence[Value | None]) -> None:
        self.host = host
        self.index = index
        self.node = node
        self.values = values

    @property
    def opset(self) -> int:
        """Version of the operators."""
        return self.host.graph.opset

    def refuse(self, detail: str, *, got: object = None, expected: object = None, mend: str | None = None) -> NoReturn:
        """Raise ``onnx_unsupported``.

        Raises:
            OnnxError: always.
        """
        refuse_node(self.node, detail, got=got, expected=expected, mend=mend)

    def given(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.values) and self.values[index] is not None

    def value(self, index: int) -> Value:
        """An input that must be given."""
        found = self.values[index] if index < len(self.values) else None
        if found is None:
            self.refuse(f"its input {index} is missing")
        return found

    def tensor(self, index: int) -> Tensor:
        """An input as a tensor; a constant becomes a tensor of the network."""
        found = self.value(index)
        if isinstance(found, Tensor):
            return found
        if found.dtype == object:
            self.refuse(f"its input {index} is made of sizes, which are no tensor here", got=found.tolist())
        return self.host.tensor_of(self.node.inputs[index], found)

    def operand(self, index: int, rank: int) -> Tensor | float:
        """As :meth:`tensor`, but a constant of one value is that number, where that gives the same shapes.

        Args:
            index: which input.
            rank: of the other operand.
        """
        found = self.value(index)
        if not isinstance(found, Tensor) and found.size == 1 and found.ndim <= rank:
            number: float = found.reshape(-1)[0]
            return number.item() if isinstance(number, np.generic) else number
        return self.tensor(index)

    def known(self, index: int) -> Array:
        """Numbers that are known while tracing: a constant, or sizes.

        Raises:
            OnnxError: they depend on the network's inputs.
        """
        found = self.value(index)
        if isinstance(found, Tensor):
            self.refuse(
                f"its input {index} depends on the values of the network's inputs",
                expected="a constant, or something made of shapes",
                mend="export with constant arguments there; a document has no operator for it",
            )
        return found

    def constant(self, index: int) -> Array:
        """A constant: weights, and the like."""
        found = self.known(index)
        if found.dtype == object:
            self.refuse(f"its input {index} is no constant", got=found.tolist())
        return found

    def sizes(self, index: int) -> list[Any]:
        """A list of whole numbers, in which sizes of the batch may be symbols."""
        found = self.known(index)
        if found.ndim > 1 or found.dtype.kind not in "iuO":
            self.refuse(f"its input {index} is no list of whole numbers", got=f"{found.dtype}{list(found.shape)}")
        return list(found.reshape(-1).tolist())

    def integers(self, index: int) -> list[int]:
        """As :meth:`sizes`, without symbols."""
        found = self.sizes(index)
        if not all(type(item) is int for item in found):
            self.refuse(f"its input {index} depends on the batch", got=found, expected="whole numbers")
        return found

    def number(self, index: int) -> float | None:
        """One number, or None where it is left out."""
        if not self.given(index):
            return None
        found = self.constant(index)
        if found.size != 1:
            self.refuse(f"its input {index} is not one number", got=list(found.shape))
        return found.reshape(-1)[0].item()  # type: ignore[no-any-return]  # a number

    def attribute(self, name: str, default: Plain) -> Plain:
        """An attribute of the default's type."""
        found = self.node.attributes.get(name, default)
        if type(found) is not type(default):
            self.refuse(f"its attribute {name!r} is of a wrong kind", got=found, expected=type(default).__name__)
        return found

    def integer_list(self, name: str) -> list[int] | None:
        """An attribute that is a list of whole numbers; None where it is left out."""
        found = self.node.attributes.get(name)
        if found is None:
            return None
        if not isinstance(found, tuple) or not all(type(item) is int for item in found):
            self.refuse(f"its attribute {name!r} is no list of whole numbers", got=found)
        return [item for item in found if isinstance(item, int)]

    def expect(self, name: str, default: Plain, *allowed: Plain) -> Plain:
        """An attribute that must be one of some values.

        Raises:
            OnnxError: it is another.
        """
        found = self.attribute(name, default)
        if found not in allowed:
            self.refuse(f"its attribute {name!r} is not supported", got=found, expected=" or ".join(map(repr, allowed)))
        return found

    def axis(self, axis: int, rank: int) -> int:
        """An axis from 0.

        Raises:
            OnnxError: there is none.
        """
        if not -rank <= axis < rank:
            self.refuse("it names an axis that its input does not have", got=axis, expected=f"below {rank}")
        return axis % rank

    def axes(self, axes: Sequence[int], rank: int) -> list[int]:
        """Several of them, each once."""
        found = [self.axis(axis, rank) for axis in axes]
        if len(set(found)) != len(found) or rank > _MAX_RANK:
            self.refuse("it names an axis twice", got=list(axes))
        return found

    def only_output(self) -> None:
        """That nobody asks for more than the first output.

        Raises:
            OnnxError: a further one is named.
        """
        if any(self.node.outputs[1:]):
            used = [name for name in self.node.outputs[1:] if name]
            self.refuse("only its first output is supported", got=used, expected="one output")


Operator: TypeAlias = Callable[[NodeCall], "Value | Sequence[Value]"]


def dtype_of(call: NodeCall, code: int) -> torch.dtype:
    """Torch's dtype for ONNX's number of one."""
    found = _DTYPES.get(code)
    if found is None:
        call.refuse("it makes values of a type that is not supported", got=code, expected=sorted(_DTYPES))
    return found


_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    11: torch.float64,
}
