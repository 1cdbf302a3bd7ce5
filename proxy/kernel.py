"""A weight as the order-3 tensor that the solvers work on.

Shapes: T output channels, S input channels, D kernel positions (the product of the kernel's own axes).
"""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.parameter import is_lazy

from proxy.errors import NotFinite, ShapeMismatch, UnsupportedMethod
from proxy.layout import Layout

__all__ = ["Kernel", "kernels", "narrowed", "refuse_type", "refuse_weight"]

_DOUBLE_UP_TO = 1 << 17
"""Entries up to which the large products run in float64: there they cost no more than the overhead of a call."""


class Kernel:
    """One weight, scaled to unit norm, with the factorisations that several ranks share.

    Solvers see :attr:`tensor` only, whose norm is one, so that their tolerances need no units and kernels of
    1e-30 work like any other; :attr:`scale` gives the size back. The matrix factorisations are computed once
    and shared by all ranks of a grid.

    Args:
        weight: ``(T, S)`` or ``(T, S, k…)``; any float type.
        device: where to compute; the weight's own by default.

    Raises:
        NotFinite: NaN or infinity among the entries.
        ShapeMismatch: fewer than two axes, an empty axis, or entries that :func:`refuse_weight` refuses.
    """

    def __init__(self, weight: Float[Tensor, "T S *k"], device: torch.device | str | None = None) -> None:
        _check(weight)
        weight = weight.detach()
        self.shape = tuple(weight.shape)
        self.weight_dtype = weight.dtype
        weight = weight.to(device) if device is not None else weight
        wide = torch.float64 if weight.numel() <= _DOUBLE_UP_TO else torch.float32
        data = weight.to(torch.promote_types(wide, weight.dtype)).reshape(self.shape[0], self.shape[1], -1)
        largest = data.abs().amax()
        if not torch.isfinite(largest):
            raise NotFinite(
                "the weight has entries that are no numbers",
                got=f"{int((~torch.isfinite(data)).sum())} of {data.numel()} entries NaN or infinite",
                expected="finite entries",
                mend="load a healthy checkpoint",
            )
        self.is_zero = bool(largest == 0)
        self.scale = 0.0
        self.tensor: Float[Tensor, "T S D"] = data
        if not self.is_zero:
            data = data / largest  # before squaring, so that nothing over- or underflows
            norm = torch.linalg.vector_norm(data, dtype=torch.float64)
            self.scale = float(largest.double() * norm)
            self.tensor = data / norm.to(data.dtype)

    @property
    def size(self) -> tuple[int, int, int]:
        """(T, S, D)."""
        out, inn, depth = self.tensor.shape
        return out, inn, depth

    def finished(self, tensor: Tensor, scale: float = 1.0) -> Tensor:
        """A factor scaled, in the weight's own type, with memory of its own.

        Raises:
            NotFinite: its entries are too large or too small for the type.
        """
        return narrowed(tensor * scale, self.weight_dtype).contiguous()

    @cached_property
    def matrix_svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """Thin SVD of the ``T × S·D`` unfolding."""
        left, values, right = torch.linalg.svd(self.tensor.flatten(1), full_matrices=False)
        return left, values, right

    @cached_property
    def separable_svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """Thin SVD of a two-dimensional kernel as an ``S·kh × T·kw`` matrix."""
        out, inn, height, width = self.shape
        matrix = self.tensor.view(out, inn, height, width).permute(1, 2, 0, 3).reshape(inn * height, out * width)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return left, values, right

    @cached_property
    def channel_bases(self) -> tuple[Tensor, Tensor]:
        """Eigenvectors of the output and of the input Gram matrix, strongest first: (T, T) and (S, S)."""
        return leading(gram(self.tensor.flatten(1))), leading(gram(self.tensor.transpose(0, 1).flatten(1)))


def kernels(weight: Tensor, layout: Layout, device: torch.device | str | None = None) -> list[Kernel]:
    """The kernels of a layer's groups, ``(T/g, S/g, k…)`` each.

    Raises:
        NotFinite: NaN or infinity among the entries.
        ShapeMismatch: not a weight, or not of this layout.
    """
    _check(weight)
    return [Kernel(part, device) for part in layout.stack(weight.detach()).contiguous()]


def narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A factor in another type.

    Raises:
        NotFinite: its largest entry overflows there, or all but vanishes.
    """
    found = tensor.to(dtype)
    peak = tensor.abs().amax()
    moved = (found.to(tensor.dtype) - tensor).abs().amax()
    if bool(moved <= _MOVED * peak):  # false for NaN, which infinities leave
        return found
    limits = torch.finfo(dtype)
    raise NotFinite(
        f"a factor of this weight does not fit {dtype}",
        got=f"a largest entry of {float(peak):.3g}",
        expected=f"between {limits.smallest_normal:.3g} and {limits.max:.3g}",
        mend="ask for a wider type, such as dtype=torch.float32; a weight of ordinary size fits any",
    )


_MOVED = 0.05
"""Of the largest entry: far more than rounding to a type moves any number within its range."""


def refuse_type(dtype: torch.dtype | None) -> None:
    """Nothing, where factors can be of this type; None is the weight's own.

    Raises:
        UnsupportedMethod: they cannot.
    """
    if dtype is not None and dtype not in _TYPES:
        raise UnsupportedMethod(
            "factors are real numbers of a floating-point type", got=dtype, expected=f"one of {_NAMES}, or None"
        )


def refuse_weight(weight: Tensor) -> str | None:
    """Why the entries of a weight cannot be worked on, whatever its shape; None where they can."""
    if is_lazy(weight):
        return "its weight has no shape yet; run the network once first"
    if weight.is_quantized:  # before the rest: such a tensor refuses most other questions
        return f"its weight is quantised ({weight.dtype}); factorise before quantising"
    if weight.layout is not torch.strided:
        return f"its weight is stored as {weight.layout}; make it dense (strided) first"
    if weight.dtype not in _TYPES:
        return f"its weight is {weight.dtype}, none of {_NAMES}"
    if weight.is_meta:
        return "its weight is on the meta device, where it has no entries; load it first"
    return None


_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NAMES = ", ".join(map(str, _TYPES))


def _check(weight: Tensor) -> None:
    reason = refuse_weight(weight)
    if reason is None and weight.ndim >= 2 and weight.numel() > 0:  # noqa: PLR2004 - out, in
        return
    raise ShapeMismatch(
        "this is no weight of a convolution or a linear layer" if reason is None else reason,
        got="no shape" if is_lazy(weight) else f"shape {tuple(weight.shape)}, {weight.dtype}",
        expected="a real dense tensor of a float type, two axes or more, nothing empty",
    )


def gram(matrix: Float[Tensor, "I J"]) -> Float[Tensor, "I I"]:
    """``M Mᵀ`` in float64."""
    return (matrix @ matrix.mT).double()


def leading(symmetric: Float[Tensor, "I I"]) -> Float[Tensor, "I I"]:
    """All eigenvectors of a symmetric matrix, the largest eigenvalue's first."""
    vectors: Tensor = torch.linalg.eigh(symmetric)[1]
    return vectors.flip(1)
