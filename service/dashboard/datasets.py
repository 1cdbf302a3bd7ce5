"""Data sets: all of them, and one with some of its images."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse

from service.api.access import Reader
from service.api.dependencies import Cursor, TheBackend
from service.dashboard.rendering import TheShell
from service.dashboard.study_summary import StudySummary
from service.scheduling import answers, dataset_images

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_ROWS = 25
_IMAGES = 24
_STUDIES = 10


@router.get("/datasets")
def datasets(backend: TheBackend, caller: Reader, shell: TheShell, cursor: Cursor = None) -> HTMLResponse:
    """The newest first, page by page."""
    found = answers.datasets(backend, caller, cursor, _ROWS)
    return shell.page("datasets.html", datasets=found.items, following=found.next, first=cursor is None)


@router.get("/datasets/{dataset}")
def dataset(
    backend: TheBackend,
    caller: Reader,
    shell: TheShell,
    dataset: str,
    start: Annotated[int, Query(ge=0, lt=2**62)] = 0,
) -> HTMLResponse:
    """What its images look like, and the studies that use them."""
    found = answers.dataset(backend, caller, dataset)
    studies = answers.studies(backend, caller, None, _STUDIES, dataset=dataset)
    return shell.page(
        "dataset.html",
        dataset=found,
        shown=dataset_images.pictured(found.summary),
        samples=dataset_images.samples(backend, caller, dataset, start, _IMAGES).items,
        start=start,
        step=_IMAGES,
        summaries=[StudySummary(study) for study in studies.items],
        more_studies=studies.next is not None,
    )
