"""Opens model documents. Everything is checked before anything is built, and nothing is ever executed.

Loading a document from somebody unknown is safe: it takes no more memory than a few times the file. *Running* the
network is a task for a sandbox, since sizes computed while it runs are bounded by nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from torch import Tensor, nn

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.model_summaries import TensorSpec, model_summary
from ranksearch.contracts.tensorfile import TensorFileHeader, parse_bounded_json, read_header
from ranksearch.documents.decoding import decode_graph
from ranksearch.documents.graph import Call, Graph, TensorRef, references
from ranksearch.documents.module_forms import build_module
from ranksearch.documents.names import check_name
from ranksearch.documents.network import DocumentNetwork
from ranksearch.documents.registry import build_registered
from ranksearch.documents.tensor_bytes import read_tensor

__all__ = ["load"]

_MAX_MODULES = 50_000


def load(path: str | os.PathLike[str]) -> nn.Module:
    """The network of the model document at ``path``, on the CPU, in eval mode.

    Modules, parameters and buffers have their original qualified names. The network has ``input_specs`` and
    ``output_specs``: the names of its inputs and outputs, their shapes without the batch, and their dtypes.

    Raises:
        DocumentError: the document is truncated, too large, malformed, of another version, or names an operator,
            a module or an architecture that it may not; a tensor is missing, superfluous, of a wrong dtype or
            shape, or not finite.
        OSError: there is no such file, or it may not be read.
    """
    header = read_header(path)
    summary = model_summary(header)
    buffers = frozenset(
        parse_bounded_json(header.metadata["buffers"], "buffers", error=DocumentError, code="document_header_invalid")
    )
    if summary.architecture is not None:
        network = build_registered(summary.architecture, header.metadata.get("options", "{}"), header)
        _check_finite(tensors := _tensors(path, header), buffers)
        _fill_registered(network, tensors)
        network.input_specs = summary.inputs  # type: ignore[assignment]  # a plain attribute of the module
        network.output_specs = summary.outputs  # type: ignore[assignment]  # as above
        return network.eval()
    graph = decode_graph(header.metadata["graph"], len(summary.inputs))
    _check_names(graph, header)
    tensors = _tensors(path, header)
    _check_finite(tensors, buffers)
    return _build(graph, summary.inputs, summary.outputs, tensors, buffers).eval()


def _refuse(code: str, detail: str, *, got: object = None, expected: object = None) -> NoReturn:
    raise DocumentError(code, detail, got=got, expected=expected, mend="pack the model again with ranksearch.pack")


def _tensors(path: str | os.PathLike[str], header: TensorFileHeader) -> dict[str, Tensor]:
    with Path(path).open("rb") as file:
        return {name: read_tensor(file, header, name) for name in header.tensors}


def _check_names(graph: Graph, header: TensorFileHeader) -> None:
    """Every tensor has a usable name and somebody who uses it, and everybody's tensors are there."""
    for name in header.tensors:
        check_name(name)
    for alias, target in graph.tensor_aliases.items():
        if target not in header.tensors or alias in header.tensors:
            _refuse("document_missing_tensor", "an alias names no tensor of the file", got=[alias, target])
    for alias, target in graph.module_aliases.items():
        if target not in graph.modules or alias in graph.modules:
            _refuse("document_graph_invalid", "an alias names no module of the graph", got=[alias, target])
    known = set(header.tensors) | set(graph.tensor_aliases)
    _check_nesting(graph, known)
    _check_extent(graph, known)
    used = set()
    for node in graph.nodes:
        values = (node.argument,) if isinstance(node, Call) else (*node.args, *node.kwargs.values())
        used |= {ref.name for ref in references(values) if isinstance(ref, TensorRef)}
    if missing := used - known:
        _refuse("document_missing_tensor", "the file lacks tensors that the graph uses", got=sorted(missing)[:5])
    owned = {name for name in known if name.rpartition(".")[0] in graph.modules}
    needed = {graph.tensor_aliases.get(name, name) for name in used | owned}
    if extra := set(header.tensors) - needed:
        detail = "the file holds tensors that nothing in the graph uses"
        _refuse("document_graph_invalid", detail, got=sorted(extra)[:5])


def _check_nesting(graph: Graph, tensors: set[str]) -> None:
    """No module of the graph holds another, or tensors deeper than its own."""
    owners = {name.rpartition(".")[0] for name in (*graph.modules, *graph.module_aliases)}
    owners |= {name.rpartition(".")[0].rpartition(".")[0] for name in tensors}
    while owners:
        if nested := owners & (graph.modules.keys() | graph.module_aliases.keys()):
            _refuse("document_graph_invalid", "a module lies inside another", got=sorted(nested)[:5])
        owners = {name.rpartition(".")[0] for name in owners if name}


def _check_extent(graph: Graph, tensors: set[str]) -> None:
    """The names alone do not ask for more modules than any network has; an empty one takes kilobytes."""
    paths: set[str] = set()
    for name in (*graph.modules, *graph.module_aliases, *(name.rpartition(".")[0] for name in tensors)):
        path = name
        while path and path not in paths:
            paths.add(path)
            path = path.rpartition(".")[0]
        if len(paths) > _MAX_MODULES:
            _refuse("document_too_large", "the names ask for too many modules", expected=f"at most {_MAX_MODULES}")


def _check_finite(tensors: Mapping[str, Tensor], buffers: frozenset[str]) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        # An attention mask may well hold -inf; a weight, a mean or a variance may not.
        statistic = name.endswith(("running_mean", "running_var"))
        bad = tensor.isnan() if name in buffers and not statistic else ~tensor.isfinite()
        if bad.any():
            got = f"{int(bad.sum())} of {tensor.numel()} values"
            detail = f"tensor {name!r} holds values that are not finite"
            mend = "retrain or repair the model: it cannot give finite outputs"
            raise DocumentError("document_not_finite", detail, got=got, expected="finite values", mend=mend)


def _fill_registered(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    network.load_state_dict(tensors, strict=True, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())


def _build(
    graph: Graph,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    tensors: Mapping[str, Tensor],
    buffers: frozenset[str],
) -> DocumentNetwork:
    network = DocumentNetwork(graph, inputs, outputs)
    made = {
        name: tensor if name in buffers else nn.Parameter(tensor, requires_grad=tensor.is_floating_point())
        for name, tensor in tensors.items()
    }
    made.update({alias: made[target] for alias, target in graph.tensor_aliases.items()})
    inside: dict[str, dict[str, Tensor]] = {name: {} for name in graph.modules}
    for name, tensor in made.items():
        owner, _, leaf = name.rpartition(".")
        if owner in inside:
            inside[owner][leaf] = tensor
    for name, spec in graph.modules.items():
        module = build_module(name, spec, inside[name])
        for leaf, tensor in inside[name].items():
            _put(module, leaf, tensor, f"{name}.{leaf}")
        _attach(network, name, module)
    for name, tensor in made.items():
        owner, _, leaf = name.rpartition(".")
        if owner not in inside:
            saved = name not in graph.unsaved
            _register(_container(network, owner), leaf, tensor, name, saved=saved)
    for alias, target in graph.module_aliases.items():
        _attach(network, alias, network.get_submodule(target))
    return network


def _put(module: nn.Module, leaf: str, tensor: Tensor, name: str) -> None:
    """Set a tensor that the module was built with, keeping what the module takes it for."""
    if (leaf in module._parameters) != isinstance(tensor, nn.Parameter):  # noqa: SLF001 - no public way to ask
        _refuse("document_graph_invalid", f"{name} is a buffer where its module has a parameter, or the reverse")
    setattr(module, leaf, tensor)


def _register(owner: nn.Module, leaf: str, tensor: Tensor, name: str, *, saved: bool) -> None:
    try:
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(leaf, tensor)
        else:
            owner.register_buffer(leaf, tensor, persistent=saved)
    except (KeyError, TypeError) as problem:
        _refuse("document_graph_invalid", f"the name {name!r} is taken", got=str(problem))


def _attach(network: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    try:
        _container(network, owner).add_module(leaf, module)
    except (KeyError, TypeError) as problem:
        _refuse("document_graph_invalid", f"the name {name!r} is taken", got=str(problem))


def _container(network: nn.Module, name: str) -> nn.Module:
    """The module at ``name``, made of empty modules where there is none yet."""
    module = network
    for part in name.split(".") if name else ():
        child = module._modules.get(part)  # noqa: SLF001 - get_submodule would raise
        if child is None:
            child = nn.Module()
            try:
                module.add_module(part, child)
            except (KeyError, TypeError) as problem:
                _refuse("document_graph_invalid", f"the name {name!r} is taken", got=str(problem))
        module = child
    return module
