"""Which BatchNorm takes a layer's output as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from proxy.inputs import Inputs, inputs_of
from proxy.modes import evaluating

__all__ = ["following_norms"]


def following_norms(model: nn.Module, image: Tensor | Inputs, layers: Mapping[str, nn.Module]) -> dict[str, str | None]:
    """Layer → the BatchNorm that its output is handed straight to, or None; in the order in which they are called.

    Seen by identity: the very tensor that the layer returned must be the input of a BatchNorm. Layers that are not
    called are left out.

    Args:
        model: run once in eval mode; left as it was.
        image: a batch of one.
        layers: name → layer of the model.
    """
    outputs: dict[int, tuple[str, Tensor]] = {}  # the tensors are held, so that no id is used twice
    found: dict[str, str | None] = {}

    def leave(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: Tensor) -> None:
            outputs[id(output)] = name, output
            found.setdefault(name, None)

        return hook

    def enter(norm: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            if args and id(args[0]) in outputs:
                found[outputs[id(args[0])][0]] = norm

        return hook

    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    handles = [layer.register_forward_hook(leave(name)) for name, layer in layers.items()]
    handles += [norm.register_forward_pre_hook(enter(name)) for name, norm in norms]
    try:
        with evaluating(model), torch.no_grad():
            inputs_of(image).into(model)
    finally:
        for handle in handles:
            handle.remove()
    return found
