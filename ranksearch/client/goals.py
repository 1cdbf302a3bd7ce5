"""What a study is after, from the words that a user has for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ranksearch.client.checks import checked
from ranksearch.client.handle import StudyHandle
from ranksearch.contracts.defaults import DEFAULT_BUDGET, default_objectives
from ranksearch.contracts.goals import Constraints, Objective, SearchImages
from ranksearch.contracts.studies import Study
from ranksearch.contracts.study_requests import StudyRequest

__all__ = ["Budget", "Images", "StudyReference", "constraints", "draft"]

Budget = int | str | Mapping[str, int | float | str] | Constraints
""""40%" or a number of the macs, or bounds by cost word: {"macs": "33%", "params": "50%", "latency_ms": 4.0}."""
StudyReference = str | StudyHandle | Study
"""A study's id, its handle, or the study."""
Images = SearchImages | Mapping[str, int | None]
"""How many images a trial uses: {"calibration": 256, "validation": 1000}; None: all."""

_NOT_YET: Final = {"model": "", "calibration": {"dataset": ""}, "validation": {"dataset": ""}}
_LISTS: Final = ("methods", "keep_dense", "warm_starts")


def draft(  # noqa: D417 - the members are StudyRequest's
    *,
    budget: Budget | None,
    objectives: Objective | Sequence[Objective] | None,
    max_drop: float | None,
    from_studies: Sequence[StudyReference] | None = None,
    **members: Any,  # noqa: ANN401 - the request's members, checked here
) -> StudyRequest:
    """A request from the members that are not None, still without a model and images: checked before an upload.

    Args:
        budget: None: for the best proxy, :data:`~ranksearch.contracts.defaults.DEFAULT_BUDGET`; no bound for every
            other objective.
        objectives: None: the macs alone where ``max_drop`` is given, else the proxy.
        max_drop: how much of the metric may be lost.
        from_studies: what the search learns from.

    Raises:
        InputError: a member is unknown or cannot be used.
    """
    after = default_objectives(max_drop) if objectives is None else listed(objectives)
    if budget is None and after == ["proxy"]:
        budget = DEFAULT_BUDGET
    given = {
        **members,
        **{name: listed(members.get(name)) for name in _LISTS},
        "constraints": None if budget is None else constraints(budget),
        "objectives": after,
        "max_drop": max_drop,
        "from_studies": None if from_studies is None else [_study_id(study) for study in from_studies],
    }
    kept = {name: value for name, value in given.items() if value is not None}
    return checked(lambda: StudyRequest.model_validate({**_NOT_YET, **kept}))


def constraints(budget: Budget) -> Constraints:
    """A budget as upper bounds; a bare bound is one of the macs.

    Raises:
        InputError: it is not a bound.
    """
    if isinstance(budget, Constraints):
        return budget
    bounds = dict(budget) if isinstance(budget, Mapping) else {"macs": budget}
    return checked(lambda: Constraints.model_validate(bounds))


def listed(words: str | Sequence[str] | None) -> list[str] | None:
    """Words as a list; a single one may come without."""
    return None if words is None else [words] if isinstance(words, str) else list(words)


def _study_id(study: StudyReference) -> str:
    return study if isinstance(study, str) else study.id
