"""Writes model documents: from any module that ``torch.export`` can trace, or from a state dict."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.model_summaries import MODEL_FORMAT, TensorSpec
from ranksearch.contracts.tensorfile import TORCH_DTYPES
from ranksearch.documents.exporting import as_inputs, export_with_free_batch, in_eval_mode
from ranksearch.documents.graph import encode_graph
from ranksearch.documents.loading import load
from ranksearch.documents.registry import build_architecture
from ranksearch.documents.tensor_bytes import write_tensor_file, written_in_place
from ranksearch.documents.tensor_names import input_names, output_names
from ranksearch.documents.translation import translate

__all__ = ["pack", "pack_state_dict"]

_TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}
_HALF_TOLERANCE = 2e-2


def pack(
    model: nn.Module,
    example_inputs: Tensor | tuple[Tensor, ...],
    path: str | os.PathLike[str],
    *,
    verify: bool = True,
) -> Path:
    """Write ``model``, as it is in eval mode, as a model document.

    The document holds the graph of operators and the weights, not the model's code. Convolutions, linear layers
    and batch normalisations stay modules under their qualified names; parameters and buffers keep theirs. What
    the forward pass does not use is left out. The same model gives the same bytes.

    Args:
        model: left as it is: its mode, device and weights do not change.
        example_inputs: a tensor of shape ``(batch, …)`` or a tuple of them, on the model's device. The batch stays
            free in the document, the other sizes are fixed.
        path: where to write; replaced in one step once the document is complete.
        verify: load the document and compare its outputs on the example inputs.

    Returns:
        The path written to.

    Raises:
        DocumentError: the model cannot be traced with a free batch (``document_not_exportable``), uses an operator
            that documents may not use (``document_unknown_operator``), or holds values that are not finite
            (``document_not_finite``).
    """
    inputs = as_inputs(example_inputs)
    _check_state(model)
    with in_eval_mode(model):
        program = export_with_free_batch(model, inputs)
        translated = translate(program, model)
        metadata = _metadata("graph", translated.inputs, translated.outputs, translated.buffers)
        metadata["graph"] = encode_graph(translated.graph)
        with written_in_place(path) as part:
            write_tensor_file(part, translated.tensors, metadata)
            loaded = load(part)
            if verify:
                _compare(model, loaded, inputs)
    return Path(path)


def pack_state_dict(
    architecture: str,
    state_dict: Mapping[str, Tensor],
    example_inputs: Tensor | tuple[Tensor, ...],
    path: str | os.PathLike[str],
    **options: Any,  # noqa: ANN401 - JSON values of several kinds
) -> Path:
    """Write a state dict of an architecture that torchvision knows as a model document.

    Args:
        architecture: ``torchvision:`` and a name of ``torchvision.models.list_models()``.
        state_dict: all of the architecture's tensors, and no others.
        example_inputs: a tensor of shape ``(batch, …)`` or a tuple of them, on the CPU.
        path: where to write; replaced in one step once the document is complete.
        options: options of the architecture's builder that change its shape, such as ``num_classes=10``.

    Returns:
        The path written to.

    Raises:
        DocumentError: the architecture or an option is unknown, the state dict does not fit them or is not finite,
            or the network does not map such inputs to tensors with a batch.
    """
    inputs = as_inputs(example_inputs)
    reference = build_architecture(architecture, options)
    buffers = frozenset(name for name, _ in reference.named_buffers() if name in state_dict)
    names = input_names(reference, len(inputs))
    specs = tuple(_spec_of(tensor, name) for tensor, name in zip(inputs, names, strict=True))
    text = json.dumps(options, sort_keys=True, separators=(",", ":"))
    with written_in_place(path) as part:
        for final in (False, True):  # the outputs are known once the document can be loaded
            outputs = _outputs(load(part), inputs) if final else specs
            metadata = _metadata("registry", specs, outputs, buffers)
            metadata |= {"architecture": architecture, "options": text}
            write_tensor_file(part, state_dict, metadata)
    return Path(path)


def _metadata(
    kind: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], buffers: frozenset[str]
) -> dict[str, str]:
    members = {
        "inputs": [spec.model_dump(mode="json", exclude={"name"}) for spec in inputs],
        "outputs": [spec.model_dump(mode="json", exclude={"name"}) for spec in outputs],
        "names": {"inputs": [spec.name for spec in inputs], "outputs": [spec.name for spec in outputs]},
        "buffers": sorted(buffers),
    }
    texts = {name: json.dumps(value, sort_keys=True, separators=(",", ":")) for name, value in members.items()}
    return {"format": MODEL_FORMAT, "kind": kind, **texts}


def _spec_of(tensor: Tensor, name: str) -> TensorSpec:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in TORCH_DTYPES.values():
        detail, expected = (
            "an input or output is of a dtype that documents do not hold",
            list(TORCH_DTYPES.values()),
        )
        raise DocumentError("document_not_exportable", detail, got=dtype, expected=expected)
    return TensorSpec(shape=tuple(tensor.shape[1:]), dtype=dtype, name=name)


def _outputs(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[TensorSpec, ...]:
    try:
        with torch.no_grad():
            answer = network(*inputs)
    except Exception as problem:
        detail = "the network cannot be run on the example inputs"
        raise DocumentError("document_not_exportable", detail, got=f"{type(problem).__name__}: {problem}") from problem
    batch, results = inputs[0].shape[0], [leaf for leaf in pytree.tree_leaves(answer) if leaf is not None]
    if not all(isinstance(item, Tensor) and item.ndim and item.shape[0] == batch for item in results):
        detail, mend = (
            "the network's outputs are not tensors with a batch",
            "wrap the model and use ranksearch.pack",
        )
        raise DocumentError("document_not_exportable", detail, expected="tensors of shape (batch, …)", mend=mend)
    return tuple(_spec_of(item, name) for item, name in zip(results, output_names(answer), strict=True))


def _check_state(model: nn.Module) -> None:
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and tensor.is_meta:
            detail = f"tensor {name!r} has no values: it is on the meta device"
            raise DocumentError("document_not_exportable", detail, mend="load the weights first")


def _compare(model: nn.Module, loaded: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Refuse a document whose outputs are not the model's."""
    loaded = loaded.to(inputs[0].device)
    with torch.no_grad():
        expected = pytree.tree_leaves(model(*(tensor.clone() for tensor in inputs)))
        results = pytree.tree_leaves(loaded(*inputs))
    for index, (result, reference) in enumerate(zip(results, expected, strict=True)):
        if reference is None and result is None:
            continue
        tolerance = _TOLERANCES.get(reference.dtype, _HALF_TOLERANCE)
        wanted, got = reference.double(), result.double()
        scale = float(wanted[wanted.isfinite()].abs().max()) if wanted.isfinite().any() else 1.0
        if not torch.allclose(got, wanted, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
            raise DocumentError(
                "document_not_exportable",
                f"the document's output {index} differs from the model's on the example inputs",
                got=f"largest difference {float((got - wanted).abs().max()):.3g}",
                expected=f"at most {tolerance} of the outputs",
                mend="make the model give the same outputs every time; it may draw random numbers or keep state",
            )
