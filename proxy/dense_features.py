"""What reconstruction aims at: the dense network's features on the calibration images, recorded once for all trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from proxy.channel_correction import dense_layer
from proxy.hooks import removed_after
from proxy.inputs import Inputs, all_inputs, inputs_of
from proxy.modes import evaluating
from proxy.surroundings import OperatorOutputs, find_surroundings
from proxy.targets import Sample

__all__ = ["DenseFeatures", "Footprint", "record_dense", "recorded_bytes"]


@dataclass(frozen=True, eq=False)
class DenseFeatures:
    """The outputs of some dense layers on all calibration images. Nobody changes its tensors.

    Args:
        images: the network's inputs, of all images, on its device.
        samples: layer → its output on them, of its first call, and what is added to it, at some positions.
    """

    images: Inputs
    samples: dict[str, Sample]


class Footprint(NamedTuple):
    """Bytes of a layer's features, of one image: those that are kept, and all."""

    kept: int
    whole: int


def record_dense(
    dense: nn.Module, batches: Iterable[Any], names: Iterable[str], *, images: int | None = None
) -> DenseFeatures:
    """Run the dense network once over all images at once and keep what the refit of ``names`` needs.

    Args:
        dense: run in eval mode.
        batches: as :func:`proxy.score` takes them; labels are not used.
        names: the layers that may be factorised; those that are not called are left out.
        images: how many there are in all, where these are some of them; None: these.

    Raises:
        MissingInput: there are no images, or no such layer.
    """
    inputs = all_inputs(list(batches)).beside(dense)
    count = len(inputs) if images is None else images
    samples: dict[str, Sample] = {}

    def keep(name: str, layer: nn.Module, output: Tensor, added: Tensor | None) -> None:
        samples[name] = Sample.of(output, added, channels_last=isinstance(layer, nn.Linear), images=count)

    _watch(dense, inputs, names, keep)
    return DenseFeatures(inputs, samples)


def recorded_bytes(
    dense: nn.Module, image: Tensor | Inputs, names: Iterable[str], *, images: int
) -> dict[str, Footprint]:
    """Layer → the memory that :func:`record_dense` keeps of it for every image, in the order of their first calls.

    Args:
        dense: run once in eval mode.
        image: a batch of one.
        names: as there.
        images: how many there will be.
    """
    sizes: dict[str, Footprint] = {}

    def note(name: str, layer: nn.Module, output: Tensor, added: Tensor | None) -> None:
        sample = Sample.of(output, added, channels_last=isinstance(layer, nn.Linear), images=images)
        sizes[name] = Footprint(sample.nbytes, output.nbytes + (0 if added is None else added.nbytes))

    _watch(dense, inputs_of(image).beside(dense), names, note)
    return sizes


def _watch(
    dense: nn.Module,
    inputs: Inputs,
    names: Iterable[str],
    take: Callable[[str, nn.Module, Tensor, Tensor | None], None],
) -> None:
    """Show every layer's output of its first call, and what is added to it."""
    layers = {name: dense_layer(dense, name) for name in names}
    met = find_surroundings(dense, inputs[:1], layers)
    shortcuts = {name: found.shortcut for name, found in met.items() if found.shortcut is not None}
    made = OperatorOutputs(set(shortcuts.values()), inputs)
    seen: set[str] = set()

    def watcher(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: object, output: Tensor) -> None:
            if name not in seen:
                seen.add(name)
                with made.paused():
                    take(name, module, output, made.kept.get(shortcuts[name]) if name in shortcuts else None)

        return hook

    handles = [layer.register_forward_hook(watcher(name)) for name, layer in layers.items()]
    with removed_after(handles), evaluating(dense), torch.no_grad(), made:
        inputs.into(dense)
