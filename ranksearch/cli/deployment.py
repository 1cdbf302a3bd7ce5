"""``up``, ``worker`` and ``demo``: what runs on this machine."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer

from ranksearch.cli.options import Json
from ranksearch.client.address import TOKEN_VARIABLE, data_directory
from ranksearch.local import LocalDeployment, check_worker, module_environment
from ranksearch.terminal.output import say, show, show_json

__all__ = ["WORKER_SETTINGS", "demo", "up", "worker"]

WORKER_SETTINGS: Final[dict[str, Any]] = {
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True},
    "add_help_option": False,
}


def up(
    *,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="State, blobs and logs; else RANKSEARCH_HOME, else .ranksearch here."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="How many on this machine.", min=0)] = 1,
    host: Annotated[str, typer.Option("--host", help="To listen on; 0.0.0.0 lets others in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="To listen on; 0: a free one.", min=0, max=65535)] = 8765,
    device: Annotated[str | None, typer.Option("--device", help="The workers' torch device.")] = None,
    json: Json = False,
) -> None:
    """Run the service and its workers on this machine until Ctrl-C. State stays for the next time."""
    deployment = LocalDeployment(data_dir or data_directory(), workers=workers, host=host, port=port, device=device)
    with _terminable(), deployment:
        with contextlib.suppress(KeyboardInterrupt):  # the way to stop it, from the moment that it is announced
            if json:
                show_json(
                    {
                        "url": deployment.url,
                        "data_dir": str(deployment.data_dir),
                        "service_pid": deployment.service.pid if deployment.service else None,
                        "worker_pids": [child.pid for child in deployment.workers],
                    }
                )
                sys.stdout.flush()
            else:
                show(f"{deployment.url} with {workers} worker(s); state, token and logs in {deployment.data_dir}")
                show(f"dashboard: {deployment.url} in a browser, with the token in {deployment.data_dir / 'token'}")
                show("submit from this directory: ranksearch submit MODEL DATA      stop: Ctrl-C")
            deployment.supervise(say)
        say("stopping")


def worker(context: typer.Context) -> None:
    """Serve evaluations to a service from this machine; its options: ranksearch worker --help."""
    check_worker()
    arguments = _token_to_environment(list(context.args))
    sys.stdout.flush()
    os.execve(  # noqa: S606 - this process becomes the worker, with its signals and exit status
        sys.executable, [sys.executable, "-m", "worker", *arguments], module_environment()
    )


def demo(
    *,
    trials: Annotated[int, typer.Option("--trials", help="Rank vectors to try.", min=1)] = 40,
    macs: Annotated[str, typer.Option("--macs", help="The budget.")] = "40%",
    seed: Annotated[int, typer.Option("--seed", help="Of the training and of the search.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave service and worker running until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Train a small network, search its ranks with a service and a worker of its own, and show what came out."""
    with _terminable(), contextlib.redirect_stdout(sys.stderr if json else sys.stdout):
        # imported by name: it imports torch, which the other commands must not even by a detour
        answer = importlib.import_module("ranksearch.demo").run(trials=trials, budget=macs, seed=seed, keep=keep)
    if json:
        show_json(answer)


def _token_to_environment(arguments: list[str]) -> list[str]:
    """The arguments without ``--token``, which goes where other users of the machine do not see it."""
    left: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--token":
            os.environ[TOKEN_VARIABLE] = next(words, "")
        elif word.startswith("--token="):
            os.environ[TOKEN_VARIABLE] = word.removeprefix("--token=")
        else:
            left.append(word)
    return left


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and a closed terminal interrupt like Ctrl-C, so that children are stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
