"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

__all__ = ["launched_browser"]

_VARIABLE = "RANKSEARCH_CHROMIUM"


@contextmanager
def launched_browser() -> Iterator[Browser]:
    """Skipped with a reason where there is none: ``.ci/run`` installs one."""
    program = os.environ.get(_VARIABLE) or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip(f"no browser: install Debian's chromium, or name one in {_VARIABLE}")
    with sync_playwright() as playwright:
        # Within containers the tests run as root, and Chromium's sandbox needs rights that these have not.
        browser = playwright.chromium.launch(
            executable_path=Path(program), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()
