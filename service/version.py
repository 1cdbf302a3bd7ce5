from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["VERSION"]


def _version() -> str:
    try:
        return version("ranksearch")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"


VERSION = _version()
