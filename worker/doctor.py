"""``python -m worker doctor``: whether this machine can evaluate."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ranksearch.contracts.checkups import Check, Checkup, fail, ok, warn

__all__ = ["examine", "main"]

_LITTLE_BYTES: Final = 5 << 30


def main(arguments: Sequence[str]) -> int:
    """Print what was found; 1 where something does not work."""
    parser = argparse.ArgumentParser(prog="python -m worker doctor", description=__doc__)
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ranksearch"
    parser.add_argument("--cache-dir", type=Path, default=default, help="the worker's (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="as `ranksearch doctor` reads it")
    given = parser.parse_args(arguments)
    checkup = examine(given.cache_dir)
    for line in [checkup.model_dump_json()] if given.json else _lines(checkup):
        sys.stdout.write(line + "\n")
    return int(checkup.failed)


def examine(cache_dir: Path) -> Checkup:
    """Look at all that an evaluation takes."""
    return Checkup(checks=[*_torch(), _threads(), _cache(cache_dir)])


def _torch() -> Iterator[Check]:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # OSError: one of its libraries cannot be loaded
        yield fail("torch", f"it cannot be imported: {error}", "pip install 'ranksearch[worker]'")
        return
    yield ok("torch", f"version {torch.__version__}, {torch.get_num_threads()} threads")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "torch is built without CUDA" if built is None else f"torch is built for CUDA {built} and sees no GPU"
        mend = "where there is a GPU, install its driver and a torch for CUDA"
        yield warn("cuda", f"{why}: evaluations run on the CPU", mend)
        return
    for number in range(torch.cuda.device_count()):
        yield _kernel(torch, f"cuda:{number}")


def _kernel(torch: object, device: str) -> Check:
    """A product whose result is known: a driver that does not fit shows here."""
    name = device
    try:
        ones = torch.ones(64, 64, device=device)  # type: ignore[attr-defined]  # imported at run time
        name = torch.cuda.get_device_name(device)  # type: ignore[attr-defined]  # as above
        free, total = torch.cuda.mem_get_info(device)  # type: ignore[attr-defined]  # as above
        found = float((ones @ ones).sum())
    except RuntimeError as error:
        return fail(device, f"{name}: {str(error).splitlines()[0]}", "install a driver that fits this torch")
    if found != 64.0**3:
        return fail(device, f"{name} computes {found:g} where {64**3} is right", "take this GPU out of service")
    return ok(device, f"{name}, {free / 2**30:.1f} GiB of {total / 2**30:.1f} GiB free")


def _threads() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS")
    if asked and asked.isdecimal() and int(asked) > usable:
        mend = f"unset it, or set it to {usable}"
        return warn("cpu", f"OMP_NUM_THREADS is {asked}, and this process may use {usable} cores", mend)
    return ok("cpu", f"{usable} cores")


def _cache(directory: Path) -> Check:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"x")
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return fail("cache", f"{directory} cannot be written to: {error.strerror}", "choose another --cache-dir")
    told = f"{directory}, {free / 2**30:.1f} GiB free"
    if free < _LITTLE_BYTES:
        return warn("cache", told, "free some space, or choose another --cache-dir")
    return ok("cache", told)


def _lines(checkup: Checkup) -> Iterator[str]:
    for check in checkup.checks:
        yield f"{check.status:<5} {check.name}: {check.what}" + (f" – {check.mend}" if check.mend else "")
