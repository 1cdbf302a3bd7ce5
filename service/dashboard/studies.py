"""All studies: how far each is, what it has found, and why it does not move where it does not."""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from ranksearch.contracts.studies import StudyState
from service.api.access import Reader
from service.api.dependencies import Cursor, TheBackend
from service.dashboard.rendering import TheShell
from service.dashboard.study_summary import StudySummary
from service.scheduling import answers

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_STATES: tuple[StudyState, ...] = get_args(StudyState)
_ROWS = 25


@router.get("/studies")
def studies(
    backend: TheBackend, caller: Reader, shell: TheShell, cursor: Cursor = None, state: StudyState | None = None
) -> HTMLResponse:
    """The newest first, page by page, of one state where that is asked for."""
    found = answers.studies(backend, caller, cursor, _ROWS, state)
    return shell.page(
        "studies.html",
        summaries=[StudySummary(study) for study in found.items],
        following=found.next,
        state=state,
        states=_STATES,
        first=cursor is None,
    )
