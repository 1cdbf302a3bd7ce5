"""The tensors of what a network answers: a tensor, or tuples, lists and dicts of them, nested as they may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from proxy.errors import ShapeMismatch

__all__ = ["float_outputs", "joined_outputs", "output_bytes", "output_tensors", "paired_outputs"]


def output_tensors(outputs: object) -> list[tuple[str, Tensor]]:
    """Every tensor of an answer, in order, with its place in the structure, such as ``['out']`` or ``[1]``."""
    leaves, _ = pytree.tree_flatten_with_path(outputs)
    return [(pytree.keystr(path), leaf) for path, leaf in leaves if isinstance(leaf, Tensor)]


def float_outputs(outputs: object) -> list[tuple[str, Tensor]]:
    """Those that hold floating-point numbers: the others are answers that nothing can be near to."""
    return [(place, tensor) for place, tensor in output_tensors(outputs) if tensor.is_floating_point()]


def paired_outputs(outputs: object, reference: object) -> list[tuple[str, Tensor, Tensor]]:
    """(place, output, the reference's) of all floating-point outputs.

    Raises:
        ShapeMismatch: the two differ in structure or shapes, or there is no such output.
    """
    own, wanted = float_outputs(outputs), float_outputs(reference)
    shapes = [[(place, tuple(tensor.shape)) for place, tensor in found] for found in (own, wanted)]
    if shapes[0] != shapes[1]:
        raise ShapeMismatch("the reference's outputs do not fit", got=shapes[1], expected=shapes[0])
    if not own:
        raise ShapeMismatch(
            "the network answers no floating-point numbers that could be compared",
            got=[str(tensor.dtype) for _, tensor in output_tensors(outputs)],
            mend="compress the network without its last step, such as an argmax; or use the metric 'features'",
        )
    return [(place, one, other) for (place, one), (_, other) in zip(own, wanted, strict=True)]


def joined_outputs(parts: Sequence[Any]) -> Any:  # noqa: ANN401 - of the structure of its parts
    """The answers to several batches as one answer to all their images, of the same structure."""
    if len(parts) == 1:
        return parts[0]
    flat = [pytree.tree_flatten(part) for part in parts]
    leaves = [
        torch.cat(column) if all(isinstance(one, Tensor) and one.ndim for one in column) else column[0]
        for column in zip(*(leaves for leaves, _ in flat), strict=True)
    ]
    return pytree.tree_unflatten(leaves, flat[0][1])


def output_bytes(outputs: object) -> int:
    """Memory that an answer takes."""
    return sum(tensor.nbytes for _, tensor in output_tensors(outputs))
