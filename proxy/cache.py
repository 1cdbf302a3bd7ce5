"""Where factors are kept between trials: the protocol, the key, and a cache in memory.

Ownership: a cache may hand out the same :class:`Factors` many times; nobody changes their tensors (layers are
built from copies). The key covers everything that decides the factors, so an entry never goes stale.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch
from torch import Tensor, nn

from proxy.factors import Factors
from proxy.kernel import refuse_weight
from proxy.layout import ORDINARY, Layout
from proxy.options import SolverOptions
from proxy.ranks import parse_ranks

__all__ = ["FactorCache", "MemoryCache", "factor_key", "weight_hash", "weight_hashes"]

_VERSION = "2"
"""Raised when a solver changes what it returns for the same input."""


class FactorCache(Protocol):
    """What :func:`proxy.compress` asks of a cache."""

    def get(self, key: str) -> Factors | None:
        """The factors kept under a key, or None."""

    def put(self, key: str, factors: Factors) -> None:
        """Keep factors under a key; the cache does not change them."""


class MemoryCache:
    """A :class:`FactorCache` in a dict, without limit: for tests, notebooks and one-off compressions."""

    def __init__(self) -> None:
        self.entries: dict[str, Factors] = {}

    def get(self, key: str) -> Factors | None:
        """The factors kept under a key, or None."""
        return self.entries.get(key)

    def put(self, key: str, factors: Factors) -> None:
        """Keep factors under a key."""
        self.entries[key] = factors


def weight_hash(weight: Tensor) -> str:
    """sha256 over a weight's type, shape and bytes: 64 hexadecimal digits, the same on every device and machine."""
    data = weight.detach().to("cpu").contiguous()
    digest = hashlib.sha256(f"{data.dtype}{tuple(data.shape)}".encode())
    digest.update(data.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weight_hashes(model: nn.Module) -> dict[str, str]:
    """Module name → hash of its ``weight``, for every convolution and linear layer: once per model, for all trials.

    Layers whose weight has no entries to read, such as one on the meta device, are left out.
    """
    return {
        name: weight_hash(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)  # noqa: SLF001 - torch's only common base of convolutions
        and refuse_weight(module.weight) is None
    }


def factor_key(
    weight: Tensor | str,
    method: str,
    ranks: object,
    shape: tuple[int, ...] | None = None,
    *,
    layout: Layout = ORDINARY,
    dtype: torch.dtype | None = None,
    **options: object,
) -> str:
    """The name of the factors of one weight, method, ranks and solver options: 64 hexadecimal digits.

    Options that do not matter to the method (the solver of an exact SVD) do not matter to the key. The device
    is left out on purpose: factors computed on another device differ by round-off and are as good.

    Args:
        weight: the weight, or its :func:`weight_hash`.
        method: name of the decomposition.
        ranks: in any form that :func:`proxy.decompose` takes.
        shape: of the weight; needed with a hash.
        layout: of the weight, where the layer is grouped or transposed.
        dtype: as asked of :func:`proxy.decompose`; None is the weight's own.
        **options: solver options of :func:`proxy.decompose`.
    """
    hashed = weight if isinstance(weight, str) else weight_hash(weight)
    known = shape if isinstance(weight, str) else tuple(weight.shape)
    if known is None:
        raise TypeError("factor_key needs the weight's shape next to its hash")
    deciding = SolverOptions(**options).deciding(method)  # type: ignore[arg-type]  # checked by the dataclass's fields
    parts: tuple[object, ...] = (
        _VERSION,
        hashed,
        method,
        parse_ranks(method, ranks, layout.kernel_shape(known)),
        deciding,
    )
    if layout != ORDINARY:  # left out for ordinary layers, whose keys are older than layouts
        parts = (*parts, layout.groups, layout.transposed)
    if dtype is not None:  # it decides the precision of the work as well as that of the factors
        parts = (*parts, str(dtype))
    return hashlib.sha256(repr(parts).encode()).hexdigest()
