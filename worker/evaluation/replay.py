"""One pass of the dense network, replayed with one layer exchanged: what comes before the layer is not computed again.

Seen on ResNet-20: from all of a pass's time for its first layer down to a quarter for its last block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import proxy
from proxy.inputs import inputs_of
from proxy.sites import layer_kind

__all__ = ["DensePass", "recorded_bytes"]


class DensePass:
    """The dense network's outputs on some images, and those of its convolutions, linear layers and BatchNorms.

    Args:
        network: in eval mode; run once, left as it was.
        images: a batch of its inputs, on its device.

    Attributes:
        outputs: what the network answers.
    """

    def __init__(self, network: nn.Module, images: Tensor | proxy.Inputs) -> None:
        self._network, self._images = network, inputs_of(images)
        self._order: list[nn.Module] = []
        kept: list[tuple[Tensor, int]] = []

        def note(module: nn.Module, _args: object, output: Tensor) -> None:
            self._order.append(module)
            kept.append((output, output._version))  # noqa: SLF001 - torch's counter of changes in place

        handles = [module.register_forward_hook(note) for module in network.modules() if _is_costly(module)]
        try:
            with torch.no_grad():
                self.outputs: object = self._images.into(network)
        finally:
            for handle in handles:
                handle.remove()
        # What later operators changed in place is not what the module returned, and has to be computed again.
        self._kept = [output if output._version == version else None for output, version in kept]  # noqa: SLF001 - as above

    @property
    def nbytes(self) -> int:
        """Memory that the features take."""
        return sum(output.nbytes for output in self._kept if output is not None)

    @torch.no_grad()
    def exchanged(self, layer: nn.Module, other: nn.Module) -> object:
        """What the network answers with another module in a layer's place.

        Args:
            layer: a convolution or linear layer of the network.
            other: called instead of it.
        """
        first = self._order.index(layer) if layer in self._order else 0
        before = {
            module: _returning(output)
            for module, output in zip(self._order[:first], self._kept, strict=False)
            if output is not None and self._order.count(module) == 1
        }
        with _acting({**before, layer: other}):
            return self._images.into(self._network)


def recorded_bytes(network: nn.Module, image: Tensor | proxy.Inputs) -> int:
    """Memory that a :class:`DensePass` takes for every image, about."""
    return DensePass(network, image).nbytes


def _is_costly(module: nn.Module) -> bool:
    return bool(layer_kind(module)) or isinstance(module, _BatchNorm)


def _returning(output: Tensor) -> Callable[..., Tensor]:
    return lambda *_, **__: output


@contextmanager
def _acting(others: Mapping[nn.Module, Callable[..., object]]) -> Iterator[None]:
    """Have modules do what others do; an attribute of the instance hides the method of its class."""
    try:
        for module, other in others.items():
            module.__dict__["forward"] = other
        yield
    finally:
        for module in others:
            module.__dict__.pop("forward", None)
