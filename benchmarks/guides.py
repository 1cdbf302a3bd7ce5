"""What do the guides come to, command by command?

The commands of ``docs/guides.md`` as they are typed there, on networks that are trained here for the purpose: a
ResNet-18 of torchvision, a module of one's own, and that one again without labels. Trained and calibrated on training
images of CIFAR-10 (as JPEG), searched and chosen on ``test[:2000]``, reported on ``test[5000:]``, which nothing here
was chosen by.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from page import Page, options, shared_data
from torch import Tensor, nn
from torch.nn import functional

import proxy
import ranksearch
from ranksearch.contracts.wording import count
from ranksearch.local import LocalDeployment

QUESTION = __doc__.splitlines()[0]
CALIBRATED, VALIDATED, REPORTED = 1000, 2000, 5000
"""A third and the rest, as a command divides them; the last is where the images begin that are reported on."""
_BATCH = 128
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def main() -> None:
    """Follow the guides and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    parser.add_argument("--architecture", default="resnet18", help="of torchvision's (default: %(default)s)")
    parser.add_argument("--images", type=int, default=25_000, help="to train on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=6, help="of the first training (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=40, help="of each search (default: %(default)s)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.images, chosen.epochs, chosen.trials = 2048, 1, 4
    sys.path.insert(0, str(chosen.data))
    import cifar  # noqa: PLC0415 - lies in the folder that the user named

    images = Cifar(cifar, chosen.images)
    page = _begun(chosen)
    with tempfile.TemporaryDirectory() as folder, LocalDeployment(Path(folder) / "data", workers=1) as local:
        address = {"RANKSEARCH_URL": local.url, "RANKSEARCH_TOKEN": local.token}
        terminal = Terminal(Path(folder), address)
        _classifier(page, terminal, images, chosen)
        _own_module(page, terminal, images, chosen)
        _without_labels(page, terminal, images, chosen)
    page.text(f"Load of the machine over the last quarter of an hour: {os.getloadavg()[2]:.1f}, this run included.")
    page.write("guides", chosen, ["torch", "torchvision", "optuna", "onnxruntime"])


class Cifar:
    """The images, as bytes and as networks take them.

    Args:
        cifar: the module from the data folder.
        train: how many are trained on.
    """

    def __init__(self, cifar: Any, train: int) -> None:  # noqa: ANN401 - a module
        self.mean, self.std = cifar.MEAN, cifar.STD
        pixels, self.train_labels = cifar.images("train", train)
        self.train = _as_taken(cifar, pixels)
        test, labels = cifar.images("test")
        self.report, self.report_labels = _as_taken(cifar, test[REPORTED:]), torch.as_tensor(labels)[REPORTED:]
        # Calibration first and then validation, as the commands take them where they are told nothing else.
        self.pixels = torch.cat([torch.as_tensor(pixels[:CALIBRATED]), torch.as_tensor(test[:VALIDATED])])
        self.labels = torch.cat([torch.as_tensor(self.train_labels)[:CALIBRATED], torch.as_tensor(labels)[:VALIDATED]])

    def pack(self, path: Path, *, labelled: bool = True) -> None:
        """Calibration and validation images as a data set document."""
        labels = self.labels if labelled else None
        ranksearch.pack_data(self.pixels, labels, path, mean=self.mean, std=self.std, layout="NHWC")

    @torch.no_grad()
    def accuracy(self, network: nn.Module) -> float:
        """Of the images that are reported on."""
        network.eval()
        told = torch.cat([network(batch).argmax(1) for batch in self.report.split(250)])  # type: ignore[no-untyped-call]  # untyped in torch
        return float((told == self.report_labels).float().mean())

    def trained(self, network: nn.Module, epochs: int) -> nn.Module:
        """Train from nothing: AdamW, one cycle to 0.003, random flips."""
        generator = torch.Generator().manual_seed(0)
        labels = torch.as_tensor(self.train_labels)
        steps = epochs * (len(self.train) // _BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.003, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, total_steps=steps)
        network.train()
        for _ in range(epochs):
            order = torch.randperm(len(self.train), generator=generator)
            for batch in order[: len(order) - len(order) % _BATCH].split(_BATCH):  # type: ignore[no-untyped-call]  # untyped in torch
                images = self.train[batch]
                flipped = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5  # noqa: PLR2004 - every second
                loss = functional.cross_entropy(network(torch.where(flipped, images.flip(3), images)), labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
                optimizer.step()
                schedule.step()
        return network.eval()


@dataclass
class Terminal:
    """Runs commands as a user types them, and keeps what they print.

    Args:
        folder: where they are typed.
        environment: what is set besides.
    """

    folder: Path
    environment: dict[str, str]
    said: list[str] = field(default_factory=list)

    def run(self, line: str, *, shown: int = 40) -> str:
        """Run it; its standard output.

        Args:
            line: as typed.
            shown: lines of the output that the page keeps.
        """
        words = shlex.split(line)
        command = [sys.executable, "-m", "ranksearch", *words[1:]]
        environment = os.environ | self.environment | {"COLUMNS": "100", "NO_COLOR": "1"}
        start = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - start
        print(f"{line}: {seconds:.0f} s", file=sys.stderr, flush=True)
        if done.returncode:
            raise SystemExit(f"{line} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        output = _ESCAPES.sub("", done.stdout).rstrip().splitlines()
        left_out = [f"… {len(output) - shown} lines more"] if len(output) > shown else []
        self.said.append("\n".join([f"$ {line}", *output[:shown], *left_out, f"# {seconds:.0f} s"]))
        return done.stdout

    def block(self) -> str:
        """All that was said since the last time, for a page."""
        text = "```text\n" + "\n\n".join(self.said) + "\n```"
        self.said.clear()
        return text


def _classifier(page: Page, terminal: Terminal, images: Cifar, chosen: Any) -> None:  # noqa: ANN401 - options
    torch.manual_seed(0)
    network = images.trained(torchvision.models.get_model(chosen.architecture, num_classes=10), chosen.epochs)
    ranksearch.pack(network, (images.train[:2],), terminal.folder / f"{chosen.architecture}.safetensors")
    images.pack(terminal.folder / "images.safetensors")
    top = 1 if chosen.quick else 2
    terminal.run(
        f"ranksearch submit {chosen.architecture}.safetensors images.safetensors --macs 33%"
        f" --n-trials {chosen.trials} --finetune {top} --watch"
    )
    terminal.run("ranksearch best latest")
    terminal.run("ranksearch latency latest")
    terminal.run("ranksearch pull latest --format onnx -o small.onnx")
    terminal.run("ranksearch pull latest -o small.safetensors")
    page.text(f"## A classifier of torchvision: {chosen.architecture}")
    page.text(terminal.block())
    small = ranksearch.load(terminal.folder / "small.safetensors")
    _report(page, images, {"dense": network, "pulled": small})


class Own(nn.Module):
    """Somebody's network: four convolutions, three of them with a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.body = nn.ModuleList(self._block(*sizes) for sizes in ((32, 64, 2), (64, 128, 2), (128, 128, 1)))
        self.head = nn.Linear(128, 10)

    @staticmethod
    def _block(inputs: int, outputs: int, stride: int) -> nn.Module:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, 32, 32)`` to ``(N, 10)``."""
        x = self.stem(x).relu()
        for block in self.body:
            x = block(x)
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]  # a module's call is untyped


def _own_module(page: Page, terminal: Terminal, images: Cifar, chosen: Any) -> None:  # noqa: ANN401 - options
    torch.manual_seed(0)
    model = images.trained(Own(), chosen.epochs)
    ranksearch.pack(model, (images.train[:2],), terminal.folder / "model.safetensors")
    terminal.run(
        "ranksearch submit model.safetensors images.safetensors --macs 33% --keep-dense head"
        f" --n-trials {chosen.trials} --watch"
    )
    terminal.run("ranksearch best latest")
    best = json.loads(terminal.run("ranksearch best latest --json", shown=0))
    small = proxy.compress(model, best["ranks"])
    batches = list(images.train[:CALIBRATED].split(_BATCH))  # type: ignore[no-untyped-call]  # untyped in torch
    proxy.calibrate(small, batches, reference=model, level="reconstruction")
    page.text("## Your own module")
    page.text(terminal.block())
    page.text("`proxy.compress` with these ranks, and `proxy.calibrate`, on the module itself:")
    _report(page, images, {"dense": model, "compressed in one's own process": small})


def _without_labels(page: Page, terminal: Terminal, images: Cifar, chosen: Any) -> None:  # noqa: ANN401 - options
    images.pack(terminal.folder / "unlabelled.safetensors", labelled=False)
    terminal.run(
        f"ranksearch submit model.safetensors unlabelled.safetensors --macs 33% --n-trials {chosen.trials} --watch"
    )
    terminal.run("ranksearch best latest")
    terminal.run("ranksearch pull latest -o unlabelled-small.safetensors")
    page.text("## Without labels")
    page.text(terminal.block())
    _report(page, images, {"pulled": ranksearch.load(terminal.folder / "unlabelled-small.safetensors")})


def _report(page: Page, images: Cifar, networks: dict[str, nn.Module]) -> None:
    figures = {name: images.accuracy(network) for name, network in networks.items()}
    sizes = {name: sum(each.numel() for each in network.parameters()) for name, network in networks.items()}
    rows = [(name, f"{100 * accuracy:.1f}", count(sizes[name])) for name, accuracy in figures.items()]
    page.table(["network", "test[5000:], %", "parameters"], rows)
    page.figures[str(len(page.figures))] = figures


def _begun(chosen: Any) -> Page:  # noqa: ANN401 - options
    page = Page("The guides, followed", QUESTION)
    page.text(
        "Commands of [docs/guides.md](../../docs/guides.md), and what they printed (standard output, without colours)."
        f" The networks are trained here, {chosen.epochs} epochs on {chosen.images:,} images of 32 × 32, which is far"
        " from what they could learn: the figures are of use beside one another only. torchvision's ResNets are made"
        " for 224 × 224 and halve these images five times, so most of their layers see few positions."
    )
    return page


def _as_taken(cifar: Any, pixels: Any) -> Tensor:  # noqa: ANN401 - a module, an array
    taken: Tensor = cifar.preprocess(pixels)
    return taken


if __name__ == "__main__":
    main()
