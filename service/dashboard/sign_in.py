"""Where somebody signs in; the only page that needs nobody to be."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from service.api.sessions import is_local
from service.dashboard.rendering import TheShell

__all__ = ["SIGN_IN_PATH", "router"]

SIGN_IN_PATH: Final = "/sign-in"

router = APIRouter(include_in_schema=False)


@router.get(SIGN_IN_PATH)
def sign_in(
    request: Request,
    shell: TheShell,
    following: Annotated[str, Query(alias="next", description="where to go then, in here")] = "/",
) -> HTMLResponse:
    """A form for a token, and a button where the service has single sign-on."""
    return shell.page(
        "sign_in.html",
        following=following if is_local(following) else "/",
        single_sign_on=request.app.state.oidc is not None,
    )
