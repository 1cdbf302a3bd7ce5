"""Rank vectors: what a method's ranks are called, how far they go, and how users write them.

A single rank is written ``{"rank": 48}``, several ``{"ranks": {"out": 32, "in": 24}}``; inside this package ranks
are plain tuples in the order of the weight ``(O, I, k…)``, hence ``(R_out, R_in)``, the rank of a CP core last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

from proxy.errors import RankOutOfRange, UnsupportedMethod

__all__ = ["METHODS", "Ranks", "maximum_ranks", "parse_ranks", "show_ranks"]

Ranks: TypeAlias = tuple[int, ...]

METHODS: Mapping[str, tuple[str, ...]] = {
    "svd": ("rank",),
    "spatial_svd": ("rank",),
    "tucker2": ("out", "in"),
    "cp3": ("rank",),
    "tucker2_cp3": ("out", "in", "cp"),
}
"""Method → the names of its ranks."""


def names_of(method: str) -> tuple[str, ...]:
    """The names of a method's ranks.

    Raises:
        UnsupportedMethod: there is no such method.
    """
    if method not in METHODS:
        raise UnsupportedMethod(
            "there is no such decomposition",
            got=repr(method),
            expected=f"one of {sorted(METHODS)}",
            mend="choose a method from the layer's rank grids",
        )
    return METHODS[method]


def maximum_ranks(method: str, shape: Sequence[int]) -> Ranks:
    """The ranks beyond which nothing can be gained for a weight of this shape ``(T, S, k…)``.

    Matrix methods: the smaller side. Tucker-2: (T, S). CP: every T×S×D tensor has a CP decomposition of rank
    min(TS, TD, SD) (Kolda & Bader 2009, *Tensor Decompositions and Applications*, §3.1). Tucker-2 with a CP core:
    both, the latter for a core of the largest ranks; a smaller core has a lower one (:func:`parse_ranks` checks it).
    """
    out, inn, depth = shape[0], shape[1], prod(shape[2:])
    if method == "svd":
        return (min(out, inn * depth),)
    if method == "spatial_svd":
        return (min(inn * shape[2], out * shape[3]),)
    if method == "tucker2":
        return (min(out, inn * depth), min(inn, out * depth))
    if method == "tucker2_cp3":
        pair = maximum_ranks("tucker2", shape)
        return (*pair, *maximum_ranks("cp3", (*pair, depth)))
    return (min(out * inn, out * depth, inn * depth),)


def parse_ranks(method: str, ranks: object, shape: Sequence[int]) -> Ranks:
    """Ranks as a user may write them → a tuple in the order of the weight, checked against the maximum.

    Args:
        method: name of the decomposition.
        ranks: ``{"rank": r}``, ``{"ranks": {"out": …, "in": …}}``, ``{"ranks": […]}``, an int, or several.
        shape: shape of the weight.

    Raises:
        RankOutOfRange: malformed, below one, or above the mathematical maximum.
        UnsupportedMethod: there is no such method.
    """
    names = names_of(method)
    given = _values(names, ranks)
    limit = maximum_ranks(method, shape)
    if given is None or len(given) != len(names) or not all(_is_int(value) for value in given):
        raise RankOutOfRange(
            f"these are no ranks for {method}",
            got=repr(ranks),
            expected=show_ranks(method, limit),
            mend="give whole numbers under these names",
        )
    if method == "tucker2_cp3" and min(given) > 0:  # the most that a core of these two ranks can use
        limit = (*limit[:2], *maximum_ranks("cp3", (*given[:2], prod(shape[2:]))))
    for name, value, top in zip(names, given, limit, strict=True):
        if not 1 <= value <= top:
            raise RankOutOfRange(
                f"the rank {name!r} of {method} is outside its range for a weight of shape {tuple(shape)}",
                got=value,
                expected=f"1 to {top}",
                mend="choose a rank from the layer's grid, or leave the layer dense",
            )
    return tuple(int(value) for value in given)


def _values(names: tuple[str, ...], ranks: object) -> Sequence[Any] | None:
    """The values written in any of the accepted forms, in order; None where the form is unknown."""
    if isinstance(ranks, Mapping):
        if "ranks" in ranks:
            return _values(names, ranks["ranks"])
        if "rank" in ranks and len(names) == 1:
            return [ranks["rank"]]
        return [ranks[name] for name in names] if set(names) == set(ranks) else None
    if isinstance(ranks, Sequence) and not isinstance(ranks, str):
        return ranks
    return [ranks]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def show_ranks(method: str, ranks: Ranks) -> dict[str, Any]:
    """A rank tuple as users write it, ready for JSON."""
    if len(ranks) == 1:
        return {"rank": ranks[0]}
    return {"ranks": dict(zip(names_of(method), ranks, strict=True))}
