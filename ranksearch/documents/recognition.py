"""Finds the calls in a traced program that are modules again: convolutions, linear layers, batch normalisations.

A call becomes a module where its tensors carry the names of one, nothing else lies under that name, every call of
it is the same, and no operator uses its tensors otherwise. All else stays an operator on named tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.fx import Node

from ranksearch.documents.bound_arguments import bound_arguments
from ranksearch.documents.graph import ModuleSpec
from ranksearch.documents.module_forms import FORMS
from ranksearch.documents.operators import name_of_aten
from ranksearch.documents.traced_names import TracedNames

__all__ = ["recognise_modules"]

_CONVOLUTIONS = {
    "aten.conv1d.default": "Conv1d",
    "aten.conv1d.padding": "Conv1d",
    "aten.conv2d.default": "Conv2d",
    "aten.conv2d.padding": "Conv2d",
    "aten.conv3d.default": "Conv3d",
    "aten.conv3d.padding": "Conv3d",
    "aten.conv_transpose1d.default": "ConvTranspose1d",
    "aten.conv_transpose2d.input": "ConvTranspose2d",
    "aten.conv_transpose3d.input": "ConvTranspose3d",
}
_NORMALISATIONS = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}

Recognised = dict[Node, tuple[str, ModuleSpec]]


def recognise_modules(nodes: Iterable[Node], names: TracedNames, model: nn.Module) -> Recognised:
    """The nodes that call a module, with its qualified name and what to build it from.

    Args:
        nodes: the program's live nodes, in order.
        names: the names of the program's tensors.
        model: the traced model, asked for what evaluation does not show, such as a momentum of ``None``.
    """
    nodes = list(nodes)
    found: Recognised = {}
    for node in nodes:
        if (candidate := _candidate(node, names, model)) is not None:
            found[node] = candidate
    while spoiled := _spoiled(found, nodes, names):
        found = {node: call for node, call in found.items() if call[0] not in spoiled}
    return found


def _candidate(node: Node, names: TracedNames, model: nn.Module) -> tuple[str, ModuleSpec] | None:
    operator = name_of_aten(node.target)
    if operator in _CONVOLUTIONS:
        spec: ModuleSpec | None = _convolution(_CONVOLUTIONS[operator], bound_arguments(node))
        leaves: tuple[str, ...] = ("weight", "bias")
    elif operator == "aten.linear.default":
        spec, leaves = ModuleSpec("Linear", {}), ("weight", "bias")
    elif operator == "aten.batch_norm.default":
        spec, leaves = _normalisation(bound_arguments(node)), ("running_mean", "running_var", "weight", "bias")
    else:
        return None
    if spec is None:
        return None
    arguments = bound_arguments(node)
    name = _module_of(node, [(leaf, arguments[leaf]) for leaf in leaves], FORMS[spec.kind].optional, names)
    if name is None:
        return None
    if isinstance(original := model.get_submodule(name), nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - their base
        spec = ModuleSpec(spec.kind, {**spec.options, "momentum": original.momentum})
    return name, spec


def _convolution(kind: str, arguments: dict[str, Any]) -> ModuleSpec | None:
    dims = int(kind[-2])
    options: dict[str, Any] = {"groups": arguments["groups"]}
    steps = ["stride", "padding", "dilation"] + (["output_padding"] if "Transpose" in kind else [])
    for step in steps:
        value = arguments[step]
        if isinstance(value, (list, tuple)):
            value = list(value) * (dims if len(value) == 1 else 1)
        elif isinstance(value, int):
            value = [value] * dims
        options[step] = value
    numbers = [item for value in options.values() if isinstance(value, list) for item in value]
    return ModuleSpec(kind, options) if all(type(item) is int for item in numbers) else None


def _normalisation(arguments: dict[str, Any]) -> ModuleSpec | None:
    kind = _NORMALISATIONS.get(arguments["input"].meta["val"].ndim)
    if arguments["training"] or arguments["running_mean"] is None or kind is None:
        return None
    return ModuleSpec(kind, {"eps": arguments["eps"], "momentum": arguments["momentum"]})


def _module_of(
    node: Node, tensors: list[tuple[str, object]], optional: frozenset[str], names: TracedNames
) -> str | None:
    """The module whose tensors these are, all of them and no others."""
    first, _ = tensors[0]
    prefixes = [name.removesuffix(f".{first}") for name in names.names_of(tensors[0][1]) if name.endswith(f".{first}")]
    called = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()][-1:]
    given = {leaf for leaf, tensor in tensors if tensor is not None}
    for prefix in sorted(prefixes, key=lambda prefix: prefix not in called):  # the one it was called by comes first
        inside = names.inside(prefix)
        complete = given <= inside <= given | (optional - {leaf for leaf, _ in tensors})
        if complete and all(f"{prefix}.{leaf}" in names.names_of(t) for leaf, t in tensors if t is not None):
            return names.module_names[prefix]
    return None


def _spoiled(found: Recognised, nodes: list[Node], names: TracedNames) -> set[str]:
    """Modules that are called in two ways, or whose tensors an operator uses under no other name."""
    specs: dict[str, ModuleSpec] = {}
    spoiled = set()
    for name, spec in found.values():
        if specs.setdefault(name, spec) != spec:
            spoiled.add(name)
    for node in nodes:
        if node in found:
            continue
        for tensor in node.all_input_nodes:
            owners = [name.rpartition(".")[0] for name in names.names_of(tensor)]
            if owners and all(names.module_names.get(owner, owner) in specs for owner in owners):
                spoiled |= {names.module_names[owner] for owner in owners}
    return spoiled
