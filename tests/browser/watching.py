"""What is true of every page: it makes no errors, asks nobody but its own service, and everybody can use it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, Request

from tests.browser.pictures import SCHEMES, SIZES, picture

__all__ = ["Watch", "screenshots_folder", "settled"]

AXE = Path(__file__).parent / "axe" / "axe.min.js"
EXAMINED = {("light", "desktop"), ("dark", "phone")}
"""With axe: each theme once, and each size."""
_RUN_AXE = """async () => {
    const found = await axe.run(document, {resultTypes: ["violations"]});
    const serious = found.violations.filter((one) => ["serious", "critical"].includes(one.impact));
    return serious.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).slice(0, 3).join("  ")}`);
}"""
_WIDTHS = """() => {
    const wide = [...document.body.querySelectorAll("*")].filter((one) => {
        const box = one.getBoundingClientRect();
        return box.right > innerWidth + 1 && !one.closest(".scroller, pre, nav, .sr-only");
    });
    return {page: document.documentElement.scrollWidth, window: innerWidth,
            wide: wide.slice(0, 5).map((one) => one.outerHTML.slice(0, 120))};
}"""


def screenshots_folder(tmp: Path) -> Path:
    """Where screenshots are kept: ``RANKSEARCH_SCREENSHOTS``, or the tests' own folder."""
    folder = Path(os.environ.get("RANKSEARCH_SCREENSHOTS") or tmp)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def settled(page: Page) -> None:
    """Wait until styles, fonts and scripts are there and times are local."""
    page.wait_for_load_state("load")
    page.evaluate("document.fonts.ready.then(() => true)")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@dataclass
class Watch:
    """What a page says and asks for, from its first moment on."""

    page: Page
    host: str
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)

    def check(self, name: str, folder: Path) -> None:
        """That nothing is wrong with the page as it is now, in light and dark, wide and narrow; pictures of each.

        Args:
            name: of the pictures.
            folder: for them.
        """
        settled(self.page)
        for scheme in SCHEMES:
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # colours as they are in the end
            for size, (width, height) in SIZES.items():
                self.page.set_viewport_size({"width": width, "height": height})
                settled(self.page)
                self.page.screenshot(path=picture(folder, name, scheme, size), full_page=True)
                what = f"{name}, {scheme}, {size}"
                findings = self._axe() if (scheme, size) in EXAMINED else []
                assert not findings, "\n".join([what, *findings])
                widths: dict[str, Any] = self.page.evaluate(_WIDTHS)
                assert widths["page"] <= widths["window"], f"{what} scrolls sideways: {widths['wide']}"
        self.page.set_viewport_size({"width": 1280, "height": 900})
        self.page.emulate_media(color_scheme="light", reduced_motion="no-preference")
        self.quiet()

    def quiet(self) -> None:
        """That no script failed and that nothing was asked of anybody else."""
        assert self.errors == []
        assert self.strangers == []

    def _axe(self) -> list[str]:
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text("utf-8"))
        found: list[str] = self.page.evaluate(_RUN_AXE)
        return found

    def _heard(self, message: ConsoleMessage) -> None:
        counted_ink = "willReadFrequently" in message.text  # the tests read canvases again and again, the pages do not
        if message.type in {"error", "warning"} and not counted_ink:
            self.errors.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.host}/", "data:", "blob:")):
            self.strangers.append(request.url)
