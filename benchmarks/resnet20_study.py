"""What does a study through the whole service find for a real network, ResNet-20 on CIFAR-10, at half its MACs?

Everything goes over REST: documents uploaded, a worker's inspection, a study, the compressed network pulled back.
Calibration on training images, search on ``test[:2000]``, the report on ``test[5000:]``, which the search never saw.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from page import Page, options, shared_data
from torch import nn

import proxy
import ranksearch
from ranksearch.contracts.studies import Trial
from ranksearch.contracts.study_requests import DataSlice
from ranksearch.local import LocalDeployment

QUESTION = __doc__.splitlines()[0]
CALIBRATION, VALIDATION, REPORT = slice(0, 512), slice(0, 2000), slice(5000, 10000)


def main() -> None:
    """Run the study and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    parser.add_argument("--budget", default="50%")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    trials = 10 if chosen.quick else chosen.trials
    sys.path.insert(0, str(chosen.data))
    import cifar  # noqa: PLC0415 - lies in the folder that the user named

    dense = cifar.resnet(20)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_documents(cifar, dense, work)
        with LocalDeployment(work / "data", workers=1) as local, local.client() as client:
            start = time.perf_counter()
            model = client.models.wait(client.models.upload(work / "model.safetensors").id)
            inspected = time.perf_counter()
            study = client.submit(
                model,
                calibration=work / "calibration.safetensors",
                validation=client_slice(client, work / "test.safetensors"),
                budget=chosen.budget,
                n_trials=trials,
                seed=chosen.seed,
                keep_dense=["conv1", "linear"],
            )
            study.wait(progress=True)
            searched = time.perf_counter()
            found = list(client.studies.trials(study.id))
            best = study.best()
            pulled = ranksearch.load(study.pull(work / "small.safetensors"))
        reports = report(cifar, work, dense, pulled, found)
    page = Page(f"ResNet-20 at {chosen.budget} of its MACs, through the service", QUESTION)
    page.text(
        "The images are JPEG versions of CIFAR-10's, so the figures are not those of plain CIFAR-10. No fine-tuning."
        " Refitted on 512 training images without their labels (the trials on 256); chosen by the divergence from the"
        " dense network; first convolution and classifier left dense. Warm starts as their trials saw them, on 1,000"
        " of the images searched on."
    )
    values = {t.origin: t.result.accuracy for t in found if t.origin != "sampler" and t.result}
    dense_accuracy = None if best.dense_result is None else best.dense_result.accuracy
    rows = [
        ("dense", percent(dense_accuracy), percent(reports["dense"])),
        ("uniform share of MACs (trial 0)", percent(values["uniform"]), percent(reports["uniform"])),
        ("equal relative error (trial 1)", percent(values["equal_error"]), percent(reports["equal_error"])),
        (f"**best found (trial {best.trial})**", percent(best.result.accuracy), percent(reports["pulled"])),
    ]
    page.table(["ranks", "test[:2000], searched on", "test[5000:], report"], rows)
    seconds = sorted(trial.result.seconds.total for trial in found if trial.result)
    page.text(
        f"{best.macs.compressed:,} of {best.macs.dense:,} MACs ({best.macs.fraction:.1%}),"
        f" {best.params.compressed:,} of {best.params.dense:,} parameters."
        f" {len(found)} trials; inspection {inspected - start:.0f} s, search {searched - inspected:.0f} s,"
        f" a trial {seconds[len(seconds) // 2]:.2f} s (median)."
    )
    page.figures = {
        "budget": chosen.budget,
        "trials": len(found),
        "seconds": {"inspection": inspected - start, "search": searched - inspected},
        "validation": {"dense": dense_accuracy, **values, "best": best.result.accuracy},
        "report": reports,
        "kl": [trial.value for trial in found],
    }
    page.write("resnet20_study", chosen, ["torch", "optuna", "fastapi"])


def write_documents(cifar: Any, dense: nn.Module, work: Path) -> None:  # noqa: ANN401 - a module from a data folder
    """The model, the calibration images and the test images."""
    ranksearch.pack(dense, (torch.zeros(2, 3, 32, 32),), work / "model.safetensors")
    for name, split, part in (("calibration", "train", CALIBRATION), ("test", "test", VALIDATION)):
        images, labels = cifar.images(split, part.stop)
        ranksearch.pack_data(
            torch.from_numpy(images),
            labels,
            work / f"{name}.safetensors",
            mean=cifar.MEAN,
            std=cifar.STD,
            layout="NHWC",
        )


def client_slice(client: ranksearch.Client, path: Path) -> DataSlice:
    """The validation images as a slice of an uploaded data set."""
    return DataSlice(dataset=client.datasets.upload(path).id, start=VALIDATION.start, stop=VALIDATION.stop)


def report(
    cifar: Any,  # noqa: ANN401 - a module from a data folder
    work: Path,
    dense: nn.Module,
    pulled: nn.Module,
    trials: list[Trial],
) -> dict[str, float]:
    """Accuracy on images that took no part in the search."""
    images, labels = cifar.images("test", REPORT.stop)
    images, labels = cifar.preprocess(images[REPORT]), labels[REPORT]
    batches = list(zip(images.split(500), labels.split(500), strict=True))
    calibration = ranksearch.load_data(work / "calibration.safetensors").images(0, CALIBRATION.stop).split(256)
    networks = {"dense": dense, "pulled": pulled}
    for trial in trials:
        if trial.origin != "sampler" and trial.ranks is not None and trial.origin is not None:
            ranks = {name: choice.model_dump(by_alias=True, exclude_none=True) for name, choice in trial.ranks.items()}
            small = proxy.compress(dense, ranks)
            proxy.calibrate(small, calibration, reference=dense, level="reconstruction")
            networks[trial.origin] = small
    return {name: proxy.score(network, batches).value for name, network in networks.items()}


def percent(value: float | None) -> str:
    """0.8771 → "87.7 %"."""
    return "–" if value is None else f"{100 * value:.1f} %"


if __name__ == "__main__":
    main()
