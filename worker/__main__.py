"""``python -m worker``, which ``ranksearch worker`` becomes: the composition root of the agents."""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from pydantic import ValidationError

from ranksearch.client import Client
from ranksearch.contracts.errors import InputError, RankSearchError
from ranksearch.contracts.jobs import ClaimRequest
from ranksearch.contracts.loglines import log_lines
from ranksearch.contracts.refusals import reason
from ranksearch.contracts.resources import SandboxMeasure
from worker import doctor
from worker.agent import Agent
from worker.blob_cache import BlobCache
from worker.crew import Crew
from worker.devices import Device, find_devices
from worker.evaluator import EvaluationFailed, Evaluator
from worker.factor_exchange import FactorExchange
from worker.options import labels_of, parse, token_of
from worker.sandbox import hide_from_others, sandbox_options
from worker.trimming import trim

__all__ = ["main"]

log = logging.getLogger("worker")

_WAIT_SECONDS = 10.0
_TRIM_SECONDS = 60.0
_STOPPED_AT_ONCE = 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Work until SIGTERM or Ctrl-C, or until drained; the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] == "doctor":
        return doctor.main(words[1:])
    options = parse(arguments)
    log_lines(options.log_level, options.log_format)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each claim says nothing
    try:
        with Client(options.url, token_of(options)) as client:
            _work(client, options)
    except RankSearchError as error:
        print(f"worker: {error}", file=sys.stderr)  # noqa: T201 - what a person who started it reads
        return 1
    return 0


def _work(client: Client, options: argparse.Namespace) -> None:
    devices = find_devices(options.devices)
    claims = _claims(options, devices)
    hide_from_others()  # the token is in this process's environment and memory
    cache = BlobCache(options.cache_dir / "blobs", client.blobs, options.cache_size)
    factors = options.cache_dir / "factors"
    exchange = FactorExchange(client.factors, factors)
    threads = options.threads or ((os.cpu_count() or 1) // len(devices) or 1 if len(devices) > 1 else 0)
    evaluators = [
        Evaluator(
            device=claim.device,
            cache_dir=factors,
            reads=[options.cache_dir / "blobs"],
            threads=threads,
            time_limit=options.time_limit,
            sandbox=sandbox_options(options),
            fetch=exchange.fetch,
        )
        for claim in claims
    ]
    with ExitStack() as running:
        for evaluator in evaluators:
            running.callback(evaluator.stop)
        crew = Crew(
            [
                Agent(
                    client.jobs,
                    client.blobs,
                    cache,
                    evaluator,
                    claim.model_copy(update={"sandbox": _confinement(claim.name, evaluator)}),
                    exit_when_drained=options.exit_when_drained,
                    share=exchange.offer,
                )
                for claim, evaluator in zip(claims, evaluators, strict=True)
            ]
        )
        _end_on_signals(crew)
        threading.Thread(
            target=_keep_within, args=(factors, options.factor_cache_size), name="trim", daemon=True
        ).start()
        for claim in claims:
            log.info("worker %s (%s) on %s serves %s", claim.name, claim.worker, claim.device, client.url)
        crew.run()


def _confinement(name: str, evaluator: Evaluator) -> list[SandboxMeasure]:
    """What confines evaluations here, which is also said in the log.

    Raises:
        RankSearchError: the evaluating process did not start, or is not confined as is required.
    """
    try:
        measures = evaluator.confinement()
    except EvaluationFailed as failed:
        raise failed.error from None
    for measure in measures:
        if not measure.in_force:
            log.warning("%s, sandbox: %s is not in force: %s", name, measure.name, measure.reason)
    log.info("%s, sandbox: %d of %d measures in force", name, sum(m.in_force for m in measures), len(measures))
    return measures


def _claims(options: argparse.Namespace, devices: Sequence[Device]) -> list[ClaimRequest]:
    """Who each device is, as a worker of its own."""
    identity = secrets.token_hex(8)
    alone = len(devices) == 1
    try:
        return [
            ClaimRequest(
                worker=f"wrk_{identity}" if alone else f"wrk_{identity}_{number}",
                name=options.name if alone else f"{options.name}#{number}",
                device=device.name,
                version=importlib.metadata.version("ranksearch"),
                wait_seconds=_WAIT_SECONDS,
                labels=labels_of(options),
                memory_bytes=device.memory_bytes,
            )
            for number, device in enumerate(devices)
        ]
    except ValidationError as error:
        wrong = error.errors()[0]
        raise InputError(
            "invalid_request",
            f"this worker's {wrong['loc'][0]} cannot be used: {reason(wrong)}",
            got=str(wrong["input"]),
        ) from error


def _end_on_signals(crew: Crew) -> None:
    """The first one has the jobs handed back, the second one ends all at once; the children go with their agent."""
    told = threading.Event()

    def end(*_: object) -> None:
        if told.is_set():
            os._exit(_STOPPED_AT_ONCE)
        told.set()
        crew.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _keep_within(directory: Path, limit: int) -> None:
    """Trim the factor cache now and then: its writers are the evaluating children, which are not to wait for it."""
    pause = threading.Event()
    while True:
        trim(directory, limit)
        pause.wait(_TRIM_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
