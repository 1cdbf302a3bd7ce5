"""The independent table, of which greedy starts come: how far each layer alone, at each rank, moves the outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ranksearch.contracts.errors import InputError
from ranksearch.contracts.jobs import SensitivityOutcome
from ranksearch.contracts.ranks import LayerRanks
from service.scheduling.backend import Backend
from service.search.changes import judged
from service.search.space import SearchSpace, Site
from service.storage.tables import StudyRow

__all__ = ["CALIBRATION_IMAGES", "check_table", "choices_of", "judged_space", "pairs_of", "probed"]

CALIBRATION_IMAGES = 256
"""At most. Greedy ranks of 64 were a little worse (ResNet-56 at 20 % of its MACs: a divergence of 0.152, in place of
0.143 and 0.146 with other vectors)."""
_ONCE_PROBED = 4
"""So many positions of its first method, spread evenly, were measured of a site before all of them were."""


def probed(site: Site, count: int | None = None) -> tuple[int, ...]:
    """The positions that a site's part of the table is of, ascending: all but the dense layer, which moves nothing.

    Args:
        site: of the space.
        count: of values in the table; one of an earlier version has up to four.
    """
    everything = tuple(at for at, option in enumerate(site.options) if option.ranks is not None)
    if count is None or count == len(everything):
        return everything
    chain = site.positions[0][:-1]
    count = min(_ONCE_PROBED, len(chain))
    return tuple(chain[step * (len(chain) - 1) // max(1, count - 1)] for step in range(count))


def choices_of(space: SearchSpace) -> dict[str, list[LayerRanks]]:
    """By layer, the ranks at its probed positions."""
    ranks = {site.name: [site.options[at].ranks for at in probed(site)] for site in space.sites}
    return {name: [one for one in some if one is not None] for name, some in ranks.items()}


def judged_space(backend: Backend, study: StudyRow, space: SearchSpace) -> SearchSpace | None:
    """The study's space judged by its table; None where there is none (yet). The same object for the same table."""
    known = backend.judged.known(study.id)
    if known is not None and known[0] is space:
        return known[1]
    pairs = pairs_of(space, study.sensitivity)
    if pairs is None:
        return None
    backend.judged.forget(study.id)
    return backend.judged.of(study.id, lambda: (space, judged(space, pairs)))[1]


def check_table(space: SearchSpace, outcome: SensitivityOutcome) -> None:
    """A table must hold what was asked for.

    Raises:
        InputError: it does not.
    """
    wanted = {site.name: len(probed(site)) for site in space.sites}
    got = {name: len(values) for name, values in outcome.change.items()}
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
    """The stored table as (position, change) pairs by site; None where there is none yet."""
    if table is None:
        return None
    values = [(site, table[site.name]) for site in space.sites]
    return {site.name: list(zip(probed(site, len(some)), some, strict=True)) for site, some in values}
