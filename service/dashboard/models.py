"""Models: all of them, and one with its layers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from service.api.access import Reader
from service.api.dependencies import Cursor, TheBackend
from service.dashboard.layer_table import LayerTable
from service.dashboard.rendering import TheShell
from service.dashboard.study_summary import StudySummary
from service.scheduling import answers

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_ROWS = 25
_STUDIES = 10


@router.get("/models")
def models(backend: TheBackend, caller: Reader, shell: TheShell, cursor: Cursor = None) -> HTMLResponse:
    """The newest first, page by page."""
    found = answers.models(backend, caller, cursor, _ROWS, profiles=False)
    return shell.page("models.html", models=found.items, following=found.next, first=cursor is None)


@router.get("/models/{model}")
def model(backend: TheBackend, caller: Reader, shell: TheShell, model: str) -> HTMLResponse:
    """Its layers, what each may be made of, and the studies that search it."""
    found = answers.model(backend, caller, model)
    studies = answers.studies(backend, caller, None, _STUDIES, model=model)
    return shell.page(
        "model.html",
        model=found,
        table=None if found.profile is None else LayerTable(found.profile),
        summaries=[StudySummary(study) for study in studies.items],
        more_studies=studies.next is not None,
    )
