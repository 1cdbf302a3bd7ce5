"""Forward passes of a batch in pieces, where the whole takes more memory than there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

import proxy
from proxy.outputs import joined_outputs

__all__ = ["in_pieces"]


@contextmanager
def in_pieces(network: nn.Module, at_once: int) -> Iterator[None]:
    """Have a network compute larger batches piece by piece, while the block lasts.

    Args:
        network: called with a batch of its inputs; in eval mode, where images do not depend on each other.
        at_once: images in a piece.
    """
    whole = network.forward

    def forward(*inputs: Tensor) -> object:
        given = proxy.Inputs(inputs)
        if len(given) <= at_once:
            return whole(*inputs)
        return joined_outputs([whole(*piece.positional) for piece in given.pieces(at_once)])

    network.__dict__["forward"] = forward  # an attribute of the instance hides the method of its class
    try:
        yield
    finally:
        del network.__dict__["forward"]
