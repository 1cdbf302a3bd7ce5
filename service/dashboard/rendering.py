"""Pages from templates. Whatever is put into one is escaped, and what is missing is an error."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from ranksearch.contracts.errors import RankSearchError
from service.access.credentials import Credential
from service.access.whoami import who_is
from service.dashboard import figures
from service.dashboard.headers import PAGE_HEADERS
from service.dashboard.navigation import entries_for
from service.dashboard.static_files import StaticFiles
from service.scheduling.backend import Backend
from service.version import VERSION

__all__ = ["Pages", "Shell", "TheShell"]


class Pages:
    """The templates and the files that go with them; made once by the composition root."""

    def __init__(self) -> None:
        self.statics = StaticFiles()
        self._environment = Environment(
            loader=PackageLoader("service.dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(figures.FILTERS)
        self._environment.globals.update(static=self.statics.url, version=VERSION)

    def render(self, template: str, **context: Any) -> str:  # noqa: ANN401 - what templates show is of any kind
        """The text of a template."""
        return self._environment.get_template(template).render(**context)


class Shell:
    """What surrounds every page: whose session it is, where one can go, what scripts may change something with.

    Args:
        request: that is answered.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._pages: Pages = request.app.state.pages
        self._credential: Credential | None = getattr(request.state, "credential", None)

    def page(self, template: str, **context: Any) -> HTMLResponse:  # noqa: ANN401 - as Pages.render
        """A whole page for somebody who is signed in."""
        backend: Backend = self._request.app.state.backend
        who = None if self._credential is None else who_is(backend.database, self._credential.caller)
        return self._answer(template, 200, who=who, **context)

    def problem(self, problem: RankSearchError, status: int) -> HTMLResponse:
        """A page that says what went wrong. It asks no database: that may be what went wrong."""
        return self._answer("problem.html", status, who=None, problem=problem.to_problem())

    def problem_part(self, problem: RankSearchError, status: int) -> HTMLResponse:
        """The same for a page that is open already, and that asked for a part of itself."""
        text = self._pages.render("problem_part.html", problem=problem.to_problem())
        return HTMLResponse(text, status, headers=PAGE_HEADERS)

    def _answer(self, template: str, status: int, **context: Any) -> HTMLResponse:  # noqa: ANN401 - as Pages.render
        credential, url = self._credential, self._request.url
        caller = None if credential is None else credential.caller
        text = self._pages.render(
            template,
            path=url.path,
            here=url.path + (f"?{url.query}" if url.query else ""),
            base_url=str(self._request.base_url).rstrip("/"),
            entries=entries_for(caller),
            reader=caller,  # Jinja has a caller of its own
            csrf=None if credential is None else credential.csrf,
            **context,
        )
        return HTMLResponse(text, status, headers=PAGE_HEADERS)


async def _shell(request: Request) -> Shell:
    return Shell(request)


TheShell = Annotated[Shell, Depends(_shell)]
"""For the routes of pages."""
