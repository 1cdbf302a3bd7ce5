"""What a decomposition returns.

Shapes: g groups, T output and S input channels of the whole layer, D kernel positions (kh·kw), R rank of every
group; ``k…`` the kernel's own axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.errors import ShapeMismatch
from proxy.layout import ORDINARY, Layout
from proxy.ranks import Ranks, parse_ranks, show_ranks

__all__ = ["Factors", "energy_shares", "factor_shapes", "joined", "khatri_rao"]


@dataclass(frozen=True, eq=False)
class Factors:
    """The factors of one weight, with what their solver has to say about them.

    ============= ==========================================================================================
    method        tensors
    ============= ==========================================================================================
    svd           ``out`` (T, R), ``in`` (g·R, S/g)
    spatial_svd   ``out`` (T, kw, R), ``in`` (S, kh, R)
    tucker2       ``out`` (T, R_out), ``core`` (g·R_out, R_in, D), ``in`` (S, R_in)
    cp3           ``out`` (T, R), ``in`` (S, R), ``space`` (g·D, R)
    tucker2_cp3   ``out`` (T, R_out), ``core_out`` (g·R_out, R), ``space`` (g·D, R), ``core_in`` (g·R_in, R), ``in``
                  (S, R_in)
    ============= ==========================================================================================

    Every tensor is the groups' tensors one after the other along its first axis; :meth:`by_group` takes them apart.

    Args:
        method: name of the decomposition.
        ranks: of every group, in the order (output, input) whatever the layout.
        weight_shape: shape of the dense layer's weight, in its own layout.
        tensors: see the table.
        relative_error: ``‖Y − Ŷ‖ / ‖Y‖`` of all groups together, 0 for an all-zero weight; of the factors before they
            were rounded to their type. Rounding moves a CP by about ``ε/5 · √(3 sn)``, ε the type's (2⁻⁷ for bfloat16)
            and sn the rank-one energy: the less the more stable it is.
        sensitivity: expected squared change of the tensor per unit variance of noise on every factor entry, of the
            weight scaled to unit norm (``ss / ‖Y‖^{4/3}``, :mod:`proxy.stability`), so that layers compare. None
            where it is not defined (matrix methods, Tucker-2); of a Tucker-2 with a CP core, the CP's.
        rank_one_energy: ``Σ_r ‖a_r‖²‖b_r‖²‖c_r‖² / ‖Y‖²``; far above 1 means degenerate. None as above.
        sweeps: sweeps over all factors; of both phases where there are two.
        converged: the solver stopped because nothing changed any more, not because its sweeps ran out.
        solver: what made them.
        layout: of the dense layer's weight.
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
    layout: Layout = ORDINARY

    def by_group(self) -> dict[str, Tensor]:
        """Name → tensor with the groups in an axis of their own, the first."""
        return {
            name: tensor.reshape(self.layout.groups, -1, *tensor.shape[1:]) for name, tensor in self.tensors.items()
        }

    def reconstruct(self) -> Float[Tensor, "I J *k"]:
        """The approximation of the weight, in the weight's own shape and layout."""
        parts = self.by_group()
        shape = self.layout.kernel_shape(self.weight_shape)
        full = [
            _product(self.method, {name: tensor[group] for name, tensor in parts.items()}).reshape(shape)
            for group in range(self.layout.groups)
        ]
        return self.layout.weight(torch.stack(full)).contiguous()

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
            "groups": self.layout.groups,
            "transposed": self.layout.transposed,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Factors:
        """The factors again, from their tensors and :meth:`record`.

        Raises:
            ShapeMismatch: the tensors are not those of the record.
        """
        layout = Layout(record.get("groups", 1), record.get("transposed", False))  # older records know no other
        shape = tuple(record["weight_shape"])
        kernel_shape = layout.kernel_shape(shape)
        ranks = parse_ranks(record["method"], record, kernel_shape)
        of_a_group = factor_shapes(record["method"], ranks, kernel_shape)
        expected = {name: (layout.groups * first, *rest) for name, (first, *rest) in of_a_group.items()}
        got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if got != expected:
            raise ShapeMismatch(
                "these tensors are not the factors that their record describes",
                got=got,
                expected=expected,
                mend="decompose the weight again",
            )
        told = {name: record[name] for name in _TOLD}
        return cls(record["method"], ranks, shape, dict(tensors), layout=layout, **told)


_TOLD = ("relative_error", "sensitivity", "rank_one_energy", "sweeps", "converged", "solver")


def joined(parts: Sequence[Factors], scales: Sequence[float], weight_shape: tuple[int, ...], layout: Layout) -> Factors:
    """The factors of a layer from those of its groups' kernels, all of one method and the same ranks.

    ``relative_error`` and ``rank_one_energy`` are those of the whole weight: with ``p_j`` the groups' shares of its
    energy, ``error² = Σ_j p_j error_j²`` and ``sn = Σ_j p_j sn_j``. So is ``sensitivity``, with noise on every factor
    entry of every group: ``ss`` grows with the 4/3rd power of a kernel's norm, hence ``ss = Σ_j p_j^{2/3} ss_j``.
    ``sweeps`` are those of the group that took most; converged is a layer whose groups all have.

    Args:
        parts: of the kernels ``(T/g, S/g, k…)``, in the groups' order.
        scales: norms of the kernels.
        weight_shape: of the layer's weight.
        layout: of the layer's weight.
    """
    first = parts[0]
    if layout == ORDINARY:
        return first
    shares = energy_shares(scales)

    def told(name: str, power: float) -> float | None:
        values = [getattr(part, name) for part in parts]
        return None if None in values else sum(p**power * value for p, value in zip(shares, values, strict=True))

    return Factors(
        method=first.method,
        ranks=first.ranks,
        weight_shape=weight_shape,
        tensors={name: torch.cat([part.tensors[name] for part in parts]) for name in first.tensors},
        relative_error=sqrt(sum(p * part.relative_error**2 for p, part in zip(shares, parts, strict=True))),
        sensitivity=told("sensitivity", 2 / 3),
        rank_one_energy=told("rank_one_energy", 1),
        sweeps=max(part.sweeps for part in parts),
        converged=all(part.converged for part in parts),
        solver=max(parts, key=lambda part: part.sweeps).solver,  # all-zero groups ask no solver
        layout=layout,
    )


def energy_shares(scales: Sequence[float]) -> list[float]:
    """Each kernel's share of the energy of all, from their norms; equal shares where all are zero."""
    largest = max(scales)
    if largest == 0:
        return [1 / len(scales) for _ in scales]
    energies = [(scale / largest) ** 2 for scale in scales]  # divided first, so that nothing over- or underflows
    return [energy / sum(energies) for energy in energies]


def _product(method: str, t: Mapping[str, Tensor]) -> Tensor:
    """What one group's factors multiply out to, in the order of the entries of (T/g, S/g, k…)."""
    if method == "svd":
        return t["out"] @ t["in"]
    if method == "spatial_svd":
        return torch.einsum("tqr,spr->tspq", t["out"], t["in"])
    if method == "tucker2":
        return torch.einsum("ta,abd,sb->tsd", t["out"], t["core"], t["in"])
    if method == "tucker2_cp3":
        return (t["out"] @ t["core_out"]) @ khatri_rao(t["in"] @ t["core_in"], t["space"]).mT
    return t["out"] @ khatri_rao(t["in"], t["space"]).mT


def factor_shapes(method: str, ranks: Ranks, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Name → shape of the factors of one group's kernel of this shape."""
    out, inn, depth = shape[0], shape[1], prod(shape[2:])
    if method == "svd":
        return {"out": (out, ranks[0]), "in": (ranks[0], inn)}
    if method == "spatial_svd":
        return {"out": (out, shape[3], ranks[0]), "in": (inn, shape[2], ranks[0])}
    if method == "tucker2":
        return {"out": (out, ranks[0]), "core": (*ranks, depth), "in": (inn, ranks[1])}
    if method == "tucker2_cp3":
        core = {"core_out": (ranks[0], ranks[2]), "space": (depth, ranks[2]), "core_in": (ranks[1], ranks[2])}
        return {"out": (out, ranks[0]), **core, "in": (inn, ranks[1])}
    return {"out": (out, ranks[0]), "in": (inn, ranks[0]), "space": (depth, ranks[0])}


def khatri_rao(first: Float[Tensor, "I R"], second: Float[Tensor, "J R"]) -> Float[Tensor, "I*J R"]:
    """Column-wise Kronecker product; row ``i·J + j`` is ``first[i] * second[j]``."""
    return (first[:, None, :] * second[None, :, :]).flatten(0, 1)
