r"""How much a CP decomposition suffers from noise on its factors, and the balance that lowers it.

Phan et al., *Stable Low-rank Tensor Decomposition…*, ECCV 2020, arXiv 2008.05441; Tichavský, Phan, Cichocki,
*Sensitivity in tensor decomposition*, IEEE SPL 26(11), 2019.

Shapes: factors A (T, R), B (S, R), C (D, R).
"""

from __future__ import annotations

from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["balance", "rank_one_energy", "sensitivity"]


def _energies(*factors: Tensor) -> list[Tensor]:
    return [(factor * factor).sum(0) for factor in factors]


def sensitivity(out: Float[Tensor, "T R"], inn: Float[Tensor, "S R"], space: Float[Tensor, "D R"]) -> Float[Tensor, ""]:
    """Expected squared change of the tensor per unit variance of noise on every factor entry, to first order.

    ``ss = Σ_r D‖a_r‖²‖b_r‖² + T‖b_r‖²‖c_r‖² + S‖a_r‖²‖c_r‖²``: noise on the T entries of a_r moves the tensor by
    ``n ∘ b_r ∘ c_r``, whose expected energy is T‖b_r‖²‖c_r‖²; the other two modes alike, and independent
    noises add.
    """
    a, b, c = _energies(out, inn, space)
    return (len(space) * a * b + len(out) * b * c + len(inn) * a * c).sum()


def rank_one_energy(
    out: Float[Tensor, "T R"], inn: Float[Tensor, "S R"], space: Float[Tensor, "D R"]
) -> Float[Tensor, ""]:
    """``sn = Σ_r ‖a_r‖²‖b_r‖²‖c_r‖²``; far above the tensor's own energy means components that cancel (degeneracy)."""
    a, b, c = _energies(out, inn, space)
    return (a * b * c).sum()


def balance(
    out: Float[Tensor, "T R"], inn: Float[Tensor, "S R"], space: Float[Tensor, "D R"]
) -> tuple[Tensor, Tensor, Tensor]:
    """The same tensor with each component's size shared among its three vectors so that ``ss`` is least.

    With ``p = ‖a‖‖b‖‖c‖`` fixed, ``ss_r = p² (D/‖c‖² + T/‖a‖² + S/‖b‖²)``, a sum of three terms of fixed
    product, so the least value ``3 (TSD)^{1/3} p^{4/3}`` has them equal: ``‖a‖² : ‖b‖² : ‖c‖² = T : S : D``.
    Every factor entry then has the same mean square. A component with a zero vector becomes zero altogether.
    """
    factors = (out, inn, space)
    norms = [torch.linalg.vector_norm(factor, dim=0) for factor in factors]
    size = norms[0] * norms[1] * norms[2]
    unit = (size / prod(len(factor) for factor in factors) ** 0.5) ** (1 / 3)
    shares = [
        torch.where(size > 0, unit * len(factor) ** 0.5 / norm, torch.zeros_like(unit))
        for factor, norm in zip(factors, norms, strict=True)
    ]
    return out * shares[0], inn * shares[1], space * shares[2]
