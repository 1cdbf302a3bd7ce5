"""All pages. A new one: a router of its own here, a template, and a line in :mod:`service.dashboard.navigation`."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.responses import RedirectResponse

from service.api.access import Reader
from service.dashboard import compare, datasets, models, sign_in, static_files, studies, study, submit, tokens, workers
from service.dashboard.rendering import Pages
from service.dashboard.sign_in import SIGN_IN_PATH
from service.dashboard.static_files import STATIC_PREFIX

__all__ = ["OPEN_BELOW", "OPEN_PAGES", "install_dashboard"]

OPEN_PAGES: Final = frozenset({SIGN_IN_PATH})
"""What a browser may see before anybody has signed in;"""
OPEN_BELOW: Final = (STATIC_PREFIX,)
"""and what that consists of."""

_first = APIRouter(include_in_schema=False)


@_first.get("/")
async def first_page(_caller: Reader) -> RedirectResponse:
    """Where somebody arrives who has only the address of the service."""
    return RedirectResponse("/studies", 303)


def install_dashboard(app: FastAPI) -> None:
    """Have ``app`` serve the pages and their files."""
    app.state.pages = Pages()
    pages = (sign_in, studies, study, submit, compare, models, datasets, workers, tokens)
    for router in (_first, static_files.router, *(page.router for page in pages)):
        app.include_router(router)
