"""The page of the service under load: goals, tables, plots."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from page import PAGES, Page
from plot import line_plot

__all__ = ["CROWD", "LINEAR_SECONDS", "PARAMETERS", "STREAMS", "WORKERS", "write"]

WORKERS, PARAMETERS = 8, 20
LINEAR_SECONDS = 0.5
CROWD, STREAMS = 200, 100


def write(page: Page, found: dict[str, dict[str, Any]], chosen: Any) -> None:  # noqa: ANN401 - argparse's
    """Tables, goals and plots."""
    names = list(found)
    goals = [row for name in names for row in goals_of(name, found[name])]
    page.table(["database", "what", "goal", "seen", ""], goals)
    waits = ", ".join(f"{found[name]['sync_ms']:.1f} ms before {name}'s turn" for name in names)
    page.text(f"Half of 4 KiB writes were on the disk within {waits}; a trial on PostgreSQL waits for two commits.")
    for name in names:
        one = found[name]["overhead"]
        page.text(f"Milliseconds of one worker's trials, {name}:")
        rows = [
            (part, *(f"{one[f'{part} {share}']:.1f}" for share in (0.5, 0.95, 0.99)))
            for part in ("claim", "sampling", "completion", "added")
        ]
        page.table(["", "median", "95 %", "99 %"], rows)
    page.text("How a claim and a completion grow (medians, milliseconds; sampling is part of the claim):")
    for axis, label in (("trials", "trials that the study has made"), ("studies", "studies of 100 trials that wait")):
        rows = [
            (name, mark, *(f"{at[part]:.1f}" for part in ("claim", "sampling", "completion")))
            for name in names
            for mark, at in found[name][axis].items()
        ]
        page.table(["database", label, "claim", "sampling", "completion"], rows)
        lines = {
            f"{name}, {part}": [(float(mark), at[part]) for mark, at in found[name][axis].items()]
            for name in names
            for part in ("claim", "completion")
        }
        target = (chosen.page.parent if chosen.page else PAGES) / f"service_load_{axis}.svg"
        line_plot(target, lines, x_label=label, y_label="milliseconds", log_x=True)
        page.text(f"![a claim and a completion against {axis}](service_load_{axis}.svg)")
    page.figures = found
    page.write("service_load", chosen, ["fastapi", "sqlalchemy", "optuna", "uvicorn", "psycopg"])


def goals_of(name: str, one: dict[str, Any]) -> list[tuple[str, ...]]:
    """What was wanted, what was seen."""
    crowded, fast, fair = one["crowd"], one["throughput"], one["fairness"]["jain"]
    rates = {sampler: [each["per_second"] for each in fast[sampler]] for sampler in ("auto", "random")}
    shares = ", ".join(f"{user} {seconds:.1f} s" for user, seconds in one["fairness"]["seconds"].items())

    def row(what: str, goal: str, seen: str, met: bool) -> tuple[str, ...]:  # noqa: FBT001 - a column
        return name, what, goal, seen, "**met**" if met else "**missed**"

    added, high = one["overhead"]["added 0.5"], one["overhead"]["added 0.99"]
    return [
        row("added to a trial, median", "≤ 25 ms", f"{added:.1f} ms", added <= 25),  # noqa: PLR2004 - the goal
        row("added to a trial, 99 %", "≤ 100 ms", f"{high:.1f} ms", high <= 100),  # noqa: PLR2004 - the goal
        row(
            f"trials a second, {WORKERS} workers",
            "≥ 50",
            f"{_middle(rates['auto'])} (service: {_typical(fast['auto'], 'cpu_ms'):.1f} ms of CPU a trial, sampling"
            f" {_typical(fast['auto'], 'sampling_ms'):.1f} ms); random sampler {_middle(rates['random'])}; Optuna's own"
            f" ask and tell {_middle(fast['optuna'])}",
            median(rates["auto"]) >= 50,  # noqa: PLR2004 - the goal
        ),
        row(
            f"{WORKERS} workers, trials of {LINEAR_SECONDS} s: share of linear",
            "≥ 0.9",
            f"{one['linear']:.3f}",
            one["linear"] >= 0.9,  # noqa: PLR2004 - the goal
        ),
        row(
            f"{CROWD} workers, {STREAMS} event streams: claim, 99 %",
            "< 250 ms",
            f"{crowded['claim_ms 0.99']:.0f} ms at {crowded['claims_per_second']:.1f} claims a second (median"
            f" {crowded['claim_ms 0.5']:.0f} ms; {crowded['events']:,} events; {crowded['problems']} refused requests;"
            f" memory of the service {crowded['memory_before']:.0f} → {crowded['memory']:.0f} MiB)",
            crowded["claim_ms 0.99"] < 250,  # noqa: PLR2004 - the goal
        ),
        row("Jain's index, three users", "≥ 0.95", f"{fair:.3f} ({shares})", fair >= 0.95),  # noqa: PLR2004 - the goal
    ]


def _middle(rates: Sequence[float]) -> str:
    """The median, and the range."""
    return f"{median(rates):.1f} [{min(rates):.1f}–{max(rates):.1f}]"


def _typical(rounds: Sequence[dict[str, float]], word: str) -> float:
    return median(one[word] for one in rounds)
