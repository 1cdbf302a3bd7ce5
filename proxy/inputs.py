"""What a network is run on: the tensors of a batch, one for each of its inputs, all with the images as first axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from proxy.errors import MissingInput, ShapeMismatch

__all__ = ["Inputs", "all_inputs", "inputs_of", "labels_of"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """One batch of a network's inputs.

    Args:
        positional: tensors ``(N, …)``, in the order of the network's arguments.
        named: tensors ``(N, …)`` by the names of the network's arguments.
    """

    positional: tuple[Tensor, ...] = ()
    named: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, images: slice) -> Inputs:
        return self._each(lambda tensor: tensor[images])

    def pieces(self, size: int) -> Iterator[Inputs]:
        """The same images, at most ``size`` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return (*self.positional, *self.named.values())

    def into(self, model: nn.Module) -> Any:  # noqa: ANN401 - whatever the model answers
        """What a model answers to them."""
        return model(*self.positional, **self.named)

    def to(self, device: torch.device | str) -> Inputs:
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def beside(self, model: nn.Module) -> Inputs:
        """The same on the device that a model's parameters are on."""
        parameter = next(model.parameters(), None)
        return self if parameter is None else self.to(parameter.device)

    def joined(self, others: Sequence[Inputs]) -> Inputs:
        """The images of several batches as one batch, these first."""
        if not others:
            return self
        positional = zip(self.positional, *(other.positional for other in others), strict=True)
        named = {name: torch.cat([tensor, *(other.named[name] for other in others)]) for name, tensor in self._items}
        return Inputs(tuple(torch.cat(parts) for parts in positional), named)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        return Inputs(tuple(map(change, self.positional)), {name: change(tensor) for name, tensor in self._items})

    @property
    def _items(self) -> list[tuple[str, Tensor]]:
        return list(self.named.items())


def inputs_of(batch: Any) -> Inputs:  # noqa: ANN401 - a batch in any of its forms
    """The inputs of a batch, without its labels.

    Args:
        batch: the input tensor ``(N, …)``; a dict of the network's keyword arguments; or a tuple (inputs, …) whose
            first element is one of these or, for a network of several inputs, a tuple of tensors. Labels come second.

    Raises:
        ShapeMismatch: it holds none, or they differ in their number of images.
    """
    if isinstance(batch, Inputs):
        return batch
    given = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(given, Inputs):
        return given
    named: Mapping[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    positional = () if named else tuple(given) if isinstance(given, tuple | list) else (given,)
    values = (*positional, *named.values())
    if not values or not all(isinstance(value, Tensor) and value.ndim for value in values):
        raise ShapeMismatch(
            "a batch holds no images",
            got=[type(value).__name__ for value in values] or type(batch).__name__,
            expected="a tensor (B, …), or ((tensor, tensor, …), labels) for a network of several inputs",
        )
    if len({len(value) for value in values}) > 1:
        raise ShapeMismatch(
            "the inputs of a batch differ in their number of images",
            got=[tuple(value.shape) for value in values],
            expected="the same first axis everywhere",
        )
    return Inputs(positional, named)


def labels_of(batch: Any) -> Tensor | None:  # noqa: ANN401 - as above
    """What comes second in a batch; None where there is nothing."""
    labels = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    return labels if isinstance(labels, Tensor) else None


def all_inputs(batches: Sequence[Any]) -> Inputs:
    """The images of all batches as one.

    Raises:
        MissingInput: there are no batches.
        ShapeMismatch: one holds no images.
    """
    if not batches:
        raise MissingInput("there are no calibration images", expected="at least one batch")
    first, *others = [inputs_of(batch) for batch in batches]
    return first.joined(others)
