"""The page of ``pars.py``, from its records."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cifar_networks import PROTOCOL
from page import PAGES, Page
from plot import line_plot
from records import Piece, Records
from searching import FINAL_IMAGES, KEPT, PROTOCOL_OF_TRIALS, SCREENED_ON, SWEEPS, sampler_of
from short_training import RECIPE

__all__ = ["write"]

LEVELS = ("raw", "statistics", "reconstruction", "all_layers")
WORDS = {
    "auto 100": "**ours, 100 trials**",
    "errors 100": "by relative errors, 100",
    "finals 100": "ours, trials as finals, 100",
    "random 100": "random search, 100",
    "random 1000": "random search, 1,000",
    "uniform": "uniform",
    "equal_error": "equal relative error",
    "vbmf": "VBMF",
    "energy": "equal energy",
    "greedy": "greedy table, measured",
    "estimated": "greedy, estimated",
    "auto": "ours, 100 trials",
    "errors": "by relative errors, 100",
}
ALLOCATIONS = ("uniform", "equal_error", "vbmf", "energy", "greedy")
_SEARCHED = ("auto", "errors")
_START = {False: "last layers", True: "all layers"}
GOALS = {
    # budget: (points below dense without a gradient step, points above the best allocation, below dense when tuned)
    0.33: (2.0, 0.5, 0.5),
    0.2: (6.0, 1.0, 1.5),
}


@dataclass(frozen=True)
class Row:
    """One way to choose ranks at one budget: what its seeds gave."""

    name: str
    measured: list[dict[str, Any]]

    @property
    def best_level(self) -> str:
        """As it is handed out, where all seeds were measured like that."""
        return "all_layers" if all("all_layers" in one for one in self.measured) else "reconstruction"

    def accuracies(self, level: str) -> list[float]:
        """Per cent, of every seed that was measured at this level."""
        return [100 * one[level] for one in self.measured if level in one]

    def mean(self, level: str) -> float:
        """Over the seeds."""
        return statistics.fmean(self.accuracies(level))

    def cell(self, level: str) -> str:
        """Mean and, of several, their spread."""
        every = self.accuracies(level)
        if not every:
            return "–"
        spread = f" ± {statistics.stdev(every):.1f} ({len(every)})" if len(every) > 1 else ""
        return f"{statistics.fmean(every):.1f}{spread}"


class Found:
    """The records by what they are about.

    Args:
        pieces: that were planned.
        records: what was done.
    """

    def __init__(self, pieces: Sequence[Piece], records: Records) -> None:
        self.done = records.of(pieces)
        self._handed_out = {
            str(piece["of"]): {"all_layers": found["all_layers"], "right_all_layers": found["right"]}
            for piece, found in self.done
            if piece["what"] == "out"
        }
        known = [piece for piece, _ in self.done]
        self.missing = [piece for piece in pieces if piece not in known]

    def groups(self) -> list[tuple[int, tuple[str, ...]]]:
        """Networks and method sets that have rows, in the order planned."""
        return list(
            dict.fromkeys(
                (piece["depth"], tuple(piece["methods"]))
                for piece, _ in self.done
                if piece["what"] in {"search", "allocation"}
            )
        )

    def dense(self, depth: int) -> float:
        """Accuracy of the dense network, per cent."""
        return next(100 * found for piece, found in self.done if piece == {"what": "dense", "depth": depth})

    def rows(self, depth: int, methods: Sequence[str]) -> dict[float, dict[str, Row]]:
        """Budget → name → row."""
        rows: dict[float, dict[str, Row]] = {}
        for piece, found in self.done:
            if piece["what"] not in {"search", "allocation"} or not _is_of(piece, depth, methods):
                continue
            search = piece["what"] == "search"
            name = f"{sampler_of(piece)} {piece['trials']}" if search else piece["rule"]
            own = rows.setdefault(piece["budget"], {}).setdefault(name, Row(name, []))
            own.measured.append((found["measured"] if search else found) | self._handed_out.get(str(piece), {}))
        return {budget: rows[budget] for budget in sorted(rows)}

    def tuned(self, depth: int, methods: Sequence[str]) -> dict[tuple[float, str, float, str], float]:
        """(Budget, row, epochs, what was refitted before) → accuracy after fine-tuning, per cent."""
        return {
            (piece["budget"], row_of(piece), piece["epochs"], _START["sweeps" in piece]): 100 * found["accuracy"]
            for piece, found in self.done
            if piece["what"] == "tuned" and _is_of(piece, depth, methods)
        }


def _is_of(piece: Piece, depth: int, methods: Sequence[str]) -> bool:
    return bool(piece["depth"] == depth and piece["methods"] == list(methods))


def write(question: str, pieces: Sequence[Piece], records: Records, chosen: argparse.Namespace) -> None:
    """Tables, goals, plots."""
    found = Found(pieces, records)
    page = Page("Ranks by search, by rule and by chance", question)
    page.text(f"{PROTOCOL} {PROTOCOL_OF_TRIALS} {records.conditions(pieces)}")
    page.text(
        f"`raw`: factors as decomposed. `statistics`: BatchNorm re-estimated on {FINAL_IMAGES:,} images."
        " `reconstruction`: last layers refitted on the same images."
        f" `all_layers`: all layers of each chain in {SWEEPS} sweeps before that, as the product hands it out; of a"
        " search's finalists, measured like that, the one of the least kl. Per cent right on `test[5000:]`, with ± the"
        " standard deviation over the seeds and their number in brackets where a search was run with several. One"
        f" accuracy has a standard error of {100 * np.sqrt(0.82 * 0.18 / 5000):.1f} points at 82 %; the difference of"
        " two networks on the same images has the paired standard error given with it. Random search starts from"
        " nothing and has the same finalists; of 1,000 random trials all are looked at with"
        f" {SCREENED_ON[0]} and {SCREENED_ON[1]} images and the best 1/{KEPT} of them measured as trials."
    )
    page.text(
        "Ours is the product's default: warm starts uniform, equal error and `greedy, estimated`, which count as"
        " trials, then the error model on the same estimate, of first order, by one backward pass over 256 images; the"
        " best start is always a finalist. `greedy table, measured` is the usual one: the divergence with one layer"
        " factorised at a time, at four ranks each. `by relative errors` is the search as it was without the estimate,"
        " `trials as finals` the default with every trial measured as a finalist is, at several times the price:"
        " what better trials could win at most."
        " The best allocation of the goals is the best of uniform, equal error, VBMF, equal energy and the measured"
        " table; the estimated one is a part of ours, and told beside."
    )
    for depth, methods in found.groups():
        table(page, found, depth, methods)
    fine_tuning(page, found)
    goals(page, found)
    plots(page, found, quick=chosen.quick)
    if found.missing:
        page.text("Planned and not run:")
        page.text(missing(found))
    page.figures = {"done": len(found.done), "rows": figures(found)}
    page.write("pars", chosen, ["torch", "optuna"])


def missing(found: Found) -> str:
    """What was not run, by network, methods and budget."""
    groups: dict[str, list[str]] = {}
    for piece in found.missing:
        where = [f"ResNet-{piece['depth']}", "+".join(piece.get("methods", ()))]
        budget = piece.get("of", piece).get("budget")
        if budget is not None:
            where.append(f"{budget:.0%}")
        groups.setdefault(" ".join(filter(None, where)), []).append(label(piece))
    return "\n".join(f"- {where}: {'; '.join(what)}" for where, what in groups.items())


def label(piece: Piece) -> str:
    """A piece in a few words."""
    if piece["what"] == "search":
        return f"{named(piece)} (seed {piece['seed']})"
    if piece["what"] in {"allocation", "tuned"}:
        return (
            WORDS[piece["rule"]]
            if piece["what"] == "allocation"
            else f"{WORDS[row_of(piece)]}, fine-tuned for {piece['epochs']:g} epochs from {_START['sweeps' in piece]}"
        )
    if piece["what"] == "out":
        return f"{label(piece['of'])}, all layers"
    return "the greedy table's measurements" if piece["what"] == "table" else "dense"


def named(search: Piece) -> str:
    """What a search is called in running text."""
    return WORDS.get(f"{sampler_of(search)} {search['trials']}", "a short search").replace("*", "")


def row_of(training: Piece) -> str:
    """Whose ranks are fine-tuned."""
    return sampler_of({**training, "sampler": training["row"]})


def table(page: Page, found: Found, depth: int, methods: Sequence[str]) -> None:
    """All rows of one network and method set."""
    rows = found.rows(depth, methods)
    shares = [next(iter(own.values())).measured[0]["share"] for own in rows.values()]
    page.text(f"## ResNet-{depth}, {' + '.join(methods)}")
    budgets = [f"{at:.0%} ({share:.1%} of the whole network)" for at, share in zip(rows, shares, strict=True)]
    page.text(f"Dense: {found.dense(depth):.1f} %. Budgets {', '.join(budgets)}.")
    header = ["ranks", *(f"{budget:.0%} {level}" for budget in rows for level in LEVELS)]
    known = {name for own in rows.values() for name in own}
    names = [*(name for name in WORDS if name in known), *sorted(known - set(WORDS))]
    cells = [
        [
            WORDS.get(name, name),
            *(own[name].cell(level) if name in own else "–" for own in rows.values() for level in LEVELS),
        ]
        for name in names
    ]
    page.table(header, cells)


def fine_tuning(page: Page, found: Found) -> None:
    """What the same training makes of it."""
    rows = []
    for depth, methods in found.groups():
        for (budget, row, epochs, start), accuracy in found.tuned(depth, methods).items():
            below = accuracy - found.dense(depth)
            what = [f"ResNet-{depth}", "+".join(methods), f"{budget:.0%}", WORDS[row], start, f"{epochs:g}"]
            rows.append([*what, f"{accuracy:.1f}", f"{below:+.1f}"])
    page.text("## After fine-tuning")
    if rows:
        page.text(f"From the network with its last layers refitted, or all, on all 50,000 training images: {RECIPE}.")
        page.table(["network", "methods", "budget", "ranks", "refitted", "epochs", "%", "against dense"], rows)
    else:
        page.text("Not run.")


def goals(page: Page, found: Found) -> None:
    """Each met or missed, and by how much."""
    page.text("## Goals")
    rows = []
    for depth, methods in found.groups():
        own, tuned = found.rows(depth, methods), found.tuned(depth, methods)
        dense = found.dense(depth)
        for budget, (untrained, ahead, trained) in GOALS.items():
            at_budget = own.get(budget, {})
            ours = at_budget.get("auto 100", at_budget.get("errors 100"))
            if ours is None:
                continue
            before = "" if ours.name == "auto 100" else f" ({WORDS[ours.name]})"
            where = f"ResNet-{depth}, {'+'.join(methods)}, {budget:.0%}{before}"
            level = ours.best_level
            below = dense - ours.mean(level)
            goal = f"within {untrained:g} of dense, no gradient step"
            rows.append([where, goal, f"{below:.1f} below", met(untrained - below)])
            others = [row for name, row in own[budget].items() if name in ALLOCATIONS and row.accuracies(level)]
            if others:
                best = max(others, key=lambda row: row.mean(level))
                gain, error = difference(ours, best, level)
                goal = f"≥ {ahead:g} above the best allocation ({WORDS[best.name]})"
                rows.append(
                    [where, goal, f"{round(gain, 1) + 0.0:+.1f} (paired standard error {error:.1f})", met(gain - ahead)]
                )
            after = {key[1:]: after for key, after in tuned.items() if key[0] == budget and key[1] in _SEARCHED}
            for (row, epochs, start), accuracy in sorted(after.items()):
                by = "" if row == "auto" else f" ({WORDS[row]})"
                goal = f"within {trained:g} of dense, fine-tuned for {epochs:g} epochs from {start} refitted{by}"
                below = dense - accuracy
                rows.append([where, goal, f"{below:.1f} below", met(trained - below)])
    page.table(["where", "goal", "found", ""], rows)


def difference(ours: Row, other: Row, level: str) -> tuple[float, float]:
    """Mean gain in points over the seeds, and its standard error over the images, which are the same for both."""
    gains = np.mean([right(one, level) for one in ours.measured], axis=0) - right(other.measured[0], level)
    return 100 * float(gains.mean()), 100 * float(gains.std() / np.sqrt(len(gains)))


def right(measured: dict[str, Any], level: str) -> np.ndarray:
    """1 for each image of the report that is told right."""
    packed = measured["right_all_layers" if level == "all_layers" else "right"]
    return np.unpackbits(np.frombuffer(bytes.fromhex(packed), dtype=np.uint8))[:5000].astype(float)


def met(margin: float) -> str:
    """In points."""
    return f"**met** by {margin:.1f}" if margin >= 0 else f"**missed** by {-margin:.1f}"


def plots(page: Page, found: Found, *, quick: bool) -> None:
    """Accuracy against the budget, for those that have several."""
    for depth, methods in found.groups():
        rows = found.rows(depth, methods)
        if quick or len(rows) < 2 or "cp3" not in methods:  # noqa: PLR2004 - a line takes two points
            continue
        lines: dict[str, list[tuple[float, float]]] = {}
        for name, words in WORDS.items():
            points = [
                (100 * budget, own[name].mean(own[name].best_level)) for budget, own in rows.items() if name in own
            ]
            if points and min(y for _, y in points) > 70:  # noqa: PLR2004 - else the others lie in one line
                lines[words.replace("*", "")] = points
        lines["dense"] = [(100 * budget, found.dense(depth)) for budget in rows]
        name = f"pars_{depth}_{'_'.join(methods)}.svg"
        line_plot(
            PAGES / name,
            lines,
            x_label="MACs of the factorised layers, %",
            y_label="accuracy on test[5000:], refitted, %",
            title=f"ResNet-{depth}, {' + '.join(methods)}",
        )
        page.text(f"![accuracy against budget]({name})")


def figures(found: Found) -> list[dict[str, Any]]:
    """For programs."""
    return [
        {"depth": depth, "methods": list(methods), "budget": budget, "ranks": name}
        | {level: row.accuracies(level) for level in LEVELS if row.accuracies(level)}
        for depth, methods in found.groups()
        for budget, rows in found.rows(depth, methods).items()
        for name, row in rows.items()
    ]
