"""One study: how it goes, what it has found, and every trial of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Path
from starlette.responses import HTMLResponse

from ranksearch.contracts.insights import SensitivityPoint, TrialSort
from ranksearch.contracts.profiles import Latency
from ranksearch.contracts.studies import Study, Trial, TrialState
from service.access.principal import Principal
from service.api.access import Reader
from service.api.dependencies import Cursor, TheBackend, TrialsWanted
from service.dashboard.finetuning import CURVE_BOX, TuningSheet
from service.dashboard.rendering import Shell, TheShell
from service.dashboard.sorting import Sorting
from service.dashboard.study_summary import StudySummary
from service.dashboard.taking_along import as_json, as_python
from service.scheduling import answers, solutions
from service.scheduling.artifacts import artifacts
from service.scheduling.backend import Backend
from service.scheduling.finetunes import finetunes
from service.scheduling.latencies import latencies
from service.scheduling.layer_insights import importance, sensitivity
from service.scheduling.trial_lists import trial, trials

__all__ = ["router"]

router = APIRouter(prefix="/studies/{study}", include_in_schema=False)

_ROWS = 50
_POINTS = 4
"""Of each layer alone; the chart has all."""
_SORTS: tuple[TrialSort, ...] = get_args(TrialSort)
_STATES: tuple[TrialState, ...] = get_args(TrialState)

Tab = Literal["overview", "trials", "layers", "finetuning", "latency"]
Number = Annotated[int, Path(ge=0, lt=2**31)]


@router.get("")
def overview(backend: TheBackend, caller: Reader, shell: TheShell, study: str) -> HTMLResponse:
    """How it goes and what it has found; the charts are drawn from the API's own columns."""
    return _study_page(backend, caller, shell, study, "study.html", tab="overview", **_found(backend, caller, study))


@router.get("/summary")
def summary(backend: TheBackend, caller: Reader, shell: TheShell, study: str, tab: Tab = "overview") -> HTMLResponse:
    """The part of its pages that changes with every trial: small, as it is asked for once a second."""
    return _study_page(backend, caller, shell, study, "study_summary.html", tab=tab)


@router.get("/best")
def best(backend: TheBackend, caller: Reader, shell: TheShell, study: str) -> HTMLResponse:
    """The part with the best ranks, to take along; of a front its trials."""
    found = _found(backend, caller, study)
    template = "study_best.html" if found["front"] is None else "study_front.html"
    return _study_page(backend, caller, shell, study, template, tab="overview", **found)


@router.get("/trials")
def trial_table(
    backend: TheBackend, caller: Reader, shell: TheShell, study: str, wanted: TrialsWanted, cursor: Cursor = None
) -> HTMLResponse:
    """Its trials as a table, sorted and filtered by the service."""
    found = trials(backend, caller, study, cursor, _ROWS, wanted)
    others = {"state": wanted.state, "origin": wanted.origin}
    path = f"/studies/{study}/trials"
    sorting: Sorting[Trial] = Sorting(path, dict.fromkeys(_SORTS, _number), wanted.sort, wanted.order, others)
    return _study_page(
        backend,
        caller,
        shell,
        study,
        "study_trials.html",
        tab="trials",
        trials=found.items,
        following=found.next,
        first=cursor is None,
        wanted=wanted,
        sorting=sorting,
        states=_STATES,
    )


@router.get("/trials/{number}")
def one_trial(backend: TheBackend, caller: Reader, shell: TheShell, study: str, number: Number) -> HTMLResponse:
    """One of them: its ranks, what they cost, and what came of them."""
    found = trial(backend, caller, study, number)
    became = solutions.layers(backend, caller, study, found.ranks or {})
    return _study_page(backend, caller, shell, study, "study_trial.html", tab="trials", trial=found, layers=became)


@router.get("/layers")
def layers(backend: TheBackend, caller: Reader, shell: TheShell, study: str) -> HTMLResponse:
    """What every layer became in the best trial, and what is known of its importance: the charts in numbers."""
    weighed = importance(backend, caller, study)
    probed = sensitivity(backend, caller, study)
    return _study_page(
        backend,
        caller,
        shell,
        study,
        "study_layers.html",
        tab="layers",
        best=solutions.best_if_any(backend, caller, study),
        importance=weighed,
        worth={layer.name: layer for layer in weighed.layers},
        alone={layer.name: _a_few(layer.points) for layer in probed.layers},
        alone_by=probed.measure,
    )


@router.get("/finetuning")
def finetuning(backend: TheBackend, caller: Reader, shell: TheShell, study: str) -> HTMLResponse:
    """Its trials that are fine-tuned: how far, and what came of it."""
    found = finetunes(backend, caller, study).items
    sheet = TuningSheet(found, answers.study(backend, caller, study).tuning)
    return _study_page(
        backend, caller, shell, study, "study_finetuning.html", tab="finetuning", sheet=sheet, box=CURVE_BOX
    )


@router.get("/latency")
def latency(backend: TheBackend, caller: Reader, shell: TheShell, study: str) -> HTMLResponse:
    """How fast the networks of its trials are beside the dense one, where that was asked for."""
    found = latencies(backend, caller, study).items
    return _study_page(backend, caller, shell, study, "study_latency.html", tab="latency", latencies=found)


def _a_few(points: Sequence[SensitivityPoint]) -> list[SensitivityPoint]:
    """At most so many as a line of a table has room for, spread evenly, its ends among them."""
    count = min(_POINTS, len(points))
    return [points[step * (len(points) - 1) // max(1, count - 1)] for step in range(count)]


def _found(backend: Backend, caller: Principal, study: str) -> dict[str, Any]:
    """What it has found so far: the best trial, or a front where that is what it is after."""
    asked = answers.study(backend, caller, study).request
    if len(asked.objectives) > 1:
        return {"best": None, "front": solutions.pareto(backend, caller, study)}
    return {"best": solutions.best_if_any(backend, caller, study), "front": None}


def _latency(backend: Backend, caller: Principal, study: Study) -> Latency | None:
    """Of the best trial, where it is measured."""
    if study.best_trial is None or not study.request.measures_latency:
        return None
    found = trial(backend, caller, study.id, study.best_trial)
    result = found.final or found.result
    return None if result is None else result.latency


def _study_page(
    backend: Backend,
    caller: Principal,
    shell: Shell,
    study: str,
    template: str,
    *,
    tab: Tab,
    **context: Any,  # noqa: ANN401 - as Shell.page
) -> HTMLResponse:
    """A page, or a part of one, with what all of them say of the study."""
    found = StudySummary(answers.study(backend, caller, study))
    files = artifacts(backend, caller, study).items
    requested = (*files, *context.get("latencies", ()))
    settled = found.ended and all(one.state != "pending" for one in requested)
    events = None if settled else f"/v1/studies/{study}/events?after={found.study.last_event}"
    return shell.page(
        template,
        tab=tab,
        summary=found,
        files=files,
        latency=_latency(backend, caller, found.study),
        events=events,
        as_json=as_json,
        as_python=as_python,
        **context,
    )


def _number(one: Trial) -> int:
    return one.number
