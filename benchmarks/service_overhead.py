"""What does the service add to a trial, outside sampling and evaluation?

A worker that evaluates nothing claims and completes the trials of a study over HTTP, as fast as the service lets it.
The time of a claim and of a completion is taken at the worker, the sampling's share of the claim from the answer's
``Server-Timing``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import httpx
import torch
from page import Page, options

import ranksearch
from ranksearch.contracts.jobs import ClaimRequest, InspectTask, Job, TrialOutcome
from ranksearch.contracts.profiles import Cost, GridPoint, ModelProfile, SiteProfile
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.contracts.studies import Seconds, TrialResult
from ranksearch.local import LocalDeployment
from service.version import VERSION

SITES = 20
QUESTION = __doc__.splitlines()[0]


def profile() -> ModelProfile:
    """Twenty layers of a ResNet's sizes, sixteen ranks each."""
    sites = [
        SiteProfile(
            name=f"layer{index}",
            kind="conv2d",
            weight_shape=[64, 64, 3, 3],
            macs=37_748_736,
            params=36_864,
            grids={
                "cp3": [
                    GridPoint(
                        ranks=LayerRanks(method="cp3", rank=10 * step),
                        macs=step * 2_000_000,
                        params=step * 2_000,
                        relative_error=1 / (1 + step),
                    )
                    for step in range(1, 17)
                ]
            },
        )
        for index in range(SITES)
    ]
    dense = Cost(macs=SITES * 37_748_736, params=SITES * 36_864)
    return ModelProfile(
        dense=dense, sites=sites, input_shapes=[[3, 8, 8]], output_shapes=[[10]], solver="none", seconds=0
    )


def main() -> None:
    """Measure and write the page."""
    chosen = options(QUESTION).parse_args()
    trials = 60 if chosen.quick else 300
    with tempfile.TemporaryDirectory() as folder, LocalDeployment(Path(folder) / "data", workers=0) as local:
        claims, samplings, completions, renewals = measure(local, Path(folder), trials)
    added = [c - s + d for c, s, d in zip(claims, samplings, completions, strict=True)]
    page = Page("What the service adds to a trial (SQLite)", QUESTION)
    page.text(
        f"A study of {trials} trials over {SITES} layers of 16 ranks; one worker that evaluates nothing, on the same"
        " machine, over HTTP."
    )
    named = {
        "claim, whole": claims,
        "of that: sampling and projection": samplings,
        "completion": completions,
        "renewal (in parallel to an evaluation)": renewals,
        "**added to a trial: claim + completion − sampling**": added,
    }
    rows = [
        (name, *(f"{1e3 * value:.1f}" for value in (statistics.median(values), _high(values), max(values))))
        for name, values in named.items()
    ]
    page.table(["milliseconds", "median", "95 %", "largest"], rows)
    page.figures = {"trials": trials, "added_ms_median": 1e3 * statistics.median(added)}
    page.text(f"Goal: at most 50 ms (median) added. Seen: {1e3 * statistics.median(added):.1f} ms.")
    page.write("service_overhead", chosen, ["fastapi", "sqlalchemy", "optuna", "uvicorn"])


def measure(local: LocalDeployment, folder: Path, trials: int) -> tuple[list[float], ...]:
    """Seconds of every claim, its sampling, every completion and a renewal of each."""
    seen: list[httpx.Response] = []
    with local.client() as client:
        client._transport._http.event_hooks["response"] = [seen.append]  # noqa: SLF001 - to read Server-Timing
        study = submit(client, folder, trials)
        claims, samplings, completions, renewals = [], [], [], []
        while True:
            start = time.perf_counter()
            job = claim(client)
            took = time.perf_counter() - start
            if job is None or job.task.kind == "compress":
                break
            timing = seen[-1].headers.get("Server-Timing", "")
            outcome = TrialOutcome(kind=job.task.kind, result=result(job))
            start = time.perf_counter()
            client.jobs.renew(job.id, job.lease.token)
            renewed = time.perf_counter()
            client.jobs.complete(job.id, job.lease.token, outcome)
            if job.task.kind == "trial":
                claims.append(took)
                samplings.append(sampling_seconds(timing))
                renewals.append(renewed - start)
                completions.append(time.perf_counter() - renewed)
        assert client.studies.get(study).progress.complete == trials  # noqa: S101 - a benchmark of something else
    return claims, samplings, completions, renewals


def sampling_seconds(timing: str) -> float:
    """``sampling;dur=12.5`` → 0.0125."""
    parts = dict(part.strip().split(";dur=") for part in timing.split(",") if ";dur=" in part)
    return float(parts["sampling"]) / 1e3


def submit(client: ranksearch.Client, folder: Path, trials: int) -> str:
    """A study of a model that only its profile knows as a large one; its id."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 10)).eval()
    ranksearch.pack(net, (torch.zeros(2, 3, 8, 8),), folder / "model.safetensors")
    images = torch.zeros(64, 8, 8, 3, dtype=torch.uint8)
    ranksearch.pack_data(
        images, torch.arange(64) % 10, folder / "data.safetensors", mean=(0.5,) * 3, std=(1.0,) * 3, layout="NHWC"
    )
    model = client.models.upload(folder / "model.safetensors").id
    job = claim(client)
    assert job is not None and isinstance(job.task, InspectTask)  # noqa: S101, PT018 - nothing else is queued
    from ranksearch.contracts.jobs import InspectOutcome  # noqa: PLC0415 - used once

    client.jobs.complete(job.id, job.lease.token, InspectOutcome(profile=profile()))
    return client.submit(model, folder / "data.safetensors", budget="33%", n_trials=trials).id


def claim(client: ranksearch.Client) -> Job | None:
    """As a worker would."""
    return client.jobs.claim(ClaimRequest(worker="wrk_bench", name="bench", device="none", version=VERSION))


def result(job: Job) -> TrialResult:
    """A value that depends on the trial, made up without an evaluation."""
    value = 0.5 + (hash(job.id) % 1000) / 2500
    return TrialResult(
        value=value, accuracy=value, images=32, cost=Cost(macs=1, params=1), seconds=Seconds(), device="none"
    )


def _high(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


if __name__ == "__main__":
    main()
