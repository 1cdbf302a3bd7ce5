"""What does the whole way come to on ResNet-56: submit, search, fine-tune, pull, and run it without us?

Over REST, with one worker: the best network at a third of the factorised layers' MACs, its best trials fine-tuned, the
one that is best then pulled as a document and as ONNX, and both run in processes that have neither service nor worker.
Calibrated and fine-tuned on training images, searched and chosen on ``test[:5000]``, reported on ``test[5000:]``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from page import Page, options, shared_data
from safetensors.torch import save_file

import ranksearch
from ranksearch.client import Client, StudyHandle
from ranksearch.contracts.data_slices import DataSlice
from ranksearch.contracts.finetuning import FineTune
from ranksearch.contracts.studies import Best
from ranksearch.local import LocalDeployment

QUESTION = __doc__.splitlines()[0]
KEPT_DENSE = ("conv1", "linear")
REPORT = slice(5000, 10_000)

CLEAN = """
import sys
REFUSED = {"service", "worker", "proxy", "fastapi", "optuna", "sqlalchemy", "onnxruntime", "torchvision"}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ImportError(name)
sys.meta_path.insert(0, Finder())
import torch
from safetensors.torch import load_file
import ranksearch
given = load_file(sys.argv[2])
network = ranksearch.load(sys.argv[1])
with torch.no_grad():
    right = sum((network(x).argmax(1) == y).sum() for x, y in zip(given["x"].split(250), given["y"].split(250)))
print(int(right) / len(given["y"]))
"""
ONNX = """
import sys
import onnxruntime
from safetensors.numpy import load_file
given = load_file(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
name, right = session.get_inputs()[0].name, 0
for start in range(0, len(given["y"]), 250):
    (scores,) = session.run(None, {name: given["x"][start : start + 250]})
    right += (scores.argmax(1) == given["y"][start : start + 250]).sum()
print(int(right) / len(given["y"]))
"""


def main() -> None:
    """Go the whole way and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    parser.add_argument("--depth", type=int, default=56, help="of the ResNet (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=100, help="of the search (default: %(default)s)")
    parser.add_argument("--top", type=int, default=2, help="trials that are fine-tuned (default: %(default)s)")
    parser.add_argument("--images", type=int, default=10_000, help="to fine-tune on (default: %(default)s)")
    parser.add_argument("--epochs", type=float, default=2.0, help="of the fine-tuning (default: %(default)s)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.depth, chosen.trials, chosen.images, chosen.epochs = 20, 4, 1000, 1.0
    sys.path.insert(0, str(chosen.data))
    import cifar  # noqa: PLC0415 - lies in the folder that the user named

    with tempfile.TemporaryDirectory() as folder:
        way = Way(cifar, Path(folder), chosen)
        with LocalDeployment(way.work / "data", workers=1) as local, local.client() as client:
            way.go(client)
        _write(way, chosen)


class Way:
    """The way of one network, step by step, with the clock running.

    Args:
        cifar: the module from the data folder.
        work: where documents and files lie.
        chosen: the command line's options.
    """

    def __init__(self, cifar: Any, work: Path, chosen: Any) -> None:  # noqa: ANN401 - a module, and options
        self.work, self._chosen = work, chosen
        self.seconds: dict[str, float] = {}
        self.finetunes: list[FineTune] = []
        self.best: Any = None  # of the study, at the end
        self.reports: dict[str, float] = {}
        self.parity: Any = None
        dense = cifar.resnet(chosen.depth)
        ranksearch.pack(dense, (torch.zeros(2, 3, 32, 32),), work / "model.safetensors")
        for split, count in (("train", max(chosen.images, 1024)), ("test", None)):
            pixels, labels = cifar.images(split, count)
            path = work / f"{split}.safetensors"
            mean, std = cifar.MEAN, cifar.STD
            ranksearch.pack_data(torch.from_numpy(pixels), labels, path, mean=mean, std=std, layout="NHWC")
        report = ranksearch.load_data(work / "test.safetensors")
        labelled = {"x": report.images(REPORT.start, REPORT.stop), "y": report.labels[REPORT]}  # type: ignore[index]  # has labels
        save_file(labelled, work / "report.safetensors")
        self.reports["dense"] = self._run(CLEAN, work / "model.safetensors")

    def go(self, client: Client) -> None:
        """Submit, search, fine-tune, pull."""
        with self._timed("upload and inspection"):
            model = client.models.wait(client.models.upload(self.work / "model.safetensors").id)
            train, test = (client.datasets.upload(self.work / f"{split}.safetensors").id for split in ("train", "test"))
        free = sum(site.macs for site in model.profile.sites if site.name not in KEPT_DENSE)  # type: ignore[union-attr]  # it is inspected
        budget = int(model.profile.dense.macs - free + 0.33 * free)  # type: ignore[union-attr]  # as above
        with self._timed("search"):
            study = client.submit(
                model,
                calibration=DataSlice(dataset=train, stop=1024),
                validation=DataSlice(dataset=test, stop=REPORT.start),
                budget=budget,
                keep_dense=KEPT_DENSE,
                n_trials=self._chosen.trials,
            )
            study.wait(progress=True)
        with self._timed("the best trial's document"):
            study.pull(self.work / "searched.safetensors")
        self._tune(study, DataSlice(dataset=train, stop=self._chosen.images))
        with self._timed("the fine-tuned document, and ONNX"):
            study.pull(self.work / "tuned.safetensors")
            made = study.artifact(format="onnx").wait()
            study.pull(self.work / "tuned.onnx", format="onnx")
        self.best, self.parity = study.best(), made.parity
        self.reports["searched"] = self._run(CLEAN, self.work / "searched.safetensors")
        self.reports["document"] = self._run(CLEAN, self.work / "tuned.safetensors")
        self.reports["onnx"] = self._run(ONNX, self.work / "tuned.onnx")

    def _tune(self, study: StudyHandle, training: DataSlice) -> None:
        with self._timed("fine-tuning"):
            study.finetune(top=self._chosen.top, training=training, recipe={"epochs": self._chosen.epochs})
            self.finetunes = study.finetuned()

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] = time.perf_counter() - start
        print(f"{what}: {self.seconds[what]:.0f} s", file=sys.stderr, flush=True)

    def _run(self, code: str, path: Path) -> float:
        """The accuracy on the report's images, in a process of its own."""
        command = [sys.executable, "-c", code, str(path), str(self.work / "report.safetensors")]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - our own code


def _write(way: Way, chosen: Any) -> None:  # noqa: ANN401 - options
    page = Page(f"ResNet-{chosen.depth}, the whole way", QUESTION)
    page.text(
        "The images are JPEG versions of CIFAR-10's, so the figures are not those of plain CIFAR-10. First convolution"
        f" and classifier stay dense; a third of the other layers' MACs remain. {chosen.trials} trials;"
        f" the best {chosen.top} fine-tuned on {chosen.images:,} training images, {chosen.epochs:g} epochs."
    )
    trained = "fine-tuned" if way.best.finetune is not None else "as it was before"
    chosen_words = f"chosen after fine-tuning: trial {way.best.trial}, {trained}"
    rows = [
        ("dense", "ranksearch.load: torch and safetensors", way.reports["dense"]),
        ("searched, calibrated, no gradient", "the same", way.reports["searched"]),
        (chosen_words, "the same", way.reports["document"]),
        (chosen_words, "ONNX Runtime", way.reports["onnx"]),
    ]
    page.table(["network", "run by", "test[5000:], %"], [(*row[:2], f"{100 * row[2]:.1f}") for row in rows])
    page.table(
        ["trial", "before, %", "after, %", "taken"],
        [(one.trial, _percent(one.before), _percent(one.after), _taken(one, way.best)) for one in way.finetunes],
    )
    page.text("Before and after: on `test[:5000]`, by which the best one is chosen.")
    best = way.best
    page.text(
        f"{best.macs.compressed:,} of {best.macs.dense:,} MACs ({best.macs.fraction:.1%}),"
        f" {best.params.compressed:,} of {best.params.dense:,} parameters. ONNX against the document on"
        f" {way.parity.images} images: {way.parity.max_relative_difference:.1g} of the outputs' range."
    )
    page.table(["step", "seconds"], [(what, f"{seconds:.1f}") for what, seconds in way.seconds.items()])
    page.text(f"Load of the machine over the last quarter of an hour: {os.getloadavg()[2]:.1f}, this run included.")
    page.figures = {"accuracy": way.reports, "seconds": way.seconds, "macs_fraction": best.macs.fraction}
    page.write("whole_way", chosen, ["torch", "optuna", "onnxruntime"])


def _taken(one: FineTune, best: Best) -> str:
    if one.trial != best.trial:
        return ""
    return "after" if one.chosen else "before"


def _percent(score: Any) -> str:  # noqa: ANN401 - a score, or None
    return "–" if score is None else f"{100 * score.accuracy:.1f}"


if __name__ == "__main__":
    main()
