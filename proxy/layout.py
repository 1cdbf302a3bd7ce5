"""How a layer's weight is laid out: which axis holds which channels, in how many groups.

Shapes: g groups, T output and S input channels of the whole layer, ``k…`` the kernel's own axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from proxy.errors import ShapeMismatch

__all__ = ["ORDINARY", "Layout"]


@dataclass(frozen=True)
class Layout:
    """The layout of a weight, and its two mappings: weight → canonical stack and back.

    =============== ================ ===============================
    layer           weight           canonical stack
    =============== ================ ===============================
    linear          ``(T, S)``       ``(1, T, S)``
    convolution     ``(T, S/g, k…)`` ``(g, T/g, S/g, k…)``
    transposed      ``(S, T/g, k…)`` ``(g, T/g, S/g, k…)``
    =============== ================ ===============================

    A grouped layer is g ordinary ones side by side: each item of the stack is decomposed on its own. A transposed
    convolution is the adjoint of an ordinary one; its kernel decomposes alike, with the channels' axes swapped.

    Args:
        groups: of the layer; 1 for linear layers.
        transposed: whether the weight is that of a transposed convolution.

    Raises:
        ShapeMismatch: the groups are no positive whole number.
    """

    groups: int = 1
    transposed: bool = False

    def __post_init__(self) -> None:
        groups: object = self.groups
        if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1:
            raise ShapeMismatch("a layer has one group or more", got=repr(groups), expected="1, 2, …")

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """The layout of a convolution's or linear layer's weight."""
        return cls(int(getattr(module, "groups", 1)), bool(getattr(module, "transposed", False)))

    def kernel_shape(self, weight_shape: Sequence[int]) -> tuple[int, ...]:
        """``(T/g, S/g, k…)``: the shape of one group's kernel.

        Raises:
            ShapeMismatch: the groups do not divide the weight's first axis.
        """
        first, second, *kernel = weight_shape
        if first % self.groups:
            raise ShapeMismatch(
                "the groups do not divide the weight's first axis",
                got=f"{self.groups} groups, a weight of shape {tuple(weight_shape)}",
                expected=f"a divisor of {first}",
                mend="pass the groups of the layer that the weight belongs to",
            )
        ours = first // self.groups
        return (second, ours, *kernel) if self.transposed else (ours, second, *kernel)

    def channels(self, weight_shape: Sequence[int]) -> tuple[int, int]:
        """(T, S) of the whole layer."""
        out, inn = self.kernel_shape(weight_shape)[:2]
        return out * self.groups, inn * self.groups

    def stack(self, weight: Float[Tensor, "I J *k"]) -> Float[Tensor, "g T/g S/g *k"]:
        """A weight as the canonical stack of its groups' kernels: a view."""
        self.kernel_shape(weight.shape)
        groups = weight.reshape(self.groups, -1, *weight.shape[1:])
        return groups.transpose(1, 2) if self.transposed else groups

    def weight(self, stack: Float[Tensor, "g T/g S/g *k"]) -> Float[Tensor, "I J *k"]:
        """The weight of a canonical stack: the inverse of :meth:`stack`."""
        return (stack.transpose(1, 2) if self.transposed else stack).flatten(0, 1)


ORDINARY = Layout()
"""One group, not transposed."""
