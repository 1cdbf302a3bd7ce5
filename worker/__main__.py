"""``python -m worker``, which ``ranksearch worker`` becomes: the composition root of the agent."""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import secrets
import signal
import socket
import sys
from pathlib import Path

from ranksearch.client import Client
from ranksearch.contracts.errors import RankSearchError
from ranksearch.contracts.jobs import ClaimRequest
from ranksearch.contracts.resources import SandboxMeasure
from worker.agent import Agent
from worker.evaluator import EvaluationFailed, Evaluator
from worker.sandbox import add_sandbox_arguments, hide_from_others, sandbox_options

__all__ = ["main"]

_WAIT_SECONDS = 10.0


def main(argv: list[str] | None = None) -> int:
    """Work until SIGTERM or Ctrl-C; the exit status."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each claim says nothing
    try:
        with Client(options.url, os.environ.get("RANKSEARCH_TOKEN") or None) as client:
            return _work(client, options)
    except RankSearchError as error:
        print(f"worker: {error}", file=sys.stderr)  # noqa: T201 - what a person who started it reads
        return 1


def _work(client: Client, options: argparse.Namespace) -> int:
    device = options.device or _best_device()
    hide_from_others()  # the token is in this process's environment and memory
    evaluator = Evaluator(
        device=device,
        cache_dir=options.cache_dir / "factors",
        reads=[options.cache_dir / "blobs"],
        threads=options.threads,
        time_limit=options.time_limit,
        sandbox=sandbox_options(options),
    )
    claim = ClaimRequest(
        worker=f"wrk_{secrets.token_hex(8)}",
        name=options.name,
        device=device,
        version=importlib.metadata.version("ranksearch"),
        wait_seconds=_WAIT_SECONDS,
        sandbox=_confinement(evaluator),
    )
    agent = Agent(client.jobs, client.blobs, evaluator, claim, options.cache_dir)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: agent.stop())
    logging.getLogger("worker").info("worker %s on %s serves %s", options.name, device, client.url)
    agent.run()
    return 0


def _confinement(evaluator: Evaluator) -> list[SandboxMeasure]:
    """What confines evaluations here, which is also said in the log.

    Raises:
        RankSearchError: the evaluating process did not start, or is not confined as is required.
    """
    log = logging.getLogger("worker")
    try:
        measures = evaluator.confinement()
    except EvaluationFailed as failed:
        raise failed.error from None
    for measure in measures:
        if not measure.in_force:
            log.warning("sandbox: %s is not in force: %s", measure.name, measure.reason)
    log.info("sandbox: %d of %d measures in force", sum(measure.in_force for measure in measures), len(measures))
    return measures


def _best_device() -> str:
    import torch  # noqa: PLC0415 - seconds that --help and --device need not wait for

    return "cuda" if torch.cuda.is_available() else "cpu"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ranksearch worker",
        description="Serve evaluations to a ranksearch service. The token comes from RANKSEARCH_TOKEN; without one,"
        " and without --url, from the local service of `ranksearch up`.",
    )
    parser.add_argument("--url", help="of the service")
    parser.add_argument("--name", default=socket.gethostname(), help="shown to users (default: the host's name)")
    parser.add_argument("--device", help="torch device (default: cuda where there is one, else cpu)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of an evaluation (default: torch's own)")
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ranksearch",
        help="blobs and factors are kept here (default: %(default)s)",
    )
    parser.add_argument(
        "--time-limit", type=float, default=3600.0, help="seconds one evaluation may take (default: %(default)g)"
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    add_sandbox_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
