"""Every number is a page: command, machine, date, versions, figures, caveats."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["PAGES", "Page", "device_option", "machine", "options", "shared_data"]

PAGES = Path(__file__).parent / "pages"


def options(question: str) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--quick", action="store_true", help="under two minutes, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page here (default: benchmarks/pages/)")
    return parser


def shared_data(parser: argparse.ArgumentParser) -> None:
    """Adds ``--data``."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("RANKSEARCH_SHARED_DATA", "../shared/data")),
        help="folder with resnet20.safetensors, the CIFAR-10 images and mnist.npz (default: %(default)s)",
    )


def device_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--device``."""
    parser.add_argument("--device", default="cpu", help="torch's name of it, such as cuda (default: %(default)s)")


class Page:
    """A page in the making.

    Args:
        title: what was measured.
        question: the one question that this benchmark answers.
    """

    def __init__(self, title: str, question: str) -> None:
        self._title = title
        self._parts = [question]
        self.figures: dict[str, Any] = {}

    def text(self, paragraph: str) -> None:
        """Add a paragraph."""
        self._parts.append(paragraph)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table."""
        lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
        self._parts.append("\n".join(lines))

    def write(self, name: str, chosen: argparse.Namespace, packages: Sequence[str]) -> None:
        """Write the page (and the JSON), and print it."""
        today = dt.datetime.now(dt.UTC).date().isoformat()
        versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
        command = shlex.join(["python", *[os.path.relpath(sys.argv[0])], *sys.argv[1:]])
        where = machine(getattr(chosen, "device", "cpu"))
        conditions = [
            f"- {today}",
            f"- `{command}`",
            f"- {where}",
            f"- Python {platform.python_version()}, {versions}",
        ]
        text = "\n\n".join([f"# {self._title}", "\n".join(conditions), *self._parts]) + "\n"
        target = chosen.page or PAGES / f"{name}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        if chosen.json:
            record: Mapping[str, Any] = {"date": today, "command": command, "machine": where, **self.figures}
            chosen.json.write_text(json.dumps(record, indent=2) + "\n")
        print(text)


def machine(device: str = "cpu") -> str:
    """Processor, cores, memory; and what else was computed on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        named = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = named[0] if named else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {_accelerator(device)}"


def _accelerator(device: str) -> str:
    if device == "cpu":
        return "no accelerator used"
    import torch  # noqa: PLC0415 - some benchmarks do without

    return torch.cuda.get_device_name(device)
