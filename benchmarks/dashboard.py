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
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from fleet import Fleet, fleet
from page import Page, options
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab
from sqlalchemy import select, update

from service.scheduling.views import trial_view
from service.storage.engine import Database
from service.storage.tables import EventRow, JobRow, StudyRow

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
PER_SECOND: Final = 50
RANKS: Final = 16


class Filled:
    """A study whose trials are there, and a hand that makes more of them.

    Args:
        database: of the service, which runs meanwhile.
        study: id.
        trials: that have ended.
        layers: of the model.
    """

    def __init__(self, database: Database, study: str, trials: int, layers: int) -> None:
        self._database, self._study, self._layers = database, study, layers
        self._rng = np.random.default_rng(0)
        self._worth = self._rng.uniform(0.2, 2, layers)
        self._centre = self._rng.integers(3, 12, layers)
        self._all = trials
        with database.reading() as session:
            jobs = select(JobRow.id).where(JobRow.study_id == study, JobRow.kind == "trial").order_by(JobRow.ordinal)
            self._jobs = list(session.scalars(jobs))
        self._made = 0
        for start in range(0, trials, 500):
            self._write(min(500, trials - start))

    def add(self, seconds: float, stopping: threading.Event) -> None:
        """Make more, so many a second, each with its event."""
        end, due = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end and not stopping.is_set() and self._made < len(self._jobs):
            self._write(1, tell=True)
            due += 1 / PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))

    @property
    def made(self) -> int:
        """Trials that are there."""
        return self._made

    def _write(self, count: int, *, tell: bool = False) -> None:
        with self._database.writing() as session:
            study = session.get_one(StudyRow, self._study)
            rows = [self._trial(number) for number in range(self._made, self._made + count)]
            session.execute(update(JobRow), rows)
            best = min((row for row in rows if row["state"] == "done"), key=lambda row: row["value"], default=None)
            if best is not None and (study.best_value is None or best["value"] < study.best_value):
                study.best_job, study.best_trial, study.best_value = best["id"], best["trial_number"], best["value"]
            study.state, study.started_at = "running", study.started_at or time.time()
            study.last_event += count
            if tell:
                session.flush()
                session.expire_all()
                told = trial_view(session.get_one(JobRow, rows[0]["id"])).model_dump(mode="json", by_alias=True)
                event = {"study_id": study.id, "number": study.last_event, "kind": "trial", "data": told}
                session.add(EventRow(**event, created_at=time.time()))
            self._made += count

    def _trial(self, number: int) -> dict[str, Any]:
        """As it stands in the database once a worker has handed in its result; the search closes in slowly."""
        width = 1 + 5 * np.exp(-3 * number / self._all)
        drawn = np.rint(self._centre + width * self._rng.standard_normal(self._layers))
        positions = np.clip(drawn, 0, RANKS).astype(int)
        left = 1 - positions / RANKS
        value = float(0.1 + (self._worth @ left**2) / self._layers + 0.01 * self._rng.standard_normal())
        state = self._rng.choice(["done", "pruned", "failed"], p=[0.7, 0.27, 0.03])
        macs = int(np.where(positions == RANKS, 37_748_736, (positions + 1) * 2_000_000).sum())
        cost = {"macs": macs, "params": macs // 1000}
        chosen = enumerate(positions.tolist())
        ranks = {f"layer{at}": {"method": "cp3", "rank": 10 * (p + 1)} for at, p in chosen if p < RANKS}
        seconds = {"decomposition": 0.2, "assembly": 0.1, "calibration": 0.7, "validation": 1.5, "total": 2.5}
        result = {"value": value, "kl": value, "accuracy": 0.9 - value / 10, "images": 1000, "cost": cost}
        batches = [round(value + 0.01 * at, 5) for at in range(16)]
        result |= {"seconds": seconds, "device": "NVIDIA H100", "batch_values": batches}
        problem = {"type": "urn:ranksearch:problem:evaluation_crashed", "title": "crashed", "status": 500}
        problem |= {"code": "evaluation_crashed", "detail": "the evaluating process was killed by signal 9"}
        failed, start = state == "failed", 1.7e9 + 2.5 * number
        return {
            "id": self._jobs[number],
            "state": str(state),
            "trial_number": number,
            "origin": ("uniform", "equal_error")[number] if number < 2 else "sampler",  # noqa: PLR2004 - as many starts
            "positions": positions.tolist(),
            "ranks": ranks,
            "planned_macs": cost["macs"],
            "planned_params": cost["params"],
            "attempts": 1,
            "worker": "gpu-box-1",
            "value": None if failed else value,
            "guide": None if failed else value,
            "result": None if failed else result,
            "problem": problem if failed else None,
            "told": True,
            "started_at": start,
            "finished_at": start + 2.5,
        }


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

    def __init__(self, identifier: str, hand: Filled) -> None:
        self.id, self.hand = identifier, hand


@contextmanager
def filled(folder: Path, trials: int, layers: int) -> Iterator[tuple[Fleet, Study]]:
    """A service with such a study, while the block lasts."""
    with fleet(folder, None, "--poll-seconds", "0.02", layers=layers) as service:
        study = service.submit(trials + 2000, name=f"{trials:,} trials of {layers} layers")
        database = Database(f"sqlite:///{folder / 'data' / 'ranksearch.db'}")
        try:
            yield service, Study(study, Filled(database, study, trials, layers))
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
