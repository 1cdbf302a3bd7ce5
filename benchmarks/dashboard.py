"""How long does the page of a study with 10,000 trials of 200 layers take to open, and does it stay responsive?

A real service and Debian's Chromium on one machine. The study's trials are written into the database as workers'
results would have left them; while the page is open further ones are, 50 a second, each with its event.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filled_study import FilledStudy
from fleet import Fleet, fleet
from page import Page, options
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab

from service.storage.engine import Database

QUESTION = __doc__.splitlines()[0]
DRAWN: Final = "() => performance.getEntriesByName('charts-drawn').length > 0"
TIMES: Final = """() => {
    const [page] = performance.getEntriesByType("navigation");
    const at = (name) => performance.getEntriesByName(name)[0]?.startTime ?? null;
    return {"first byte": page.responseStart, "DOMContentLoaded": page.domContentLoadedEventEnd,
            "trials drawn": at("history-drawn"), "all charts drawn": at("charts-drawn")};
}"""
SIZES: Final = """() => Object.fromEntries(performance.getEntries().filter((one) => one.decodedBodySize).map(
    (one) => [new URL(one.name).pathname, one.decodedBodySize]))"""
WATCH_TASKS: Final = """() => {
    window.tasks = [];
    new PerformanceObserver((list) => list.getEntries().forEach((one) => window.tasks.push(one.duration)))
        .observe({type: "longtask", buffered: false});
}"""


def main() -> None:
    """Measure and write the page."""
    chosen = options(QUESTION).parse_args()
    trials, layers, rounds, live = (1000, 200, 3, 5) if chosen.quick else (10_000, 200, 7, 20)
    with (
        tempfile.TemporaryDirectory() as folder,
        filled(Path(folder), trials, layers) as (service, study),
        browsing() as browser,
    ):
        tab = browser.new_context(base_url=service.url, viewport={"width": 1280, "height": 900}).new_page()
        sign_in(tab, service.token)
        opened = [times(tab, f"/studies/{study.id}", DRAWN) for _ in range(rounds)]
        sizes = tab.evaluate(SIZES)
        tables = {
            path: [times(tab, f"/studies/{study.id}{path}", None) for _ in range(rounds)]
            for path in ("/trials", "/trials?sort=value", "/layers", "/trials/17")
        }
        tasks, seen = followed(tab, study, live)
    report(chosen, trials, layers, opened, tables, sizes, tasks, seen, live)


class Study:
    """Its id, and who makes its trials."""

    def __init__(self, identifier: str, hand: FilledStudy) -> None:
        self.id, self.hand = identifier, hand


@contextmanager
def filled(folder: Path, trials: int, layers: int) -> Iterator[tuple[Fleet, Study]]:
    """A service with such a study, while the block lasts."""
    with fleet(folder, None, "--poll-seconds", "0.02", layers=layers) as service:
        study = service.submit(trials + 2000, name=f"{trials:,} trials of {layers} layers")
        database = Database(f"sqlite:///{folder / 'data' / 'ranksearch.db'}")
        try:
            hand = FilledStudy(database, study, trials, layers)
            hand.fill(trials)
            yield service, Study(study, hand)
        finally:
            database.close()


@contextmanager
def browsing() -> Iterator[Browser]:
    """Debian's Chromium."""
    program = os.environ.get("RANKSEARCH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def sign_in(tab: Tab, token: str) -> None:
    """Through the form."""
    tab.goto("/sign-in")
    tab.get_by_label("Your token").fill(token)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url("**/studies")


def times(tab: Tab, path: str, until: str | None) -> dict[str, float]:
    """Milliseconds from the click to each step."""
    tab.goto("about:blank")
    tab.goto(path)
    if until is not None:
        tab.wait_for_function(until, timeout=120_000)
    told: dict[str, float] = tab.evaluate(TIMES)
    return told


def followed(tab: Tab, study: Study, seconds: float) -> tuple[list[float], dict[str, Any]]:
    """The long tasks of a page that is open while trials arrive, in ms; and how many arrived, and were shown."""
    tab.goto(f"/studies/{study.id}")
    tab.wait_for_function(DRAWN, timeout=120_000)
    tab.wait_for_timeout(1000)
    tab.evaluate(WATCH_TASKS)
    before, stopping = study.hand.made, threading.Event()
    adding = threading.Thread(target=study.hand.add, args=(seconds, stopping))
    adding.start()
    box = tab.locator("#history-chart .u-over").bounding_box() or {"x": 0, "y": 0, "width": 1, "height": 1}
    for step in itertools.count():  # somebody points at trials all the while
        if not adding.is_alive():
            break
        tab.mouse.move(box["x"] + (37 * step) % box["width"], box["y"] + box["height"] / 2)
        tab.wait_for_timeout(100)
    adding.join()
    tab.wait_for_timeout(2000)
    shown = tab.locator("#history-chart").get_attribute("aria-label") or ""
    return tab.evaluate("window.tasks"), {"arrived": study.hand.made - before, "made": study.hand.made, "label": shown}


def report(
    chosen: argparse.Namespace,
    trials: int,
    layers: int,
    opened: Sequence[dict[str, float]],
    tables: dict[str, list[dict[str, float]]],
    sizes: dict[str, int],
    tasks: Sequence[float],
    seen: dict[str, Any],
    live: float,
) -> None:
    """Write the page."""
    page = Page(f"A study of {trials:,} trials and {layers} layers in a browser", QUESTION)
    page.text(
        f"{len(opened)} openings each, nothing of the page in the browser's memory but its files; others were at work"
        f" on the machine (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores). Milliseconds from the click;"
        " median, and the slowest, which is mostly the first, when the service has read nothing of the study yet."
    )
    rows = [["overview", *(span([one[step] for one in opened]) for step in opened[0])]]
    for path, some in tables.items():
        rows.append([f"`{path}`", *(span([one[step] for one in some]) for step in list(some[0])[:2]), "–", "–"])
    page.table(["page", *opened[0]], rows)
    kinds = {"page": "/studies/", "history": "/history", "rank map": "/rank-map", "importance": "/importance"}
    told = {
        name: next((size for path, size in sizes.items() if path.endswith(end) or (name == "page" and end in path)), 0)
        for name, end in kinds.items()
    }
    page.text(
        "What it consists of, uncompressed: " + ", ".join(f"{n} {s / 1024:.0f} KiB" for n, s in told.items()) + "."
    )
    longest = max(tasks, default=0.0)
    page.text(
        f"While {seen['arrived']} further trials arrived in {live:.0f} s ({seen['arrived'] / live:.0f} a second) and"
        f" somebody pointed at the chart: {len(tasks)} tasks of over 50 ms in the browser, the longest"
        f" {longest:.0f} ms, {sum(tasks) / (10 * live):.0f}% of the time altogether. Afterwards the page said"
        f" “{seen['label']}”, the database {seen['made']}."
    )
    page.figures = {"opened": list(opened), "tables": tables, "sizes": told, "tasks": list(tasks), **seen}
    page.write("dashboard", chosen, ["fastapi", "sqlalchemy", "playwright"])


def span(values: Sequence[float]) -> str:
    """Median and slowest."""
    return f"{statistics.median(values):.0f}, {max(values):.0f}"


if __name__ == "__main__":
    main()
