"""The commands, and the one place where an error becomes an exit status."""

from __future__ import annotations

import importlib.metadata
import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ranksearch.cli import (
    datasets,
    deletion,
    deployment,
    finetune,
    latency,
    models,
    people,
    steering,
    studies,
    submit,
    upkeep,
    watch,
    workers,
)
from ranksearch.cli.exit_codes import ExitCode, exit_code
from ranksearch.cli.options import MACHINE
from ranksearch.contracts.errors import RankSearchError
from ranksearch.terminal.output import say, show_error

__all__ = ["app", "main"]

_EPILOG = (
    "Exit status: 0 done, 1 the study or the service failed, 2 wrong usage, 3 service unreachable, 4 not found, "
    "5 input that cannot be used (a budget that nobody can meet, too), 6 no access, 7 waited too long, "
    "8 the study is paused, 130 interrupted."
)


class Commands(TyperGroup):
    """Turns this product's errors into messages and exit statuses."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the context class is typer's own, and private
        """Run a command."""
        try:
            return super().invoke(ctx)
        except RankSearchError as error:
            show_error(error, machine=bool(ctx.meta.get(MACHINE)))
            raise typer.Exit(exit_code(error)) from error
        except (BrokenPipeError, ModuleNotFoundError) as error:
            if isinstance(error, BrokenPipeError) or "pip install" not in str(error):
                raise
            say(f"error: {error}")
            raise typer.Exit(ExitCode.FAILED) from error
        except OSError as error:
            say(f"error: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
            raise typer.Exit(ExitCode.FAILED) from error


app = typer.Typer(
    name="ranksearch",
    cls=Commands,
    help="Compress trained CNNs by a joint search of all layers' decomposition ranks.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if asked:
        typer.echo(importlib.metadata.version("ranksearch"))
        raise typer.Exit


@app.callback()
def _ranksearch(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version


app.command("up")(deployment.up)
app.command("demo")(deployment.demo)
app.command("worker", **deployment.WORKER_SETTINGS)(deployment.worker)
app.command("submit", no_args_is_help=True)(submit.submit)  # its many options say more than what lacks
app.command("status")(studies.status)
app.command("watch")(watch.watch)
app.command("best")(studies.best)
app.command("pareto")(studies.pareto)
app.command("finetune")(finetune.finetune)
app.command("latency")(latency.latency)
app.command("pull")(studies.pull)
app.command("pause")(steering.pause)
app.command("resume")(steering.resume)
app.command("retry")(steering.retry)
app.command("cancel")(steering.cancel)
app.command("delete")(deletion.delete)
app.command("doctor")(upkeep.doctor)
app.command("backup")(upkeep.backup)
app.command("restore")(upkeep.restore)
app.command("whoami")(people.whoami)
app.command("audit")(people.audit)
app.add_typer(models.app, name="models")
app.add_typer(datasets.app, name="datasets")
app.add_typer(workers.app, name="workers")
app.add_typer(people.tokens, name="tokens")
app.add_typer(people.users, name="users")
app.add_typer(people.projects, name="projects")
app.command("pack-data")(datasets.pack_data)
app.command("pack-onnx")(models.pack_onnx)


def main() -> None:
    """The entry point ``ranksearch``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what an encoding lacks is a question mark, and no end of the command
    app()
