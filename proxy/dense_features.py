"""What reconstruction aims at: the dense network's features on the calibration images, recorded once for all trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from proxy.channel_correction import dense_layer
from proxy.inputs import Inputs, all_inputs, inputs_of
from proxy.modes import evaluating
from proxy.surroundings import OperatorOutputs, find_surroundings

__all__ = ["DenseFeatures", "record_dense", "recorded_bytes"]


@dataclass(frozen=True, eq=False)
class DenseFeatures:
    """The outputs of some dense layers on all calibration images. Nobody changes its tensors.

    Args:
        images: the network's inputs, of all images, on its device.
        outputs: layer → its output on them, of its first call ``(N, T, …)``.
        shortcuts: layer → what is added to its output, for layers in front of an addition.
    """

    images: Inputs
    outputs: dict[str, Tensor]
    shortcuts: dict[str, Tensor]


def record_dense(dense: nn.Module, batches: Iterable[Any], names: Iterable[str]) -> DenseFeatures:
    """Run the dense network once over all images at once and keep what the refit of ``names`` needs.

    Args:
        dense: run in eval mode.
        batches: as :func:`proxy.score` takes them; labels are not used.
        names: the layers that may be factorised; those that are not called are left out.

    Raises:
        MissingInput: there are no images, or no such layer.
    """
    images = all_inputs(list(batches)).beside(dense)
    layers = {name: dense_layer(dense, name) for name in names}
    met = find_surroundings(dense, images[:1], layers)
    shortcuts = {name: found.shortcut for name, found in met.items() if found.shortcut is not None}
    outputs: dict[str, Tensor] = {}
    added: dict[str, Tensor] = {}
    made = OperatorOutputs(set(shortcuts.values()), images)

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: Tensor) -> None:
            if name in outputs:
                return
            with made.paused():  # copies, since what comes next may work in place
                outputs[name] = output.clone()
                if name in shortcuts and shortcuts[name] in made.kept:
                    added[name] = made.kept[shortcuts[name]].clone()

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        with evaluating(dense), torch.no_grad(), made:
            images.into(dense)
    finally:
        for handle in handles:
            handle.remove()
    return DenseFeatures(images, outputs, added)


def recorded_bytes(dense: nn.Module, image: Tensor | Inputs, names: Iterable[str]) -> dict[str, int]:
    """Layer → the memory that :func:`record_dense` keeps of it for every image, in the order of their first calls.

    Args:
        dense: run once in eval mode.
        image: a batch of one.
        names: as there.
    """
    features = record_dense(dense, [inputs_of(image)], names)
    added = features.shortcuts
    return {
        name: output.nbytes + (added[name].nbytes if name in added else 0) for name, output in features.outputs.items()
    }
