"""What a process needs to read in order to run Python, torch and a device's driver, and nothing else of the machine."""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path

__all__ = ["device_files", "listed_paths", "readable_paths"]

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("proxy", "ranksearch", "worker")

_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/opt", "/nix/store", "/proc", "/sys", "/run/nvidia/driver"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/localtime"),
    *("/etc/timezone", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/os-release", "/etc/alternatives"),
    *("/etc/nvidia", "/etc/OpenCL", "/etc/mime.types"),
)
_PLAIN_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_ACCELERATORS = ("/dev/nvidia*", "/dev/nvidia-caps*", "/dev/dri", "/dev/kfd", "/dev/dxg", "/dev/nvhost*", "/dev/nvmap")


def readable_paths(home: Path) -> list[Path]:
    """Python with its libraries, the system's libraries, this package: for this very process, as it was started.

    Of a checkout, and of any other directory on Python's path that holds one, only the packages: what else lies there
    (a data directory with its token, say) is nobody's business.

    Args:
        home: of the user. What would open all of it is left out.
    """
    python = [Path(prefix) for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)]
    on_path = [path for path in _import_paths() if not _holds_packages(path)]
    packages = [path / name for path in _checkouts() for name in _PACKAGES]
    libraries = [Path(path) for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]
    wanted = dict.fromkeys([*python, *on_path, *packages, *map(Path, _SYSTEM), *libraries])
    return [path for path in wanted if path.exists() and not home.resolve().is_relative_to(path.resolve())]


def listed_paths() -> list[Path]:
    """Directories whose names alone are needed: an import looks for its package in them."""
    return [*_checkouts(), Path("/dev")]


def device_files(device: str) -> list[Path]:
    """The device files that a torch device needs, as they exist now."""
    plain = [Path(path) for path in _PLAIN_DEVICES]
    if device.partition(":")[0] == "cpu":
        return plain
    return [*plain, *(Path(path) for pattern in _ACCELERATORS for path in sorted(glob.glob(pattern)))]  # noqa: PTH207 - absolute patterns


def _import_paths() -> list[Path]:
    return [Path(path).absolute() for path in sys.path if path]


def _checkouts() -> list[Path]:
    return list(dict.fromkeys([_ROOT, *(path for path in _import_paths() if _holds_packages(path))]))


def _holds_packages(path: Path) -> bool:
    return all((path / name / "__init__.py").is_file() for name in _PACKAGES)
