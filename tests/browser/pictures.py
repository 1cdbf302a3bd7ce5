"""The pictures that the tests take: of every page, light and dark, wide and on a phone.

``python tests/browser/pictures.py FOLDER`` says whether all of them are in a folder, and where that is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

__all__ = ["PICTURES", "SCHEMES", "SIZES", "missing", "picture"]

SCHEMES: Final = ("light", "dark")
SIZES: Final = {"desktop": (1280, 900), "phone": (360, 740)}
PICTURES: Final = {
    "/sign-in": ("sign-in", "sign-in-refused"),
    "/studies": ("studies", "studies-paused", "studies-empty"),
    "/studies/{study}": (
        *("study-finished", "study-latency", "study-front", "study-smallest"),
        *("study-running", "study-paused", "study-failed", "study-script", "study-nothing-yet"),
    ),
    "/studies/{study}/trials": ("study-trials", "study-trials-failed"),
    "/studies/{study}/trials/{number}": ("study-trial", "study-trial-failed"),
    "/studies/{study}/layers": ("study-layers", "study-layers-alone"),
    "/studies/{study}/finetuning": ("study-finetuning", "study-finetuning-empty"),
    "/studies/{study}/latency": ("study-latency-report", "study-latency-untimed"),
    "/submit": ("submit-first", "submit-form", "submit-infeasible"),
    "/compare": ("compare", "compare-studies", "compare-trials", "compare-empty"),
    "/models": ("models", "models-refused", "models-empty"),
    "/models/{model}": ("model",),
    "/datasets": ("datasets", "datasets-empty"),
    "/datasets/{dataset}": ("dataset",),
    "/workers": ("workers", "workers-empty"),
    "/tokens": ("tokens", "token-made"),
    "what is not there": ("not-found",),
}
"""By page, what its pictures are called; each is taken by ``check_page`` with this name."""


def picture(folder: Path, name: str, scheme: str, size: str) -> Path:
    """The file of a picture."""
    return folder / f"{name}-{scheme}-{size}.png"


def missing(folder: Path) -> list[Path]:
    """Pictures that are not there."""
    wanted = [
        picture(folder, name, scheme, size)
        for names in PICTURES.values()
        for name in names
        for scheme in SCHEMES
        for size in SIZES
    ]
    return [path for path in wanted if not path.exists()]


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    lacking = missing(folder)
    if lacking:
        sys.exit("pictures of pages that were not taken: " + ", ".join(path.name for path in lacking))
    print(f"every page, light and dark, wide and on a phone: {folder}")
