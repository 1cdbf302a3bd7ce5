"""The network of an ONNX graph as a module that torch can trace: layers under their names, the rest as calls.

Made in this order: what depends on constants alone is computed, a product and its bias become one layer, and a
rehearsal without values (on torch's ``meta`` device) makes the layers, sees every shape and refuses what does not fit.
Only then is the module traced, by the same way that a user's own module takes: so an ONNX file becomes a document that
is checked as every other one, and no shape has to be inferred here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ranksearch.contracts.errors import OnnxError
from ranksearch.documents.from_onnx.calls import NodeCall, Value
from ranksearch.documents.from_onnx.fusing import with_linear_layers
from ranksearch.documents.from_onnx.graph import Array, OnnxGraph, OnnxNode
from ranksearch.documents.from_onnx.naming import Names, layer_names, plain
from ranksearch.documents.from_onnx.operators import check_known, outputs_of

__all__ = ["OnnxNetwork"]

_MAX_ELEMENTS = 2**27
"""Of one value for one image: half a GiB of floats."""
_MAX_COMPUTED = 2**27
"""Values of all constants together that are computed of others: half a GiB of floats."""
_REHEARSED = (5, 7)
"""Batches, two of which tell what follows the batch; primes, which no other size of a network is likely to be."""


class OnnxNetwork(nn.Module):
    """Runs an ONNX graph, node by node; in eval mode.

    Args:
        graph: as it was read.

    Raises:
        OnnxError: it holds what no document does, or cannot be computed with a free batch.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        super().__init__()
        check_known(graph.nodes)
        self.graph = with_linear_layers(_with_constants(graph))
        self._names = Names(frozenset(dir(self)) | {"graph"})
        self.input_specs = graph.inputs  # whose names a document takes over
        self._layers: dict[int, str] = {}
        self._shared: dict[object, str] = {}
        self._tensors: dict[str, str] = {}
        self._freed: set[int] = set()
        self._rehearsed: int | None = None
        self._rehearse()
        self.eval()

    def forward(self, *inputs: Tensor) -> Any:  # noqa: ANN401 - a tensor, or several
        """The network's outputs: one tensor, or a tuple of them."""
        values: dict[str, Value | None] = {"": None, **self.graph.constants}
        values.update(zip((one.name for one in self.graph.inputs), inputs, strict=True))
        for index, node in enumerate(self.graph.nodes):
            outputs = outputs_of(NodeCall(self, index, node, [values[name] for name in node.inputs]))
            for name, value in zip(node.outputs, outputs, strict=False):
                self._check_size(node, value)
                values[name] = value
        results = tuple(values[name] for name in self.graph.outputs)
        return results[0] if len(results) == 1 else results

    @property
    def device(self) -> str:
        """See :class:`~.calls.Host`."""
        return "cpu" if self._rehearsed is None else "meta"

    def tensor_of(self, name: str, values: Array) -> Tensor:
        """A constant of the graph, which becomes a parameter or a buffer when it is first asked for."""
        if name not in self._tensors:
            self._tensors[name] = self._register(name, torch.from_numpy(np.array(values)))
        owner, _, leaf = self._tensors[name].rpartition(".")
        found: Tensor = getattr(self.get_submodule(owner), leaf)
        return found if self._rehearsed is None else found.detach().to("meta")

    def apply_layer(self, call: NodeCall, weight: str, make: Callable[[], nn.Module], given: Tensor) -> Tensor:
        """See :class:`~.calls.Host`. Nodes that are the same layer, with the same weights, are one module."""
        if call.index not in self._layers:
            self._layers[call.index] = self._layer_of(call.node, weight, make)
        module = self.get_submodule(self._layers[call.index])
        if self._rehearsed is None:
            return module(given)  # type: ignore[no-any-return]  # a layer's output
        state = {name: tensor.detach().to("meta") for name, tensor in module.state_dict().items()}
        return functional_call(module, state, (given,))  # type: ignore[no-any-return]  # the same

    def frees_batch(self, call: NodeCall, size: object, of: Tensor) -> bool:
        """See :class:`~.calls.Host`. Found out in the rehearsal: a batch that is traced must not be asked its size."""
        if self._rehearsed is not None and self.graph.batch is not None and self._rehearsed != self.graph.batch:
            follows = of.ndim > 0 and of.shape[0] == self._rehearsed
            if follows and type(size) is int and size == self.graph.batch:
                self._freed.add(call.index)
        return call.index in self._freed

    def _layer_of(self, node: OnnxNode, weight: str, make: Callable[[], nn.Module]) -> str:
        key: object = (node.op, node.inputs[1:], _hashable(node.attributes))
        if node.op == "BatchNormalization":  # exporters also join constants that are equal by chance: fresh statistics
            key = (node.op, node.outputs)
        if key not in self._shared:
            name = self._names.take(*layer_names(node, weight))
            owner, _, leaf = name.rpartition(".")
            _container(self, owner).add_module(leaf, make())
            self._shared[key] = name
        return self._shared[key]

    def _register(self, name: str, tensor: Tensor) -> str:
        taken = self._names.take(name, plain(name))
        owner, _, leaf = taken.rpartition(".")
        container = _container(self, owner)
        if name in self.graph.weights and tensor.is_floating_point() and tensor.numel() > 1:
            container.register_parameter(leaf, nn.Parameter(tensor))
        else:
            container.register_buffer(leaf, tensor)
        return taken

    def _rehearse(self) -> None:
        """Run it without values: at the batch of the file, or else of one image, then at others."""
        own = self.graph.batch or 1
        broken: OnnxError | None = None
        for batch in (own, *(batch for batch in _REHEARSED if batch != own)):
            self._rehearsed = batch
            try:
                made = self(*(torch.empty(batch, *one.shape, device="meta") for one in self.graph.inputs))
            except OnnxError as problem:
                if batch == own and self.graph.batch is None:  # one image may be too few for what drops sizes of one
                    broken = problem
                    continue
                if batch == own or broken is not None or problem.code != "onnx_malformed":
                    raise
                raise _fixed(self.graph, problem.detail, problem.got) from problem
            finally:
                self._rehearsed = None
            if batch != own:
                self._check_outputs(made if isinstance(made, tuple) else (made,), batch)

    def _check_outputs(self, made: Sequence[Value], batch: int) -> None:
        for name, value in zip(self.graph.outputs, made, strict=True):
            if not isinstance(value, Tensor):
                raise OnnxError(
                    "onnx_unsupported",
                    f"the output {name!r} does not depend on the inputs' values",
                    expected="outputs that are computed of the inputs",
                    mend="export the model without that output",
                )
            if not value.ndim or value.shape[0] != batch:
                raise _fixed(self.graph, f"the output {name!r} does not follow the batch", list(value.shape))

    def _check_size(self, node: OnnxNode, value: Value) -> None:
        if self._rehearsed is None or not isinstance(value, Tensor):
            return
        if value.numel() > self._rehearsed * _MAX_ELEMENTS:
            raise OnnxError(
                "onnx_too_large",
                f"{node} makes more values for one image than any layer may",
                got=list(value.shape),
                expected=f"at most {_MAX_ELEMENTS}",
                mend="export the model for smaller images",
            )


def _fixed(graph: OnnxGraph, detail: str, got: object) -> OnnxError:
    was = "with a free batch" if graph.batch is None else f"with a batch of {graph.batch}"
    return OnnxError(
        "onnx_batch_fixed",
        f"the network was exported {was}, and cannot be computed for another number of images: {detail}",
        got=got,
        expected="the same result for each image, however many there are at once",
        mend='export with a free batch: dynamic_axes={"input": {0: "batch"}} or dynamic_shapes=({0: Dim("batch")},)',
    )


def _hashable(attributes: Mapping[str, object]) -> object:
    return tuple(sorted((name, repr(value)) for name, value in attributes.items()))


def _container(network: nn.Module, name: str) -> nn.Module:
    module = network
    for part in name.split(".") if name else ():
        if part not in module._modules:  # noqa: SLF001 - get_submodule would raise
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    return module


class _Constants:
    """The host of nodes that depend on constants alone: their values are made once, and belong to nobody."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.sizes_only = False
        self.computed = 0

    @property
    def device(self) -> str:
        """As of a network."""
        return "meta" if self.sizes_only else "cpu"

    def tensor_of(self, name: str, values: Array) -> Tensor:  # noqa: ARG002 - as of a network
        """The values, or their shape alone while it is found out how large a result would be."""
        made = torch.from_numpy(np.array(values))
        return made.to("meta") if self.sizes_only else made

    def apply_layer(self, call: NodeCall, weight: str, make: Callable[[], nn.Module], given: Tensor) -> Tensor:  # noqa: ARG002 - as of a network
        """A layer on a constant: no network has one."""
        return call.refuse("it is a layer that is applied to a constant")

    def frees_batch(self, call: NodeCall, size: object, of: Tensor) -> bool:  # noqa: ARG002 - as of a network
        """A constant has no batch."""
        return False


def _with_constants(graph: OnnxGraph) -> OnnxGraph:
    """The graph without the nodes that depend on constants alone; what they give is a constant."""
    host = _Constants(graph)
    constants = dict(graph.constants)
    weights = set(graph.weights)
    left = []
    for index, node in enumerate(graph.nodes):
        if any(name and name not in constants for name in node.inputs) or node.op == "Dropout":
            left.append(node)
            continue
        call = NodeCall(host, index, node, [constants[name] if name else None for name in node.inputs])
        if node.op == "Identity":  # another name of the same weights
            constants[node.outputs[0]] = call.constant(0)
            weights |= {node.outputs[0]} if node.inputs[0] in weights else set()
            continue
        constants.update(zip(node.outputs, _computed(host, call), strict=False))
    return dataclasses.replace(graph, constants=constants, weights=frozenset(weights), nodes=tuple(left))


def _computed(host: _Constants, call: NodeCall) -> list[Array]:
    for sizes_only in (True, False):
        host.sizes_only = sizes_only
        made = outputs_of(call)
        if sizes_only:
            host.computed += sum(value.numel() if isinstance(value, Tensor) else value.size for value in made)
        if host.computed > _MAX_COMPUTED:
            raise OnnxError(
                "onnx_too_large",
                f"the constants that the graph computes have more values than a network's, up to {call.node}",
                expected=f"at most {_MAX_COMPUTED}",
                mend="export the model with its constants folded",
            )
    return [value.numpy() if isinstance(value, Tensor) else value for value in made]
