"""How long do 100 trials of ResNet-56 take with one worker, and what does stopping bad trials early save and lose?

Everything goes over REST with the product's defaults, at 33 % of the MACs: one study with the pruner and one without.
The second one's trials are then raced on paper, in their order and on their own measurements: which would have been
stopped, after how many batches, and whether one of them was better than the best that it was compared with.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from page import Page, options, shared_data

import ranksearch
from ranksearch.contracts.goals import Pruner
from ranksearch.contracts.resources import Model
from ranksearch.contracts.studies import Trial
from ranksearch.contracts.study_requests import DataSlice
from ranksearch.local import LocalDeployment
from worker.evaluation.racing import significance

QUESTION = __doc__.splitlines()[0]
GOAL_SECONDS = 360
P_VALUE, FIRST_LOOK = 0.05, 5


def main() -> None:
    """Run both studies and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    parser.add_argument("--budget", default="33%")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--depth", type=int, default=56, choices=(20, 56))
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.depth, chosen.trials = 20, 12
    sys.path.insert(0, str(chosen.data))
    import cifar  # noqa: PLC0415 - lies in the folder that the user named

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_documents(cifar, chosen.depth, work)
        with LocalDeployment(work / "data", workers=1) as local, local.client() as client:
            start = time.perf_counter()
            model = client.models.wait(client.models.upload(work / "model").id)
            inspection = time.perf_counter() - start
            raced = run(client, model, work, chosen, "wilcoxon")
            whole = run(client, model, work, chosen, "none")
    page = Page(f"The time of a search: {chosen.trials} trials of ResNet-{chosen.depth}, one worker", QUESTION)
    write(page, chosen, inspection, raced, whole)
    page.write("search_time", chosen, ["torch", "optuna", "fastapi"])


def write_documents(cifar: Any, depth: int, work: Path) -> None:  # noqa: ANN401 - a module from a data folder
    """The model, 1,024 calibration images of the training set and ``test[:5000]``."""
    ranksearch.pack(cifar.resnet(depth), (torch.zeros(2, 3, 32, 32),), work / "model")
    for name, split, count in (("calibration", "train", 1024), ("validation", "test", 5000)):
        images, labels = cifar.images(split, count)
        ranksearch.pack_data(torch.from_numpy(images), labels, work / name, mean=cifar.MEAN, std=cifar.STD)


def run(client: ranksearch.Client, model: Model, work: Path, chosen: Any, pruner: Pruner) -> dict[str, Any]:  # noqa: ANN401 - argparse's
    """One study; when its trials and its finals had ended, and all trials."""
    slices = {name: DataSlice(dataset=client.datasets.upload(work / name).id) for name in ("calibration", "validation")}
    start = time.perf_counter()
    finalists = None if pruner == "wilcoxon" else 0  # of the other study only the trials are wanted
    study = client.submit(
        model,
        **slices,
        budget=chosen.budget,
        n_trials=chosen.trials,
        pruner=pruner,
        finalists=finalists,
        keep_dense=["conv1", "linear"],
    )
    trials_ended = None
    while (status := study.status()).state in {"queued", "running"}:
        progress = status.progress
        if trials_ended is None and progress.finished == progress.n_trials:
            trials_ended = time.perf_counter() - start
        time.sleep(0.2)
    ended = time.perf_counter() - start
    trials = list(client.studies.trials(study.id))
    return {"trials": trials, "search": trials_ended or ended, "all": ended, "best": study.best()}


def write(page: Page, chosen: Any, inspection: float, raced: dict[str, Any], whole: dict[str, Any]) -> None:  # noqa: ANN401 - argparse's
    """The tables."""
    met = "met" if raced["all"] < GOAL_SECONDS else f"missed by {raced['all'] - GOAL_SECONDS:.0f} s"
    page.text(
        f"Budget {chosen.budget} of the MACs, method cp3 (and svd), reconstruction on 256 images and kl on 1,000 in"
        f" every trial, five finalists with 1,024 and 5,000. Inspection {inspection:.0f} s."
        f" Goal: under {GOAL_SECONDS} s. {met.capitalize()}."
    )
    rows = [row(name, found) for name, found in (("with the pruner", raced), ("without", whole))]
    header = [
        "study",
        "trials, s",
        "with finals (the first alone), s",
        "a whole trial, s",
        "calibration, s",
        "validation, s",
    ]
    page.table([*header, "decomposition, s", "stopped", "best kl", "its accuracy"], rows)
    page.text(
        "Best kl and accuracy: of the first study the chosen finalist's, on 5,000 images; of the second a trial's, on"
        " 1,000, so they do not compare."
    )
    lost = race(whole["trials"])
    per_image = lost["images_saved"] / max(lost["images"], 1)
    page.text(
        f"The trials of the study without the pruner, raced on paper (p < {P_VALUE}, from the {FIRST_LOOK}th batch):"
        f" {lost['stopped']} of {lost['trials']} would have been stopped, saving {per_image:.0%} of all validation"
        f" images; {lost['wrongly']} of them ended better than the trial they were compared with"
        f" (by {lost['worst']:.4f} nats at most). Best without the race {lost['best']:.4f}, with it"
        f" {lost['best_raced']:.4f}."
    )
    page.figures = {
        "inspection": inspection,
        "raced": {"search": raced["search"], "all": raced["all"], "best": raced["best"].value},
        "whole": {"search": whole["search"], "all": whole["all"], "best": whole["best"].value},
        "race": lost,
    }


def row(name: str, found: dict[str, Any]) -> list[str]:
    """Of one study."""
    results = [trial.result for trial in found["trials"] if trial.state == "COMPLETE" and trial.result]
    parts = [statistics.median(getattr(r.seconds, part) for r in results) for part in PARTS]
    stopped = sum(trial.state == "PRUNED" for trial in found["trials"])
    best = found["best"]
    accuracy = "–" if best.result.accuracy is None else f"{best.result.accuracy:.1%}"
    times = [f"{found['search']:.0f}", f"{found['all']:.0f}", *(f"{part:.2f}" for part in parts)]
    return [name, *times, str(stopped), f"{best.value:.4f}", accuracy]


PARTS = ("total", "calibration", "validation", "decomposition")


def race(trials: Sequence[Trial]) -> dict[str, Any]:
    """What the pruner would have done to trials that all ran to their end."""
    best: Trial | None = None
    told: dict[str, Any] = {"trials": 0, "stopped": 0, "wrongly": 0, "worst": 0.0, "images": 0, "images_saved": 0}
    raced = whole = float("inf")
    for trial in trials:
        if trial.result is None or trial.value is None or not trial.result.batch_values:
            continue
        values, images = trial.result.batch_values, trial.result.images
        told["trials"] += 1
        told["images"] += images
        whole = min(whole, trial.value)
        reference = None if best is None or best.result is None else best.result.batch_values
        stopped_after = None if reference is None or trial.origin != "sampler" else stopped(values, reference)
        if stopped_after is not None and best is not None and best.value is not None:
            told["stopped"] += 1
            told["images_saved"] += round(images * (1 - stopped_after / len(values)))
            told["wrongly"] += trial.value < best.value
            told["worst"] = max(told["worst"], best.value - trial.value)
        elif trial.value < raced:
            raced, best = trial.value, trial
    return {**told, "best": whole, "best_raced": raced}


def stopped(values: Sequence[float], best: Sequence[float]) -> int | None:
    """After how many batches the pruner stops a trial; None: never."""
    for seen in range(FIRST_LOOK, len(values)):
        behind = sum(values[:seen]) > sum(best[:seen])
        if behind and significance(values[:seen], best[:seen]) < P_VALUE:
            return seen
    return None


if __name__ == "__main__":
    main()
