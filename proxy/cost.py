"""Multiply-accumulates and parameters of a whole model.

The MACs are counted where they happen, by a dispatch mode that sees every ATen operator of one forward pass: so
factorised layers, functional convolutions, attention and matrix products in any forward are counted alike,
and each is booked to the innermost module at work. Counted: convolutions, also transposed; mm, addmm, bmm,
baddbmm, mv, addmv; scaled dot-product attention. Not counted, as everybody does: biases, normalisation,
activations, pooling; and fused recurrent kernels (LSTM, GRU), which show no products to a counter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from proxy.errors import MissingInput
from proxy.modes import evaluating

__all__ = ["Cost", "LayerCost", "MacCounter", "batch_size", "cost", "run"]


@dataclass(frozen=True)
class LayerCost:
    """One module's own share, children apart."""

    macs: int
    params: int


@dataclass(frozen=True)
class Cost:
    """What one image costs.

    Args:
        macs: multiply-accumulates of one forward pass at batch 1 (``flops`` would be twice that).
        params: entries of all parameters, shared ones once.
        layers: module name → its own share, in the order of the model; modules with neither are left out.
    """

    macs: int
    params: int
    layers: Mapping[str, LayerCost] = field(default_factory=dict)


def cost(model: nn.Module, example_inputs: object) -> Cost:
    """MACs and parameters of a model, dense or compressed.

    Args:
        model: run once in eval mode without gradients; left as it was.
        example_inputs: a tensor, or a tuple of the forward's arguments, or a dict of its keyword arguments; the
            batch may have any size, the cost is that of one image.
    """
    with MacCounter(model) as counter:
        run(model, example_inputs)
    batch = batch_size(example_inputs)
    params = _own_params(model)
    layers = {
        name: LayerCost(counter.macs.get(name, 0) // batch, params.get(name, 0))
        for name, _ in model.named_modules()
        if name in counter.macs or name in params
    }
    return Cost(sum(counter.macs.values()) // batch, sum(params.values()), layers)


def run(model: nn.Module, example_inputs: object) -> object:
    """One forward pass in eval mode, without gradients, every module's mode restored after it."""
    with evaluating(model), torch.no_grad(), _visible_attention():
        if isinstance(example_inputs, Mapping):
            return model(**example_inputs)
        if isinstance(example_inputs, tuple | list):
            return model(*example_inputs)
        return model(example_inputs)


@contextmanager
def _visible_attention() -> Iterator[None]:
    """``nn.MultiheadAttention`` without its fused inference kernel, whose products no counter can see."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(value=before)


def batch_size(example_inputs: object) -> int:
    """Images in the example: the first axis of the first tensor among the arguments.

    Raises:
        MissingInput: there is no tensor with a batch axis.
    """
    if isinstance(example_inputs, Mapping):
        return batch_size(tuple(example_inputs.values()))
    given = example_inputs if isinstance(example_inputs, tuple | list) else (example_inputs,)
    for item in given:
        if isinstance(item, Tensor) and item.ndim > 0 and item.shape[0] > 0:
            return int(item.shape[0])
    raise MissingInput(
        "the example inputs hold no image",
        got=f"{[type(item).__name__ for item in given]}",
        expected="a tensor whose first axis is the batch, or a tuple that begins with one",
    )


def _own_params(model: nn.Module) -> dict[str, int]:
    """Module name → entries of its own parameters; a shared parameter counts where it comes first."""
    own: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        owner = name.rpartition(".")[0]
        own[owner] = own.get(owner, 0) + parameter.numel()
    return own


def _convolution(args: tuple[Any, ...], out: Any) -> int:  # noqa: ANN401 - an operator's arguments and result
    inputs, weight, transposed = args[0], args[1], args[6]
    positions = inputs if transposed else out
    return int(positions.numel() // positions.shape[1] * weight.numel())


def _product(first: int) -> Callable[[tuple[Any, ...], Any], int]:
    """Counter of a matrix product whose left side is argument ``first``: output entries times inner length."""

    def count(args: tuple[Any, ...], out: Any) -> int:  # noqa: ANN401 - an operator's arguments and result
        return int(out.numel() * args[first].shape[-1])

    return count


def _attention(args: tuple[Any, ...], out: Any) -> int:  # noqa: ANN401, ARG001 - an operator's arguments and result
    query, key, value = args[:3]
    return int(prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


_COUNTED: Mapping[str, Callable[[tuple[Any, ...], Any], int]] = {
    "aten::convolution": _convolution,
    "aten::mm": _product(0),
    "aten::bmm": _product(0),
    "aten::mv": _product(0),
    "aten::linear": _product(0),
    "aten::addmm": _product(1),
    "aten::baddbmm": _product(1),
    "aten::addmv": _product(1),
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_flash_attention": _attention,
    "aten::_scaled_dot_product_efficient_attention": _attention,
    "aten::_scaled_dot_product_cudnn_attention": _attention,
    "aten::_scaled_dot_product_fused_attention_overrideable": _attention,
}


class MacCounter(TorchDispatchMode):
    """Counts MACs by module while it is entered, and notes which weights other modules touch.

    Attributes:
        macs: module name → MACs over the whole batch.
        foreign: names of modules whose ``weight`` an operator outside of them used.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.macs: dict[str, int] = {}
        self.foreign: set[str] = set()
        self._model = model
        self._stack: list[str] = [""]
        self._owners: dict[int, str] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for name, module in self._model.named_modules():
            weight = module._parameters.get("weight")  # noqa: SLF001 - unlike getattr, runs no parametrisation
            if weight is not None:
                self._owners.setdefault(id(weight), name)
            self._handles.append(module.register_forward_pre_hook(self._entering(name)))
            self._handles.append(module.register_forward_hook(self._leaving, always_call=True))
        super().__enter__()  # type: ignore[no-untyped-call]  # untyped in torch
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]  # untyped in torch
        for handle in self._handles:
            handle.remove()

    def _entering(self, name: str) -> Callable[..., None]:
        def enter(*_: object) -> None:
            self._stack.append(name)

        return enter

    def _leaving(self, *_: object) -> None:
        self._stack.pop()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's signature
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Run an operator, book its MACs to the module at work."""
        del types
        out = func(*args, **(kwargs or {}))
        here = self._stack[-1]
        for arg in args:
            owner = self._owners.get(id(arg))
            if owner is not None and owner != here:
                self.foreign.add(owner)
        count = _COUNTED.get(func._schema.name)  # noqa: SLF001 - the operator's name has no public accessor
        if count is not None:
            self.macs[here] = self.macs.get(here, 0) + count(args, out)
        return out
