"""Two studies, or two trials of one, beside each other."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse

from ranksearch.contracts.errors import InputError
from ranksearch.contracts.studies import Study
from service.access.principal import Principal
from service.api.access import Reader
from service.api.dependencies import TheBackend
from service.dashboard.comparison import Side, curves_of, pairs_of, side_of_study, side_of_trial
from service.dashboard.rendering import TheShell
from service.scheduling import answers, solutions
from service.scheduling.backend import Backend
from service.scheduling.timelines import history
from service.scheduling.trial_lists import trial

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_OFFERED = 100
_POINTS = 200
_Id = Annotated[str | None, Query(max_length=100)]


@router.get("/compare")
def compare(
    backend: TheBackend, caller: Reader, shell: TheShell, a: _Id = None, b: _Id = None, study: _Id = None
) -> HTMLResponse:
    """Studies by their ids, or trials of ``study`` by their numbers."""
    of = None if not study else answers.study(backend, caller, study)
    if of is not None and a is None and of.best_trial is not None:
        a = str(of.best_trial)  # to be compared with whatever is chosen
    context: dict[str, Any] = {"of": of, "a": a or "", "b": b or "", "sides": [], "pairs": [], "curves": None}
    if a and b:
        sides = [_trial(backend, caller, of, one) if of else _study(backend, caller, one) for one in (a, b)]
        context |= {"sides": sides, "pairs": pairs_of(*sides)}
        if of is None:
            context["curves"] = curves_of(*(history(backend, caller, one, _POINTS) for one in (a, b)))
    offered = answers.studies(backend, caller, None, _OFFERED).items
    return shell.page("compare.html", offered=offered, same=bool(a) and a == b, **context)


def _study(backend: Backend, caller: Principal, one: str) -> Side:
    found = answers.study(backend, caller, one)
    return side_of_study(found, solutions.best_if_any(backend, caller, one))


def _trial(backend: Backend, caller: Principal, of: Study, one: str) -> Side:
    if not (one.isascii() and one.isdigit() and len(one) < 10):  # noqa: PLR2004 - digits of a number below 2**31
        raise InputError("invalid_request", "this is no number of a trial", got=one, expected="such as 3")
    found = trial(backend, caller, of.id, int(one))
    return side_of_trial(of, found, solutions.layers(backend, caller, of.id, found.ranks or {}))
