"""Studies, their trials and answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from ranksearch.contracts.base import Page
from ranksearch.contracts.feasibility import Feasibility
from ranksearch.contracts.studies import Best, Pareto, PauseRequest, Study, StudyState, Trial
from ranksearch.contracts.study_requests import StudyRequest
from service.api.access import Reader, Submitter
from service.api.dependencies import Cursor, Limit, TheBackend, TrialsWanted
from service.api.problems import PROBLEMS
from service.scheduling import answers, solutions
from service.scheduling.deletion import delete_study
from service.scheduling.feasibility import feasibility
from service.scheduling.lifecycle import cancel
from service.scheduling.pausing import pause, resume
from service.scheduling.retrying import retry
from service.scheduling.submission import submit
from service.scheduling.trial_lists import trial, trials

__all__ = ["router"]

OfDocument = Annotated[str | None, Query(max_length=100, description="its id")]

router = APIRouter(prefix="/v1/studies", tags=["studies"], responses=PROBLEMS)


@router.post("", status_code=202, responses={200: {"model": Study, "description": "the key was used before"}})
def create_study(
    backend: TheBackend,
    caller: Submitter,
    response: Response,
    wanted: StudyRequest,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Study:
    """Ask for a study. 202 and ``Location``; 200 with the same study where the idempotency key was used before."""
    study, created = submit(backend, caller, wanted, idempotency_key)
    response.headers["location"] = f"/v1/studies/{study.id}"
    if not created:
        response.status_code = 200
    return study


@router.post("/feasibility")
def examine_feasibility(
    backend: TheBackend,
    caller: Submitter,
    wanted: StudyRequest,
    allocations: Annotated[bool, Query(description="false: whether, and not what for; that is faster")] = True,  # noqa: FBT002 - a parameter of the address
) -> Feasibility:
    """Whether this could be submitted, the least that it could cost, and what its bounds are good for."""
    return feasibility(backend, caller, wanted, allocations=allocations)


@router.get("")
def list_studies(
    backend: TheBackend,
    caller: Reader,
    cursor: Cursor = None,
    limit: Limit = 50,
    state: StudyState | None = None,
    model: OfDocument = None,
    dataset: OfDocument = None,
) -> Page[Study]:
    """Studies, newest first; of one state, of one model or with images of one data set where that is asked for."""
    return answers.studies(backend, caller, cursor, limit, state, model=model, dataset=dataset)


@router.get("/{study}")
def get_study(backend: TheBackend, caller: Reader, study: str) -> Study:
    """One study; ``waiting_for`` says why nothing moves, when nothing moves."""
    return answers.study(backend, caller, study)


@router.delete("/{study}", status_code=204)
def remove_study(backend: TheBackend, caller: Submitter, study: str) -> None:
    """Delete a study that has ended, with its trials, events, files and reports. 409 ``in_use`` while it is needed."""
    delete_study(backend, caller, study)


@router.post("/{study}/cancel")
def cancel_study(backend: TheBackend, caller: Submitter, study: str) -> Study:
    """Stop a study. What it has found stays."""
    return cancel(backend, caller, study)


@router.post("/{study}/pause")
def pause_study(backend: TheBackend, caller: Submitter, study: str, wanted: PauseRequest | None = None) -> Study:
    """Give out no further trial of a study; what runs is finished. Paused again, it stays paused."""
    return pause(backend, caller, study, None if wanted is None else wanted.reason)


@router.post("/{study}/resume")
def resume_study(backend: TheBackend, caller: Submitter, study: str) -> Study:
    """Go on with a paused study. 409 ``study_not_paused``."""
    return resume(backend, caller, study)


@router.post("/{study}/retry")
def retry_study(backend: TheBackend, caller: Submitter, study: str) -> Study:
    """Do again what failed; a paused study goes on, one that had ended runs again. 409 ``nothing_to_retry``."""
    return retry(backend, caller, study)


@router.get("/{study}/trials")
def list_trials(
    backend: TheBackend,
    caller: Reader,
    study: str,
    wanted: TrialsWanted,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[Trial]:
    """The planned trials, ascending in number unless ``sort`` and ``order`` say otherwise."""
    return trials(backend, caller, study, cursor, limit, wanted)


@router.get("/{study}/trials/{number}")
def get_trial(backend: TheBackend, caller: Reader, study: str, number: Annotated[int, Path(ge=0, lt=2**31)]) -> Trial:
    """One trial."""
    return trial(backend, caller, study, number)


@router.get("/{study}/best")
def get_best(backend: TheBackend, caller: Reader, study: str) -> Best:
    """The best trial so far: its ranks, and what every layer became."""
    return solutions.best(backend, caller, study)


@router.get("/{study}/pareto")
def get_pareto(backend: TheBackend, caller: Reader, study: str) -> Pareto:
    """The trials that no other beats in all objectives, by the first objective, best first."""
    return solutions.pareto(backend, caller, study)
