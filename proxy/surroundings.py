"""What becomes of a layer's output: which BatchNorm takes it, and what is added to it in a residual block.

A layer whose output, by itself or through its BatchNorm, enters an addition ``y + s`` can make up for the errors of
``s`` as well as for its own, once ``s`` is known (He, Zhang, Sun, *Channel Pruning for Accelerating Very Deep Neural
Networks*, ICCV 2017, section 3.3). Networks are arbitrary modules, so the addition is found by watching one forward
pass, and ``s`` by the number of the operator that made it, which is the same in every pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from proxy.inputs import Inputs, inputs_of
from proxy.modes import evaluating

__all__ = ["OperatorOutputs", "Surroundings", "find_surroundings"]

_ADDITIONS = frozenset({"aten::add", "aten::add_"})


@dataclass(frozen=True)
class Surroundings:
    """What a layer's output meets.

    Args:
        norm: the BatchNorm that takes it as it is.
        alone: that BatchNorm takes nothing else, and nothing else takes the output: a constant may then be taken off
            its running mean instead of being added to the output.
        shortcut: number of the operator that made the other operand last, of the addition that the output enters, by
            itself or through ``norm``; below 0: it is an input of the network, −1 the first; None: there is no such
            addition, or the operand is made after the output.
    """

    norm: _BatchNorm | None
    alone: bool
    shortcut: int | None

    def gain(self) -> Float[Tensor, " T"] | None:
        """What the addition sees of one unit of the layer's output, per channel: ``γ/√(σ² + ε)``; None: the unit."""
        norm = self.norm
        if norm is None or norm.running_var is None:
            return None
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        weight: Tensor | None = norm._parameters["weight"]  # noqa: SLF001 - typed, unlike the attribute
        return scale if weight is None else scale * weight.detach().double()


class OperatorOutputs(TorchDispatchMode):
    """Counts the operators of a forward pass while it is entered, and keeps the outputs of some.

    Args:
        wanted: numbers of operators; −1 is the network's first input, −2 its second.
        inputs: of the network.

    Attributes:
        kept: number → output, of those wanted that ran so far.
    """

    def __init__(self, wanted: Collection[int], inputs: Inputs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self._wanted = frozenset(wanted)
        self.kept = {number: tensor for number, tensor in _numbered(inputs) if number in self._wanted}
        self._paused = False
        self._count = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Operators inside are neither counted nor kept."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's signature
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Run an operator."""
        del types
        out = func(*args, **(kwargs or {}))
        if not self._paused:
            made = _main(out)
            if self._count in self._wanted and made is not None:
                self.kept[self._count] = made
            self._count += 1
        return out


class _Watch(TorchDispatchMode):
    """Notes who made which tensor last, what is added to what and how often a tensor is used.

    Holds all tensors, so that no id is used twice.
    """

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self._held: list[object] = [inputs]
        self.maker = {id(tensor): number for number, tensor in _numbered(inputs)}
        self.added: dict[int, tuple[int | None, Tensor]] = {}
        self.uses: Counter[int] = Counter()
        self._count = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's signature
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Run an operator and note what it did."""
        del types
        if func._schema.name in _ADDITIONS and not kwargs and _alike(args):  # noqa: SLF001 - its only name
            for one, other in (args[:2], args[1::-1]):
                self.added.setdefault(id(one), (self.maker.get(id(other)), other))
        self.uses.update(id(arg) for arg in args if isinstance(arg, Tensor))
        out = func(*args, **(kwargs or {}))
        self._held.append((args, out))
        self.maker[id(_main(out))] = self._count
        self._count += 1
        return out


def find_surroundings(model: nn.Module, image: Tensor | Inputs, names: Iterable[str]) -> dict[str, Surroundings]:
    """Layer → what its output meets, of its first call; layers that are not called are left out.

    Args:
        model: run once in eval mode.
        image: a batch of one.
        names: of layers, dense or factorised.
    """
    layers = {name: model.get_submodule(name) for name in names}
    outputs: dict[str, Tensor] = {}
    normed: dict[int, tuple[_BatchNorm, Tensor]] = {}
    called: Counter[nn.Module] = Counter()
    hooks = _hooks(model, layers, outputs, normed, called)
    inputs = inputs_of(image)
    with evaluating(model), torch.no_grad(), _Watch(inputs) as watch, hooks:
        inputs.into(model)
    found: dict[str, Surroundings] = {}
    for name, output in outputs.items():
        norm, entering = normed.get(id(output), (None, output))
        alone = norm is not None and called[norm] == called[layers[name]] == watch.uses[id(output)] == 1
        maker, other = watch.added.get(id(entering), (None, output))
        made = watch.maker.get(id(output))
        early = maker is not None and made is not None and maker < made and other.shape == entering.shape
        found[name] = Surroundings(norm, alone, maker if early else None)
    return found


def _numbered(inputs: Inputs) -> list[tuple[int, Tensor]]:
    """Numbers below those of all operators: −1 for the first input."""
    return [(-1 - at, tensor) for at, tensor in enumerate(inputs.tensors)]


def _main(out: object) -> Tensor | None:
    """What an operator made: the first of several tensors is the one that goes on (a BatchNorm's output)."""
    first = out[0] if isinstance(out, tuple | list) and out else out
    return first if isinstance(first, Tensor) else None


def _alike(args: tuple[Any, ...]) -> bool:
    return len(args) == 2 and all(isinstance(arg, Tensor) for arg in args)  # noqa: PLR2004 - two operands


@contextmanager
def _hooks(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    outputs: dict[str, Tensor],
    normed: dict[int, tuple[_BatchNorm, Tensor]],
    called: Counter[nn.Module],
) -> Iterator[None]:
    """Note the layers' first outputs, what a BatchNorm made of each tensor, and how often all these are called."""

    def leave(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: object, output: Tensor) -> None:
            called[module] += 1
            outputs.setdefault(name, output)

        return hook

    def after(module: _BatchNorm, args: tuple[Tensor, ...], output: Tensor) -> None:
        called[module] += 1
        normed.setdefault(id(args[0]), (module, output))

    handles = [layer.register_forward_hook(leave(name)) for name, layer in layers.items()]
    handles += [norm.register_forward_hook(after) for norm in model.modules() if isinstance(norm, _BatchNorm)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
