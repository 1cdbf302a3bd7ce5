"""A traced program as the graph of a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node as TracedNode
from torch.utils import _pytree as pytree

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.contracts.tensorfile import TORCH_DTYPES
from ranksearch.documents.bound_arguments import bound_arguments, is_in_place
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
from ranksearch.documents.in_place import (
    PASSED_THROUGH,
    plain_forms,
    refuse_writes_to_own_tensors,
    same_tensor,
    written_inputs,
)
from ranksearch.documents.operators import aten_operators, name_of_aten, size_operators
from ranksearch.documents.recognition import Recognised, recognise_modules
from ranksearch.documents.tensor_names import input_names, output_names
from ranksearch.documents.traced_names import TracedNames

__all__ = ["Translated", "translate"]

_RENAMED = {"aten.lift_fresh_copy.default": "aten.clone.default"}
_LEFT_OUT = frozenset({"layout", "pin_memory"})


@dataclass(frozen=True, slots=True)
class Translated:
    """What a document holds: the graph, its tensors, which of them are buffers, inputs and outputs."""

    graph: Graph
    tensors: Mapping[str, Tensor]
    buffers: frozenset[str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def translate(program: ExportedProgram, model: nn.Module) -> Translated:
    """The program as a graph, with the tensors it needs.

    Args:
        program: traced from ``model`` with a free first size of every input.
        model: the traced model.

    Raises:
        DocumentError: ``document_unknown_operator``, or ``document_not_exportable`` for outputs without a batch, a
            model that changes its own tensors, or randomness.
    """
    names = TracedNames(program, model)
    nodes = _live(program)
    for node in nodes:
        _refuse_unknown(node)
    refuse_writes_to_own_tensors(nodes, names)
    modules = recognise_modules(nodes, names, model)
    translator = _Translator(names, modules, nodes)
    for node in nodes:
        translator.add(node)
    (results,) = next(node for node in program.graph.nodes if node.op == "output").args
    inputs = [node for node in program.graph.nodes if names.input_index(node) is not None]
    batch = str(inputs[0].meta["val"].shape[0])
    structure = pytree.tree_unflatten([translator.reference(item) for item in results], program.call_spec.out_spec)
    return translator.finish(
        output=_output(structure),
        inputs=_specs(inputs, input_names(model, len(inputs)), batch, "input"),
        outputs=_specs([node for node in results if node is not None], output_names(structure), batch, "output"),
    )


def _live(program: ExportedProgram) -> list[TracedNode]:
    """The calls that the outputs need, and every write; assertions and dead code stay behind."""
    calls = [node for node in program.graph.nodes if node.op not in ("placeholder", "output")]
    writes = [node for node in calls if is_in_place(node) and name_of_aten(node.target) not in PASSED_THROUGH]
    found: set[TracedNode] = set()
    pending = [*(node for node in program.graph.nodes if node.op == "output"), *writes]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += node.all_input_nodes
    return [node for node in calls if node in found]


def _refuse_unknown(node: TracedNode) -> None:
    name = _RENAMED.get(name_of_aten(node.target), name_of_aten(node.target))
    where = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path][-1:]
    inside = f" in module {where[0]!r}" if where else ""
    if name in PASSED_THROUGH:
        if "dropout" in name and bound_arguments(node)["train"]:
            raise DocumentError(
                "document_not_exportable",
                f"a dropout{inside} is active in eval mode",
                got=name,
                expected="a model that gives the same outputs every time",
                mend="pass training=self.training to torch.nn.functional.dropout",
            )
    elif node.op != "call_function" or (name not in aten_operators() and name not in size_operators()):
        raise DocumentError(
            "document_unknown_operator",
            f"the model uses an operator{inside} that documents may not use",
            got=name,
            expected="an operator of the list in ranksearch.documents.operators",
            mend="write that part of the model with other operators, or ask for this one to be added",
        )


def _specs(nodes: Sequence[object], names: Sequence[str], batch: str, what: str) -> tuple[TensorSpec, ...]:
    return tuple(_spec(node, name, batch, what) for node, name in zip(nodes, names, strict=True))


def _spec(node: object, name: str, batch: str, what: str) -> TensorSpec:
    value = node.meta.get("val") if isinstance(node, TracedNode) else None
    shape = list(value.shape) if isinstance(value, Tensor) else []
    if not isinstance(value, Tensor) or not shape or str(shape[0]) != batch or any(map(_is_free, shape[1:])):
        raise DocumentError(
            "document_not_exportable",
            f"an {what} of the model is not a tensor with the batch as its first size, and there alone",
            got=[str(size) for size in shape] if isinstance(value, Tensor) else type(value).__name__,
            expected="tensors of shape (batch, …)",
            mend="wrap the model so that it takes and returns such tensors only",
        )
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in TORCH_DTYPES.values():
        detail, expected = (
            f"an {what} of the model is of a dtype that documents do not hold",
            list(TORCH_DTYPES.values()),
        )
        raise DocumentError("document_not_exportable", detail, got=dtype, expected=expected)
    return TensorSpec(shape=tuple(shape[1:]), dtype=dtype, name=name)


def _is_free(size: object) -> bool:
    return not isinstance(size, int) or isinstance(size, bool)


def _output(structure: Any) -> Output:  # noqa: ANN401 - whatever the model returns
    if isinstance(structure, dict):
        if not all(isinstance(name, str) for name in structure):
            _refuse_output(structure)
        return {name: _output(item) for name, item in structure.items()}
    if isinstance(structure, list):
        return [_output(item) for item in structure]
    if isinstance(structure, tuple):
        return tuple(_output(item) for item in structure)
    if structure is not None and not isinstance(structure, (NodeRef, InputRef, TensorRef)):
        _refuse_output(structure)
    return structure


def _refuse_output(structure: object) -> NoReturn:
    raise DocumentError(
        "document_not_exportable",
        "the model returns something other than tensors in tuples, lists and dicts",
        got=type(structure).__name__,
        expected="a tensor, or tuples, lists and dicts of tensors with text for keys",
        mend="wrap the model so that it returns such a structure",
    )


class _Translator:
    """Turns traced nodes into the document's, one after the other."""

    def __init__(self, names: TracedNames, modules: Recognised, nodes: list[TracedNode]) -> None:
        self._names = names
        self._modules = modules
        self._specs: dict[str, ModuleSpec] = dict(modules.values())
        self._plain = plain_forms(nodes)
        self._nodes: list[Node] = []
        self._made: dict[TracedNode, NodeRef] = {}
        self._used: set[str] = set()
        for written in sorted(written_inputs(nodes, self._plain, names), key=lambda node: node.name):
            copied = Operation("aten.clone.default", (self.reference_of(written),))
            self._made[written] = self._append(copied)

    def add(self, node: TracedNode) -> None:
        name = _RENAMED.get(name_of_aten(node.target), name_of_aten(node.target))
        if name in PASSED_THROUGH:
            return
        if node in self._modules:
            made: Node = Call(self._modules[node][0], self.reference_of(node.all_input_nodes[0]))
        else:
            kwargs = {key: self._value(value) for key, value in node.kwargs.items() if key not in _LEFT_OUT}
            args = tuple(self._value(value) for value in node.args)
            made = Operation(self._plain.get(node, name), args, kwargs)
        reference = self._append(made)
        self._made[node] = reference
        if node in self._plain:  # whoever uses the tensor written to means the written one from here on
            self._made[same_tensor(node)] = reference

    def reference(self, item: object) -> NodeRef | InputRef | TensorRef | None:
        """What a result of the program refers to."""
        if item is None:
            return None
        if not isinstance(item, TracedNode):
            _refuse_output(item)
        return self.reference_of(item)

    def reference_of(self, node: TracedNode) -> NodeRef | InputRef | TensorRef:
        written = same_tensor(node)
        if written in self._made:
            return self._made[written]
        if (index := self._names.input_index(written)) is not None:
            return InputRef(index)
        free = [name for name in self._names.names_of(written) if name.rpartition(".")[0] not in self._specs]
        self._used.add(free[0])
        return TensorRef(free[0])

    def finish(self, output: Output, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Translated:
        names = self._names
        kept = {f"{module}.{leaf}" for module in self._specs for leaf in names.inside(module)} | self._used
        stored: dict[str, str] = {}
        for name in sorted(kept):
            first = next(other for other in names.group(name) if other in kept)
            stored[name] = first
        tensors = {name: names.tensor(name) for name in sorted(set(stored.values()))}
        graph = Graph(
            modules={name: self._specs[name] for name in names.module_names if name in self._specs},
            module_aliases={
                alias: first
                for alias, first in sorted(names.module_names.items())
                if first in self._specs and alias != first
            },
            tensor_aliases={name: first for name, first in stored.items() if name != first},
            unsaved=frozenset(name for name in self._used if not names.is_saved(name)),
            nodes=tuple(self._nodes),
            output=output,
        )
        buffers = frozenset(name for name in tensors if names.is_buffer(name))
        return Translated(graph, tensors, buffers, inputs, outputs)

    def _append(self, node: Node) -> NodeRef:
        self._nodes.append(node)
        return NodeRef(len(self._nodes) - 1)

    def _value(self, value: object) -> Value:
        match value:
            case TracedNode():
                return self.reference_of(value)
            case torch.dtype():
                return Dtype(str(value).removeprefix("torch."))
            case torch.memory_format():
                return MemoryFormat(str(value).removeprefix("torch."))
            case torch.device():
                return DeviceOfNetwork()
            case list() | tuple():
                return tuple(self._value(item) for item in value)
            case None | bool() | int() | float() | str():
                return value
            case _:
                raise DocumentError(
                    "document_not_exportable",
                    "an operator of the model takes an argument that documents cannot hold",
                    got=repr(value),
                )
