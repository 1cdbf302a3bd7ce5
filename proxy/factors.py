"""What a decomposition returns.

Shapes: T output channels, S input channels, D kernel positions (kh·kw), R rank; ``k…`` the kernel's own axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.errors import ShapeMismatch
from proxy.ranks import Ranks, parse_ranks, show_ranks

__all__ = ["Factors"]


@dataclass(frozen=True, eq=False)
class Factors:
    """The factors of one weight, with what their solver has to say about them.

    ============= ==========================================================================================
    method        tensors
    ============= ==========================================================================================
    svd           ``out`` (T, R), ``in`` (R, S)
    spatial_svd   ``out`` (T, kw, R), ``in`` (S, kh, R)
    tucker2       ``out`` (T, R_out), ``core`` (R_out, R_in, D), ``in`` (S, R_in)
    cp3           ``out`` (T, R), ``in`` (S, R), ``space`` (D, R)
    ============= ==========================================================================================

    Args:
        method: name of the decomposition.
        ranks: in the order of the weight.
        weight_shape: shape of the dense weight, ``(T, S, k…)``.
        tensors: see the table.
        relative_error: ``‖Y − Ŷ‖ / ‖Y‖``, 0 for an all-zero weight.
        sensitivity: expected squared change of the tensor per unit variance of noise on every factor entry,
            over ``‖Y‖²`` (:mod:`proxy.sensitivity`); None where it is not defined (matrix methods, Tucker-2).
        rank_one_energy: ``Σ_r ‖a_r‖²‖b_r‖²‖c_r‖² / ‖Y‖²``; far above 1 means degenerate. None as above.
        sweeps: sweeps over all factors; of both phases where there are two.
        converged: the solver stopped because nothing changed any more, not because its sweeps ran out.
        solver: what made them.
    """

    method: str
    ranks: Ranks
    weight_shape: tuple[int, ...]
    tensors: Mapping[str, Tensor]
    relative_error: float
    sensitivity: float | None = None
    rank_one_energy: float | None = None
    sweeps: int = 0
    converged: bool = True
    solver: str = "exact"

    def reconstruct(self) -> Float[Tensor, "T S *k"]:
        """The approximation of the weight, in the weight's shape."""
        t = self.tensors
        if self.method == "svd":
            full = t["out"] @ t["in"]
        elif self.method == "spatial_svd":
            full = torch.einsum("tqr,spr->tspq", t["out"], t["in"])
        elif self.method == "tucker2":
            full = torch.einsum("ta,abd,sb->tsd", t["out"], t["core"], t["in"])
        else:
            full = t["out"] @ khatri_rao(t["in"], t["space"]).mT
        return full.reshape(self.weight_shape)

    @property
    def params(self) -> int:
        """Entries of all factors."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def record(self) -> dict[str, Any]:
        """Everything but the tensors, ready for JSON: what a cache on disk writes next to them."""
        return {
            "method": self.method,
            **show_ranks(self.method, self.ranks),
            "weight_shape": list(self.weight_shape),
            "relative_error": self.relative_error,
            "sensitivity": self.sensitivity,
            "rank_one_energy": self.rank_one_energy,
            "sweeps": self.sweeps,
            "converged": self.converged,
            "solver": self.solver,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Factors:
        """The factors again, from their tensors and :meth:`record`.

        Raises:
            ShapeMismatch: the tensors are not those of the record.
        """
        shape = tuple(record["weight_shape"])
        ranks = parse_ranks(record["method"], record, shape)
        expected = factor_shapes(record["method"], ranks, shape)
        got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if got != expected:
            raise ShapeMismatch(
                "these tensors are not the factors that their record describes",
                got=got,
                expected=expected,
                mend="decompose the weight again",
            )
        told = {name: record[name] for name in _TOLD}
        return cls(method=record["method"], ranks=ranks, weight_shape=shape, tensors=dict(tensors), **told)


_TOLD = ("relative_error", "sensitivity", "rank_one_energy", "sweeps", "converged", "solver")


def factor_shapes(method: str, ranks: Ranks, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Name → shape of the factors of a weight of this shape."""
    out, inn, depth = shape[0], shape[1], prod(shape[2:])
    if method == "svd":
        return {"out": (out, ranks[0]), "in": (ranks[0], inn)}
    if method == "spatial_svd":
        return {"out": (out, shape[3], ranks[0]), "in": (inn, shape[2], ranks[0])}
    if method == "tucker2":
        return {"out": (out, ranks[0]), "core": (*ranks, depth), "in": (inn, ranks[1])}
    return {"out": (out, ranks[0]), "in": (inn, ranks[0]), "space": (depth, ranks[0])}


def khatri_rao(first: Float[Tensor, "I R"], second: Float[Tensor, "J R"]) -> Float[Tensor, "I*J R"]:
    """Column-wise Kronecker product; row ``i·J + j`` is ``first[i] * second[j]``."""
    return (first[:, None, :] * second[None, :, :]).flatten(0, 1)
