"""Which devices a machine has and how much memory each: asked of a process of its own, which may import torch.

``python -m worker.devices WANTED`` prints them as JSON. The agent itself never imports torch: it takes seconds and
hundreds of megabytes, and on a GPU a context that nobody uses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ranksearch.contracts.errors import InputError, UnavailableError

__all__ = ["Device", "find_devices", "main", "main_memory"]

_SECONDS = 120.0
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Device:
    """A torch device, and its memory in bytes: of a GPU its own, of the CPU what this machine or container has."""

    name: str
    memory_bytes: int | None


def find_devices(wanted: str) -> list[Device]:
    """The devices that are asked for, in that order.

    Args:
        wanted: ``auto``, every GPU, or the CPU where there is none; ``best``, the first of these; or torch devices,
            separated by commas, of which one may be named several times.

    Raises:
        InputError: there is no such device here.
        UnavailableError: torch cannot be asked.
    """
    names = _names(wanted)
    if set(names) == {"cpu"}:
        return [Device("cpu", main_memory()) for _ in names]
    command = [sys.executable, "-m", "worker.devices", wanted]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RANKSEARCH_")}
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        told = json.loads(done.stdout)
        devices = [Device(**device) for device in told["devices"]]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        output = getattr(error, "stderr", None) or ""
        raise UnavailableError(
            "extra_missing",
            "torch could not be asked which devices this machine has",
            got=output.strip().rpartition("\n")[2] or error,
            mend='install it: pip install "ranksearch[worker]", or name the devices: --devices cpu',
        ) from error
    if told["unknown"]:
        raise InputError(
            "invalid_request",
            f"there is no device {told['unknown']} here",
            got=f"--devices {wanted}",
            expected=f"auto, or of {', '.join(told['known'])}",
            mend="look with nvidia-smi whether the driver sees the GPU, and at CUDA_VISIBLE_DEVICES",
        )
    return devices


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the devices that are asked for, those that are not there, and all that are."""
    (wanted,) = sys.argv[1:] if arguments is None else arguments
    known = _known()
    gpus = [name for name in known if name != "cpu"]
    names = _names(wanted)
    if names in (["auto"], ["best"]):
        names = gpus or ["cpu"]
        names = names[:1] if wanted.strip() == "best" else names
    alone = {name.partition(":")[0]: name for name in reversed(gpus)}  # "cuda" is the first of them
    names = [alone.get(name, name) for name in names]
    devices = [asdict(Device(name, known[name])) for name in names if name in known]
    unknown = next((name for name in names if name not in known), None)
    print(json.dumps({"devices": devices, "unknown": unknown, "known": list(known)}))  # noqa: T201 - what it is for


def _names(wanted: str) -> list[str]:
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if not names:
        raise InputError("invalid_request", "no device is named", got=f"--devices {wanted!r}", expected="such as auto")
    return names


def _known() -> dict[str, int | None]:
    """Every device of this machine, and its memory."""
    import torch  # noqa: PLC0415 - only in the process that is asked

    known: dict[str, int | None] = {}
    if torch.cuda.is_available():
        cuda: Any = torch.cuda
        for number in range(cuda.device_count()):
            known[f"cuda:{number}"] = int(cuda.get_device_properties(number).total_memory)
    if torch.backends.mps.is_available():
        known["mps"] = main_memory()  # it shares the machine's
    known["cpu"] = main_memory()
    return known


def main_memory() -> int | None:
    """Bytes that this machine has, or the container if it may use less; None where that is not known."""
    try:
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    try:
        return min(ram, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no such limit: "max", or no such file
        return ram


if __name__ == "__main__":
    main()
