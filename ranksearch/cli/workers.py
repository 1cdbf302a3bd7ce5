"""``ranksearch workers``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from ranksearch.cli.options import Json, Token, Url, connect
from ranksearch.client import Client
from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.resources import Worker
from ranksearch.terminal.output import say, show, show_json
from ranksearch.terminal.tables import workers_table

__all__ = ["app"]

app = typer.Typer(help="List the workers and what they do, or drain one.")

WorkerArgument = Annotated[
    str, typer.Argument(metavar="WORKER", help="Its id or name; of a machine with several devices, the machine's name.")
]


@app.callback(invoke_without_command=True)
def workers(context: typer.Context, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """List the workers and what they do, or drain one."""
    if context.invoked_subcommand is not None:
        return
    with connect(url, token) as client:
        found = list(client.workers.list())
    if json:
        show_json(found)
    elif found:
        show(workers_table(found))
    else:
        say("no workers: start one with ranksearch worker")


@app.command()
def drain(worker: WorkerArgument, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Have a worker finish what it does and take no more jobs, such as before its machine is updated."""
    with connect(url, token) as client:
        _each(client, worker, client.workers.drain, json=json)


@app.command()
def undrain(worker: WorkerArgument, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Let a drained worker take jobs again."""
    with connect(url, token) as client:
        _each(client, worker, client.workers.undrain, json=json)


def _each(client: Client, reference: str, change: Callable[[str], None], *, json: bool) -> None:
    """Change the workers that are meant, and show what became of them."""
    meant = {worker.id for worker in _meant(list(client.workers.list()), reference)}
    for worker in meant:
        change(worker)
    changed = [worker for worker in client.workers.list() if worker.id in meant]
    if json:
        show_json(changed)
    else:
        show(workers_table(changed))


def _meant(workers: list[Worker], reference: str) -> list[Worker]:
    """The worker with this id; else those of this name that are there, or of the machine of this name.

    Raises:
        NotFoundError: there is none.
    """
    found = [worker for worker in workers if worker.id == reference] or [
        worker
        for worker in workers
        if worker.state != "away" and (worker.name == reference or worker.name.startswith(f"{reference}#"))
    ]
    if not found:
        raise NotFoundError(
            "worker_not_found", "there is no such worker", got=reference, mend="list them with: ranksearch workers"
        )
    return found
