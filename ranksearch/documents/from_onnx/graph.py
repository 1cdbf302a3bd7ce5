"""An ONNX graph in plain Python: all that is believed of a file, once it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ranksearch.contracts.errors import OnnxError

__all__ = ["Array", "Attribute", "OnnxGraph", "OnnxInput", "OnnxNode", "refuse_node"]

Array = np.ndarray[Any, Any]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One operator applied to named values; an optional input that is left out has the name ""."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def __str__(self) -> str:
        return f"node {self.name or self.outputs[0]!r} ({self.op})"


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """An input of float32: its shape without the batch, and the batch where it is one number."""

    name: str
    shape: tuple[int, ...]
    batch: int | None


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A whole network.

    Args:
        opset: version of the operators of the default domain.
        producer: what says it wrote the file; printable, may be empty.
        inputs: at least one.
        outputs: names of values.
        constants: by name; among them the weights.
        weights: the constants that the file holds as initializers: they may be trained.
        nodes: in the order of their execution, only those that the outputs need.
    """

    opset: int
    producer: str
    inputs: tuple[OnnxInput, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Array]
    weights: frozenset[str]
    nodes: tuple[OnnxNode, ...]

    @property
    def batch(self) -> int | None:
        """The batch that the file fixes; None where it is free."""
        return self.inputs[0].batch


def refuse_node(
    node: OnnxNode, detail: str, *, got: object = None, expected: object = None, mend: str | None = None
) -> NoReturn:
    """Raise ``onnx_unsupported`` for something that a document cannot hold, naming the node.

    Raises:
        OnnxError: always.
    """
    raise OnnxError(
        "onnx_unsupported",
        f"{node}: {detail}",
        got=got,
        expected=expected,
        mend=mend or "write that part of the model with operators that docs/onnx.md names, and export it again",
    )
