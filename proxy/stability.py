r"""What stabilisation lowers: the sensitivity of a CP decomposition, or the energy of its rank-one terms.

Both are sums over the components of a power of their sizes once each component's size is shared among its three
vectors in the best way, and both are quadratic in one factor with the other two fixed: ``Σ_r w_r² ‖a_r‖² + const``.
That is all that ALS with damping and the error-preserving correction need to know of them.

Phan et al., *Stable Low-rank Tensor Decomposition…*, ECCV 2020, arXiv 2008.05441 (sensitivity); Phan, Tichavský,
Cichocki, *Error Preserving Correction*, arXiv 1709.08349 (rank-one energy).

Shapes: n kernels; factors A (n, T, R), B (n, S, R), C (n, D, R).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.errors import UnsupportedMethod

__all__ = ["OBJECTIVES", "Objective", "balanced", "energies", "instability", "objective_named"]


class Objective(Protocol):
    """A measure of instability; smaller is more stable."""

    def value(self, sizes: Float[Tensor, "n R"], lengths: tuple[int, int, int]) -> Float[Tensor, " n"]:
        """Of balanced factors, from the sizes ``p_r = ‖a_r‖‖b_r‖‖c_r‖`` of their components."""

    def weights(
        self, first: Float[Tensor, "n R"], second: Float[Tensor, "n R"], lengths: tuple[int, int]
    ) -> Float[Tensor, "n R"]:
        """``w_r²`` of a factor, from the energies of the columns of the other two, of these lengths."""

    def damping_limit(self, value: Float[Tensor, " n"], lengths: tuple[int, int, int], rank: Tensor) -> Tensor:
        """The damping ``λ`` at which ``λ w²`` is as large as the diagonal of the average component's Γ."""


@dataclass(frozen=True)
class Sensitivity:
    """``ss = Σ_r D‖a_r‖²‖b_r‖² + T‖b_r‖²‖c_r‖² + S‖a_r‖²‖c_r‖²``.

    Balanced, ``‖a‖² : ‖b‖² : ‖c‖² = T : S : D``, it is ``3 (TSD)^{1/3} Σ_r p_r^{4/3}``.
    """

    def value(self, sizes: Float[Tensor, "n R"], lengths: tuple[int, int, int]) -> Float[Tensor, " n"]:
        """As :class:`Objective`."""
        unit: float = 3 * float(prod(lengths)) ** (1 / 3)
        return unit * sizes.pow(4 / 3).sum(1)

    def weights(
        self, first: Float[Tensor, "n R"], second: Float[Tensor, "n R"], lengths: tuple[int, int]
    ) -> Float[Tensor, "n R"]:
        """As :class:`Objective`."""
        return lengths[1] * first + lengths[0] * second

    def damping_limit(self, value: Float[Tensor, " n"], lengths: tuple[int, int, int], rank: Tensor) -> Tensor:
        """Balanced, ``λ w²/Γ_rr = 2λ/q_r`` with ``q_r`` the mean square of the component's entries.

        ``ss = 3 TSD Σ q_r²``.
        """
        return (value / (3 * prod(lengths) * rank)).sqrt() / 2


@dataclass(frozen=True)
class RankOneEnergy:
    """``sn = Σ_r ‖a_r‖²‖b_r‖²‖c_r‖² = Σ_r p_r²``."""

    def value(self, sizes: Float[Tensor, "n R"], lengths: tuple[int, int, int]) -> Float[Tensor, " n"]:  # noqa: ARG002 - as Objective
        """As :class:`Objective`."""
        return sizes.square().sum(1)

    def weights(
        self,
        first: Float[Tensor, "n R"],
        second: Float[Tensor, "n R"],
        lengths: tuple[int, int],  # noqa: ARG002 - as Objective
    ) -> Float[Tensor, "n R"]:
        """As :class:`Objective`."""
        return first * second

    def damping_limit(self, value: Float[Tensor, " n"], lengths: tuple[int, int, int], rank: Tensor) -> Tensor:  # noqa: ARG002 - as Objective
        """``w² = Γ_rr``: one."""
        return torch.ones_like(value)


OBJECTIVES: Mapping[str, Objective] = {"sensitivity": Sensitivity(), "energy": RankOneEnergy()}
"""Name → objective."""


def objective_named(name: str) -> Objective:
    """The objective of this name.

    Raises:
        UnsupportedMethod: there is none.
    """
    if name not in OBJECTIVES:
        raise UnsupportedMethod("there is no such objective", got=repr(name), expected=f"one of {sorted(OBJECTIVES)}")
    return OBJECTIVES[name]


def energies(factor: Float[Tensor, "n I R"]) -> Float[Tensor, "n R"]:
    """``‖a_r‖²`` of every column."""
    return factor.square().sum(1)


def balanced(
    factors: tuple[Float[Tensor, "n T R"], Float[Tensor, "n S R"], Float[Tensor, "n D R"]],
) -> tuple[tuple[Tensor, Tensor, Tensor], Float[Tensor, "n R"]]:
    """The scales of the columns that balance each component, and the components' sizes.

    ``‖a‖² : ‖b‖² : ‖c‖² = T : S : D`` afterwards: every factor entry has the same mean square, which is where ``ss``
    is least (three terms of fixed product). A component with a zero vector becomes zero altogether.
    """
    norms = [torch.linalg.vector_norm(factor, dim=1) for factor in factors]
    sizes = norms[0] * norms[1] * norms[2]
    unit = (sizes / prod(factor.shape[1] for factor in factors) ** 0.5).pow(1 / 3)
    tiny = torch.finfo(sizes.dtype).tiny
    scales = [unit * factor.shape[1] ** 0.5 / norm.clamp_min(tiny) for factor, norm in zip(factors, norms, strict=True)]
    return (scales[0][:, None], scales[1][:, None], scales[2][:, None]), sizes


def instability(out: Float[Tensor, "T R"], inn: Float[Tensor, "S R"], space: Float[Tensor, "D R"]) -> dict[str, float]:
    """Name of the objective → its value for the factors of one kernel, balanced."""
    stack = (out.double()[None], inn.double()[None], space.double()[None])
    _, sizes = balanced(stack)
    lengths = (len(out), len(inn), len(space))
    return {name: float(objective.value(sizes, lengths)) for name, objective in OBJECTIVES.items()}
