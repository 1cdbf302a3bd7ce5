"""Has torch trace a model with a free batch, without leaving a mark on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from ranksearch.contracts.errors import DocumentError

__all__ = ["as_inputs", "export_with_free_batch", "in_eval_mode"]

_MAX_EXPLANATION = 400


def as_inputs(example_inputs: Tensor | tuple[Tensor, ...] | list[Tensor]) -> tuple[Tensor, ...]:
    """The example inputs as a tuple of tensors that share their first size, the batch.

    Raises:
        DocumentError: ``document_not_exportable``: something else was given.
    """
    inputs: tuple[object, ...] = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    tensors = tuple(item for item in inputs if isinstance(item, Tensor) and item.ndim and item.shape[0])
    if not inputs or len(tensors) != len(inputs):
        raise DocumentError(
            "document_not_exportable",
            "the example inputs are not tensors with a batch",
            got=[getattr(item, "shape", type(item).__name__) for item in inputs],
            expected="a tensor of shape (batch, …), or a tuple of them",
            mend="give inputs as the model takes them, for example torch.randn(2, 3, 224, 224)",
        )
    if len({tensor.shape[0] for tensor in tensors}) != 1:
        raise DocumentError(
            "document_not_exportable",
            "the example inputs differ in their first size, the batch",
            got=[list(tensor.shape) for tensor in tensors],
            expected="the same first size everywhere",
        )
    return tensors


@contextlib.contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode, and every module of it back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)  # one opaque operator that no document can hold
    model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
        for module, training in modes:
            module.training = training


def export_with_free_batch(model: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    """Trace the model, which must be in eval mode.

    Args:
        model: any module that ``torch.export`` can trace.
        inputs: tensors of shape ``(batch, …)``.

    Raises:
        DocumentError: ``document_not_exportable``, with the beginning of torch's own explanation.
    """
    if inputs[0].shape[0] == 1:  # torch takes a batch of one for a constant
        inputs = tuple(torch.cat([tensor, tensor]) for tensor in inputs)
    batch = Dim("batch")
    try:
        return export(model, inputs, dynamic_shapes=_free_first(model, inputs, batch), strict=False)
    except Exception as problem:
        explanation = " ".join(str(problem).split())[:_MAX_EXPLANATION]
        raise DocumentError(
            "document_not_exportable",
            f"torch.export cannot trace this {type(model).__name__} with a free batch",
            got=explanation or type(problem).__name__,
            expected="a forward that depends neither on its inputs' values nor on the batch being one number",
            mend="try torch.export.export on it; replace .item(), if on tensors, and reshapes to a fixed batch",
        ) from problem


def _free_first(model: nn.Module, inputs: tuple[Tensor, ...], batch: Dim) -> tuple[object, ...]:
    free = tuple({0: batch} for _ in inputs)
    code = type(model).forward.__code__ if hasattr(type(model).forward, "__code__") else None
    takes_varargs = code is not None and bool(code.co_flags & 0x04) and code.co_argcount == 1
    return (free,) if takes_varargs else free  # torch wants *args as one tuple
