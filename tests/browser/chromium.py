"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

__all__ = ["chromium", "launched_browser"]

_VARIABLE = "RANKSEARCH_CHROMIUM"


def chromium() -> Path:
    """The browser's program. Skipped with a reason where there is none: ``.ci/run`` installs one."""
    program = os.environ.get(_VARIABLE) or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip(f"no browser: install Debian's chromium, or name one in {_VARIABLE}")
    return Path(program)


@contextmanager
def launched_browser(program: Path) -> Iterator[Browser]:
    """Playwright's loop runs in this thread while the block lasts: nothing else can run one meanwhile."""
    with sync_playwright() as playwright:
        # Within containers the tests run as root, and Chromium's sandbox needs rights that these have not.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()
