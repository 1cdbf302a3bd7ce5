"""What enters the layers of a network in one forward pass: shapes and memory formats, without what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Entering", "inputs_of", "like"]


@dataclass
class Entering:
    """What a layer is given.

    Args:
        first: a tensor without memory, in shape, type and strides like the one that its first call gets.
        calls: how often it is called in a forward pass.
    """

    first: Tensor
    calls: int = 1


@torch.no_grad()
def inputs_of(network: nn.Module, names: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, Entering]:
    """Layer → what enters it, in the order of their first calls; layers that are not called are left out.

    Args:
        network: in eval mode; run once.
        names: of convolutions and linear layers.
        inputs: arguments of its forward pass.
    """
    found: dict[str, Entering] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]) -> None:
            if name in found:
                found[name].calls += 1
            else:
                found[name] = Entering(torch.empty_like(args[0] if args else kwargs["input"], device="meta"))

        return hook

    handles = [network.get_submodule(name).register_forward_pre_hook(note(name), with_kwargs=True) for name in names]
    try:
        network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def like(entering: Tensor, device: torch.device) -> Tensor:
    """A tensor of ones like what enters a layer: a product takes its time whatever it multiplies."""
    return torch.ones_like(entering, device=device)
