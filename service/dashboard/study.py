"""One study."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from service.api.access import Reader
from service.api.dependencies import TheBackend
from service.dashboard.rendering import TheShell
from service.dashboard.study_summary import StudySummary
from service.scheduling import answers

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/studies/{study}")
def study(backend: TheBackend, caller: Reader, shell: TheShell, study: str) -> HTMLResponse:
    """How it goes, what it has found, and what can be done with it."""
    summary = StudySummary(answers.study(backend, caller, study))
    files = answers.artifacts(backend, caller, study).items
    settled = summary.ended and all(file.state != "pending" for file in files)
    return shell.page("study.html", summary=summary, files=files, settled=settled)
