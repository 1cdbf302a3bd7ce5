"""All workers: what they are, what they do, how busy they were, and what confines their evaluations."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from ranksearch.contracts.resources import Worker
from service.api.access import Reader
from service.api.dependencies import TheBackend
from service.dashboard.rendering import TheShell
from service.dashboard.sorting import Descending, SortBy, Sorting
from service.scheduling import answers

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_STATES = ("busy", "idle", "draining", "away")
_KEYS = {
    "state": lambda worker: (_STATES.index(worker.state), worker.name),
    "name": lambda worker: worker.name.lower(),
    "device": lambda worker: worker.device.lower(),
    "busy": lambda worker: worker.busy_share,
    "seen": lambda worker: worker.last_seen_at,
}


@router.get("/workers")
def workers(
    backend: TheBackend, caller: Reader, shell: TheShell, sort: SortBy = None, order: Descending = "asc"
) -> HTMLResponse:
    """Those that work first."""
    found = answers.workers(backend, caller).items
    sorting: Sorting[Worker] = Sorting("/workers", _KEYS, sort, order)
    return shell.page(
        "workers.html",
        workers=sorting.sorted(found),
        sorting=sorting,
        counts={state: sum(worker.state == state for worker in found) for state in _STATES},
        may_drain=caller.may("admin"),
    )
