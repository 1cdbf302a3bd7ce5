"""Forward passes of a batch in pieces, where the whole takes more memory than there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["in_pieces"]


@contextmanager
def in_pieces(network: nn.Module, at_once: int) -> Iterator[None]:
    """Have a network compute larger batches piece by piece, while the block lasts.

    Args:
        network: called with a batch of images; in eval mode, where images do not depend on each other.
        at_once: images in a piece.
    """
    whole = network.forward

    def forward(images: Tensor) -> object:
        if len(images) <= at_once:
            return whole(images)
        return _joined([whole(piece) for piece in torch.split(images, at_once)])

    network.__dict__["forward"] = forward  # an attribute of the instance hides the method of its class
    try:
        yield
    finally:
        del network.__dict__["forward"]


def _joined(outputs: list[object]) -> object:
    """The pieces' outputs as one; what is no tensor is of no use to any metric, and told by its first piece."""
    tensors = [output for output in outputs if isinstance(output, Tensor) and output.ndim]
    return torch.cat(tensors) if len(tensors) == len(outputs) else outputs[0]
