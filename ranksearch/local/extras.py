"""Whether what a local deployment starts is installed here."""

from __future__ import annotations

import importlib.util
from typing import Final

from ranksearch.contracts.errors import UnavailableError

__all__ = ["check_service", "check_worker"]

_SERVICE: Final = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "optuna")
_WORKER: Final = ("torch", "torchvision", "safetensors", "numpy")


def check_service() -> None:
    """Refuse early, and say what to install.

    Raises:
        UnavailableError: a package of the service is missing.
    """
    _check("the service", "service", _SERVICE)


def check_worker() -> None:
    """Refuse early, and say what to install.

    Raises:
        UnavailableError: a package of the worker is missing.
    """
    _check("a worker", "worker", _WORKER)


def _check(what: str, extra: str, packages: tuple[str, ...]) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UnavailableError(
            "extra_missing",
            f"{what} cannot be started here: packages are missing",
            got=f"no {', '.join(missing)}",
            mend=f"pip install 'ranksearch[{extra}]', or 'ranksearch[all]' for service and worker",
        )
