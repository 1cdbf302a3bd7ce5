"""The network that a graph document describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.documents.graph import (
    Call,
    DeviceOfNetwork,
    Dtype,
    Graph,
    InputRef,
    MemoryFormat,
    Node,
    NodeRef,
    Output,
    TensorRef,
    Value,
    references,
)
from ranksearch.documents.operators import aten_operators, size_operators
from ranksearch.documents.views import free_views

__all__ = ["DocumentNetwork", "example_inputs"]


def example_inputs(
    specs: Sequence[TensorSpec], batch: int = 2, *, seed: int = 0, device: str | torch.device = "cpu"
) -> tuple[Tensor, ...]:
    """Random inputs of a network: normal floats, zeros for integers and booleans.

    Args:
        specs: shapes without the batch, and dtypes.
        batch: first size of every input.
        seed: the same seed gives the same inputs.
        device: where to put them.

    Returns:
        One tensor of shape ``(batch, *spec.shape)`` for each spec.
    """
    generator = torch.Generator().manual_seed(seed)
    made = []
    for spec in specs:
        dtype = getattr(torch, spec.dtype)
        shape = (batch, *spec.shape)
        tensor = torch.randn(shape, generator=generator) if dtype.is_floating_point else torch.zeros(shape)
        made.append(tensor.to(device=device, dtype=dtype))
    return tuple(made)


class DocumentNetwork(nn.Module):
    """Runs a document's graph, node by node, on modules and tensors under their original qualified names.

    The modules are looked up by name each time, so whatever replaces one (a factorised convolution, say) is what
    runs. Intermediate results are let go after their last use. :func:`ranksearch.load` makes it, in eval mode.

    Args:
        graph: a checked graph; the modules and tensors it names must be registered before the first call.
        input_specs: the inputs' shapes without the batch, and dtypes.
        output_specs: the same of the outputs, in the order in which they occur in the result.
    """

    def __init__(self, graph: Graph, input_specs: Sequence[TensorSpec], output_specs: Sequence[TensorSpec]) -> None:
        super().__init__()
        self.input_specs = tuple(input_specs)
        self.output_specs = tuple(output_specs)
        self._graph = graph
        self._released = _released_after(graph)
        self._free_views = free_views(graph)

    def example_inputs(self, batch: int = 2, *, seed: int = 0) -> tuple[Tensor, ...]:
        """Random inputs of this network, on its device; see :func:`example_inputs`."""
        first = next((tensor for tensor in self.state_dict().values()), None)
        return example_inputs(self.input_specs, batch, seed=seed, device="cpu" if first is None else first.device)

    def forward(self, *inputs: Tensor) -> Any:  # noqa: ANN401 - a tensor, or tuples, lists and dicts of tensors
        """The network's outputs.

        Args:
            inputs: tensors of shape ``(batch, *spec.shape)``, one for each of ``input_specs``.

        Raises:
            TypeError: the number of inputs is wrong.
        """
        if len(inputs) != len(self.input_specs):
            raise TypeError(f"the network takes {len(self.input_specs)} inputs, got {len(inputs)}")
        results: list[Any] = [None] * len(self._graph.nodes)
        for index, node in enumerate(self._graph.nodes):
            results[index] = self._run(index, node, inputs, results)
            for done in self._released[index]:
                results[done] = None
        return self._output(self._graph.output, inputs, results)

    def _run(self, index: int, node: Node, inputs: tuple[Tensor, ...], results: list[Any]) -> Any:  # noqa: ANN401 - any result
        if isinstance(node, Call):
            return self.get_submodule(node.module)(self._value(node.argument, inputs, results))
        args = [self._value(value, inputs, results) for value in node.args]
        kwargs = {name: self._value(value, inputs, results) for name, value in node.kwargs.items()}
        if index in self._free_views:
            return torch.reshape(*args, **kwargs)
        of_sizes = size_operators().get(node.op)
        return aten_operators()[node.op](*args, **kwargs) if of_sizes is None else of_sizes(*args)

    def _value(self, value: Value, inputs: tuple[Tensor, ...], results: list[Any]) -> Any:  # noqa: ANN401, PLR0911 - as above; one for each kind
        match value:
            case NodeRef(index):
                return results[index]
            case InputRef(index):
                return inputs[index]
            case TensorRef(name):
                owner, _, leaf = name.rpartition(".")
                return getattr(self.get_submodule(owner), leaf)
            case Dtype(name) | MemoryFormat(name):
                return getattr(torch, name)
            case DeviceOfNetwork():
                return inputs[0].device
            case tuple():
                return [self._value(item, inputs, results) for item in value]
            case _:
                return value

    def _output(self, output: Output, inputs: tuple[Tensor, ...], results: list[Any]) -> Any:  # noqa: ANN401 - as above
        if isinstance(output, dict):
            return {name: self._output(item, inputs, results) for name, item in output.items()}
        if isinstance(output, (tuple, list)):
            return type(output)(self._output(item, inputs, results) for item in output)
        return self._value(output, inputs, results)

    def extra_repr(self) -> str:
        """What ``print(network)`` says besides the modules."""
        inputs = ", ".join(f"{spec.dtype}{['batch', *spec.shape]}" for spec in self.input_specs)
        return f"inputs: {inputs}; {len(self._graph.nodes)} nodes"


def _released_after(graph: Graph) -> tuple[tuple[int, ...], ...]:
    """For each node, the nodes whose results nobody needs after it; results never used end at once."""
    last_use = list(range(len(graph.nodes)))
    for index, node in enumerate(graph.nodes):
        used = (node.argument,) if isinstance(node, Call) else (*node.args, *node.kwargs.values())
        for reference in references(used):
            if isinstance(reference, NodeRef):
                last_use[reference.index] = index
    kept = {reference.index for reference in references(graph.output) if isinstance(reference, NodeRef)}
    released: list[list[int]] = [[] for _ in graph.nodes]
    for index, last in enumerate(last_use):
        if index not in kept:
            released[last].append(index)
    return tuple(tuple(done) for done in released)
