"""The independent table: how much each layer alone, at a few ranks, moves the network. Greedy starts are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ranksearch.contracts.errors import InputError
from ranksearch.contracts.jobs import SensitivityOutcome
from ranksearch.contracts.ranks import LayerRanks
from service.search.space import SearchSpace, Site

__all__ = ["CALIBRATION_IMAGES", "VALIDATION_IMAGES", "check_table", "choices_of", "pairs_of", "probed"]

CALIBRATION_IMAGES = 128
VALIDATION_IMAGES = 256
"""At most; there are four evaluations for every layer, and their differences are large."""
_PROBES = 4


def probed(site: Site) -> tuple[int, ...]:
    """The positions at which a site is measured alone, ascending: up to four of its first method.

    They are spread evenly over the grid, its ends among them.
    """
    chain = site.positions[0][:-1]  # without the dense layer, which moves nothing
    count = min(_PROBES, len(chain))
    steps = range(count)
    return tuple(chain[step * (len(chain) - 1) // max(1, count - 1)] for step in steps)


def choices_of(space: SearchSpace) -> dict[str, list[LayerRanks]]:
    """By layer, the ranks at its probed positions."""
    ranks = {site.name: [site.options[at].ranks for at in probed(site)] for site in space.sites}
    return {name: [one for one in some if one is not None] for name, some in ranks.items()}


def check_table(space: SearchSpace, outcome: SensitivityOutcome) -> None:
    """A table must hold what was asked for.

    Raises:
        InputError: it does not.
    """
    wanted = {site.name: len(probed(site)) for site in space.sites}
    got = {name: len(values) for name, values in outcome.kl.items()}
    if got != wanted:
        wrong = next(name for name in {**wanted, **got} if wanted.get(name) != got.get(name))
        raise InputError(
            "invalid_request",
            f"the table is not the one that was asked for: {wrong}",
            got=f"{got.get(wrong, 0)} values",
            expected=f"{wanted.get(wrong, 0)} values, one for each of the task's choices",
        )


def pairs_of(
    space: SearchSpace, table: Mapping[str, Sequence[float]] | None
) -> dict[str, list[tuple[int, float]]] | None:
    """The stored table as (position, kl) pairs by site; None where there is none yet."""
    if table is None:
        return None
    return {site.name: list(zip(probed(site), table[site.name], strict=True)) for site in space.sites}
