"""All ranks of a kernel's grid on one way up: each rank starts from the one below it.

A rung keeps the components of the rung below, adds the strongest orthogonal rank-one terms of what they leave over,
and needs a few sweeps where a start from nothing needs thirty. The sweeps are damped (:mod:`proxy.cp_als`), which keeps
the factors stable; the correction is left out. Shapes: n kernels, T output channels, S input channels,
D kernel positions, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.cp3 import CP, CPOptions, separated, sweep_limit, working
from proxy.cp_als import als
from proxy.cp_products import Products
from proxy.cp_stack import CPStack, FactorTriple
from proxy.cp_start import slice_terms, started
from proxy.kernel import Kernel

__all__ = ["climbed"]


def climbed(kernels: Sequence[Kernel], ranks: Sequence[int], options: CPOptions, *, sweeps: int) -> list[list[CP]]:
    """Decompositions of kernels of one shape at ascending ranks.

    Args:
        kernels: of one shape and type, none of them zero.
        ranks: strictly ascending.
        options: as for :func:`proxy.cp3.cp3`; the lowest rank starts and sweeps as there.
        sweeps: of ALS at every further rank.

    Returns:
        For each kernel its decompositions, in the order of the ranks.
    """
    stack = torch.stack([working(kernel) for kernel in kernels])
    found: list[list[CP]] = [[] for _ in kernels]
    below: CPStack | None = None
    for rank in ranks:
        products = Products(stack, rank)
        each = torch.full((len(kernels),), rank, device=stack.device)
        if below is None:
            terms = slice_terms(stack, rank)
            start = started(terms, [rank] * len(kernels), options.seed)
            limit = sweep_limit(stack[0].numel(), rank) if options.max_sweeps is None else options.max_sweeps
        else:
            start, limit = _grown(products, below.factors, rank, options.seed), sweeps
        below = als(
            products,
            start,
            each,
            max_sweeps=torch.full_like(each, limit),
            tolerance=options.tolerance,
            damping=options.damping,
        )
        for own, cp in zip(found, separated(products, below), strict=True):
            own.append(cp)
    return found


def _grown(products: Products, factors: FactorTriple, rank: int, seed: int) -> FactorTriple:
    """The factors with further components, the strongest terms of the residual."""
    more = _leading_terms(products.residual(factors), rank - factors[0].shape[2], seed)
    parts = [torch.cat((factor, added), 2) for factor, added in zip(factors, more, strict=True)]
    return parts[0], parts[1], parts[2]


_OVERSAMPLING = 2
"""Directions a slice beyond its fair share of the terms, twice: the strong slices give more of them."""


def _leading_terms(rest: Float[Tensor, "n T S D"], count: int, seed: int) -> FactorTriple:
    """About the strongest terms of the slices along the principal spatial directions, by subspace iteration.

    As :func:`proxy.cp_start.slice_terms` without a full SVD: a block of random directions, one power iteration,
    Rayleigh–Ritz (Halko, Martinsson, Tropp, *Finding structure with randomness*, SIAM Review 53(2), 2011, algorithms
    4.4 and 5.1).
    """
    kernels, out, inn, depth = rest.shape
    flat = rest.flatten(1, 2)
    _, directions = torch.linalg.eigh((flat.mT @ flat).double())
    directions = directions.to(rest)
    slices = (flat @ directions).view(rest.shape).movedim(3, 1)
    width = min(out, inn, max(1, -(-2 * count // depth)) + _OVERSAMPLING)
    generator = torch.Generator("cpu").manual_seed(seed)
    probe = torch.randn(depth, inn, width, generator=generator, dtype=torch.float64, device="cpu").to(rest)
    basis = torch.linalg.qr(slices @ probe)[0]
    basis = torch.linalg.qr(slices @ (slices.mT @ basis))[0]
    small = basis.mT @ slices
    energies, rotation = torch.linalg.eigh(small @ small.mT)
    strengths = energies.clamp_min(0).sqrt()
    left = basis @ rotation
    right = (rotation.mT @ small) / strengths.clamp_min(torch.finfo(rest.dtype).tiny)[..., None]
    chosen = strengths.flatten(1).sort(dim=1, descending=True, stable=True)
    order, kept = chosen.indices[:, :count], chosen.values[:, :count]
    missing = count - order.shape[1]
    direction, term = order // width, order % width
    each = torch.arange(kernels, device=rest.device)[:, None]
    terms = (
        left[each, direction, :, term].mT * kept[:, None],
        right[each, direction, term].mT,
        directions[each, :, direction].mT,
    )
    padded = [torch.nn.functional.pad(part, (0, missing)) for part in terms]
    return padded[0], padded[1], padded[2]
