"""Which sampler finds the best proxy in the fewest trials, and what does it cost to ask it?

ResNet-20, cp3, at 20 % of the MACs: real trials, several seeds. And for fronts of the proxy and the macs: the volume
that the trials so far dominate.
"""

from __future__ import annotations

import argparse
import re
import statistics
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import optuna
from cifar_networks import PROTOCOL, CifarNetwork, network_of, positions_of
from page import PAGES, Page, options, shared_data
from plot import line_plot
from records import Piece, Records, queue_options, work_off
from searching import PROTOCOL_OF_TRIALS, RecordedTrial, best_so_far, run, sampler_of, search, search_piece

from service.search.allocations import equal_error, uniform
from service.search.perturbation import perturbed, projected
from service.search.plan import Choice, Past, Sample, SearchPlan, sample_at
from service.search.sampler import choose
from service.search.tpe import REACH

QUESTION = (__doc__ or "").splitlines()[0]
NAMES = {
    "auto": "error model of estimated changes (default)",
    "errors": "error model of relative errors",
    "local": "local steps",
    "tpe": "TPE",
    "cmaes": "CMA-ES",
    "random": "random, no warm starts",
    "gp": "GP (Optuna)",
}
_TWICE = ("gp", "auto", "errors")
"""These have their other seeds elsewhere in the queue."""
SEEDS, REPORTED = 5, 3
MARKS = (10, 25, 50, 100)
FRONT_LIMIT, FRONT_TRIALS, WORST = 0.5, 60, 1.0
"""Fronts reach up to this share of the MACs; kl above ``WORST`` nats counts for nothing."""
GP_STARTUP = 10


def main() -> None:
    """Search where nothing is recorded, and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    queue_options(parser, PAGES / "data" / "rank_searches.jsonl")
    parser.add_argument("--only", default="", help="only pieces that match this pattern, such as 'tpe'")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.records = chosen.work / "quick_searches.jsonl"
    pieces = quick_pieces() if chosen.quick else all_pieces()
    if not chosen.page_only:
        work_off(
            [piece for piece in pieces if re.search(chosen.only, str(piece))], perform, Records(chosen.records), chosen
        )
    write(pieces, Records(chosen.records), chosen)


def quick_pieces() -> list[Piece]:
    """A first look."""
    return [race(sampler, 0, 12) for sampler in ("auto", "random")]


def all_pieces() -> list[Piece]:
    """The most important first."""
    return [
        *(race(sampler, seed) for seed in range(REPORTED) for sampler in NAMES if sampler != "gp"),
        *(race(sampler, seed) for seed in range(REPORTED, SEEDS) for sampler in ("auto", "errors")),
        *(front(sampler, 0) for sampler in ("auto", "errors", "nsga2")),
        race("gp", 0, 50),
        *(race(sampler, seed) for seed in range(REPORTED, SEEDS) for sampler in NAMES if sampler not in _TWICE),
        *(front(sampler, seed) for seed in (1, 2) for sampler in ("auto", "errors", "nsga2")),
        *(race("gp", seed, 50) for seed in (1, 2)),
    ]


def race(sampler: str, seed: int, trials: int = 100) -> Piece:
    """One search; those that are reported on the page of ``pars.py`` are the same pieces."""
    asked = "auto" if sampler == "errors" else sampler
    piece = of_sampler(search_piece(20, ("cp3",), 0.2, asked, seed, trials), sampler)
    shared = sampler in {"auto", "errors", "random"} and seed < REPORTED and trials == 100  # noqa: PLR2004 - as there
    return piece if shared else {**piece, "unreported": True}


def of_sampler(piece: Piece, sampler: str) -> Piece:
    """The piece of the default; of ``errors`` without the greedy start, so that it knows no changes."""
    return {word: value for word, value in piece.items() if sampler != "errors" or word != "starts"}


def front(sampler: str, seed: int) -> Piece:
    """One search for a front."""
    return {**race(sampler, seed, FRONT_TRIALS), "what": "front", "budget": FRONT_LIMIT}


def perform(chosen: Mapping[str, Any], piece: Piece) -> dict[str, Any]:
    """One search."""
    if piece["what"] == "search" and piece["sampler"] != "gp":
        return search(chosen, piece)
    network = network_of(chosen, piece["depth"], piece["methods"])
    trial = RecordedTrial(network, Records(chosen["records"]), piece)
    asker = Front(network, piece) if piece["what"] == "front" else GaussianProcess(network, piece)
    trials, sampling = run(trial, piece["trials"], asker)
    found: dict[str, Any] = {"trials": trials, "sampling": sampling, "evaluated": trial.evaluated}
    if piece["what"] == "front":
        found["macs"] = [network.space.cost(positions_of(one[0])).macs for one in trials]
        found["limit"] = network.limits(FRONT_LIMIT)["macs"]
    return found


class Front:
    """Asks the product for the next trial of a front."""

    def __init__(self, network: CifarNetwork, piece: Piece) -> None:
        limits = network.limits(piece["budget"])
        self._space = network.space
        self._plan = SearchPlan(
            limits,
            "minimize",
            piece["seed"],
            10,
            sampler=piece["sampler"],
            objectives=("proxy", "macs"),
            judged=network.judged if "greedy" in piece.get("starts", ()) else None,
        )

    def __call__(self, index: int, past: list[Past]) -> Choice:
        """The next trial."""
        return choose(self._space, self._plan, index, past)


class GaussianProcess:
    """Asks Optuna's GPSampler, over what TPE is asked about: how many options each site is away from equal error."""

    def __init__(self, network: CifarNetwork, piece: Piece) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self._space, self._limits = network.space, network.limits(piece["budget"])
        self._middle = sample_at(self._space, equal_error(self._space, self._limits))
        self._rng = np.random.default_rng(piece["seed"])
        sampler = optuna.samplers.GPSampler(seed=piece["seed"], n_startup_trials=0, deterministic_objective=True)
        self._study = optuna.create_study(sampler=sampler)
        shown = range(len(self._space))
        self._offsets: dict[str, optuna.distributions.BaseDistribution] = {
            f"{at:04d}": optuna.distributions.FloatDistribution(-REACH, REACH) for at in shown
        }
        self._told = 0

    def __call__(self, index: int, past: list[Past]) -> Choice:
        """The next trial, after what was measured was told."""
        for trial in past[self._told :]:
            self._tell(trial)
        self._told = len(past)
        space, limits, middle = self._space, self._limits, self._middle
        if index < 2:  # noqa: PLR2004 - the warm starts of the others
            return Choice((uniform, equal_error)[index](space, limits), ("uniform", "equal_error")[index])
        if index < 2 + GP_STARTUP:
            return Choice(projected(space, perturbed(space, middle, self._rng, 1), limits), "sampler")
        asked = self._study.ask(self._offsets)
        away = np.array([asked.params[name] for name in self._offsets])
        self._study.tell(asked, state=optuna.trial.TrialState.FAIL)  # what was measured is told instead
        return Choice(projected(space, Sample(middle.selection, middle.levels + away), limits), "sampler")

    def _tell(self, trial: Past) -> None:
        away = sample_at(self._space, np.array(trial.positions)).levels - self._middle.levels
        params = dict(zip(self._offsets, np.clip(away, -REACH, REACH).tolist(), strict=True))
        self._study.add_trial(optuna.trial.create_trial(params=params, distributions=self._offsets, value=trial.value))


def write(pieces: Sequence[Piece], records: Records, chosen: argparse.Namespace) -> None:
    """The page."""
    known = records.of(pieces)
    page = Page("Samplers: the best proxy against trials", QUESTION)
    page.text(
        f"ResNet-20, cp3, 20 % of the MACs. {PROTOCOL} {PROTOCOL_OF_TRIALS.split(' The best')[0]} All but random"
        " search begin with uniform and equal error, the default with the greedy start besides; TPE, CMA-ES and GP then"
        " search offsets from the better of them."
        f" Least kl so far, in nats: mean over the seeds, and its range. {records.conditions(pieces)}"
    )
    searches: dict[str, list[dict[str, Any]]] = {}
    for piece, found in known:
        if piece["what"] == "search":
            searches.setdefault(sampler_of(piece), []).append(found)
    searches = {name: searches[name] for name in NAMES if name in searches}
    table_of_searches(page, searches)
    winner(page, searches)
    elsewhere(page, records)
    fronts(page, known, quick=chosen.quick)
    if not chosen.quick:
        plot(searches)
        page.text("From the second trial on, without random search, which is far above:")
        page.text("![best kl against trials](samplers.svg)")
    done = [piece for piece, _ in known]
    missing = [f"{NAMES.get(sampler_of(p), 'NSGA-II')} {p['what']} seed {p['seed']}" for p in pieces if p not in done]
    if missing:
        page.text(f"Planned and not run ({len(missing)}): {', '.join(missing)}.")
    page.figures = {name: [best_so_far(one["trials"]) for one in found] for name, found in searches.items()}
    page.write("samplers", chosen, ["torch", "optuna", "cmaes"])


def table_of_searches(page: Page, searches: Mapping[str, list[dict[str, Any]]]) -> None:
    """Least kl after some numbers of trials."""
    rows = []
    for name, found in searches.items():
        best = [best_so_far(one["trials"]) for one in found]
        cells = [cell([line[mark - 1] for line in best if len(line) >= mark]) for mark in MARKS]
        asking = sum(one["sampling"] for one in found) / sum(len(one["trials"]) for one in found)
        rows.append([NAMES[name], len(found), *cells, f"{asking:.3f}"])
    page.table(["sampler", "seeds", *(f"after {mark}" for mark in MARKS), "CPU s to choose a trial"], rows)


def cell(values: Sequence[float]) -> str:
    """Mean and range."""
    return f"{statistics.fmean(values):.4f} ({min(values):.4f} – {max(values):.4f})" if values else "–"


def winner(page: Page, searches: Mapping[str, list[dict[str, Any]]]) -> None:
    """Whether the default is the one that wins."""
    last = {
        name: [best_so_far(one["trials"])[MARKS[-1] - 1] for one in found if len(one["trials"]) >= MARKS[-1]]
        for name, found in searches.items()
    }
    means = {name: statistics.fmean(values) for name, values in last.items() if values}
    if "auto" not in means or len(means) < 2:  # noqa: PLR2004 - nothing to compare
        return
    best = min(means, key=lambda name: means[name])
    second = min((name for name in means if name != "auto"), key=lambda name: means[name])
    verdict = "**met**" if best == "auto" else f"**missed**: {NAMES[best]} wins"
    page.text(
        f"Goal: the default is the one that wins: {verdict}. After {MARKS[-1]} trials its mean is {means['auto']:.4f},"
        f" that of the best other one, {NAMES[second]}, {means[second]:.4f}."
    )


def elsewhere(page: Page, records: Records) -> None:
    """The two error models on other networks and budgets, from the searches of ``pars.py``."""
    rows = []
    for depth, budget in ((20, 0.2), (20, 0.33), (56, 0.2), (56, 0.33)):
        cells = []
        for sampler in ("auto", "errors"):
            pieces = [of_sampler(search_piece(depth, ("cp3",), budget, "auto", seed), sampler) for seed in range(3)]
            best = [best_so_far(found["trials"])[-1] for _, found in records.of(pieces)]
            cells.append(f"{cell(best)}, {len(best)} seeds" if best else "–")
        rows.append([f"ResNet-{depth}, {budget:.0%}", *cells])
    page.text(
        "The default is chosen by more than one network. Least kl after 100 trials, of the searches that"
        " [pars](pars.md) reports:"
    )
    page.table(["network, budget", NAMES["auto"], NAMES["errors"]], rows)


def fronts(page: Page, known: Sequence[tuple[Piece, dict[str, Any]]], *, quick: bool) -> None:
    """The volume against trials."""
    found = [(piece, one) for piece, one in known if piece["what"] == "front"]
    if not found:
        return
    names = NAMES | {"nsga2": "NSGA-II"}
    lines: dict[str, list[list[float]]] = {}
    for piece, one in found:
        own = [volume(one, count) for count in range(1, len(one["trials"]) + 1)]
        lines.setdefault(names[sampler_of(piece)], []).append(own)
    marks = (10, 20, 40, FRONT_TRIALS)
    page.text(
        f"Fronts of kl and macs up to {FRONT_LIMIT:.0%} of the MACs: the share of the rectangle from nothing to that"
        f" cost, and from 0 to {WORST:g} nats, that the trials so far dominate; mean and range over the seeds."
    )
    rows = [
        [name, len(own), *(cell([line[mark - 1] for line in own if len(line) >= mark]) for mark in marks)]
        for name, own in lines.items()
    ]
    page.table(["sampler", "seeds", *(f"after {mark}" for mark in marks)], rows)
    if not quick:
        means = {name: np.mean(own, axis=0) for name, own in lines.items()}
        line_plot(
            PAGES / "samplers_fronts.svg",
            {name: [(at + 1, float(y)) for at, y in enumerate(mean)] for name, mean in means.items()},
            x_label="trials",
            y_label="share dominated",
        )
        page.text("![fronts against trials](samplers_fronts.svg)")


def volume(found: dict[str, Any], count: int) -> float:
    """Dominated by the first trials: a staircase, from the cheapest on."""
    points = sorted(
        (macs / found["limit"], one[1])
        for macs, one in zip(found["macs"][:count], found["trials"][:count], strict=True)
        if one[1] < WORST
    )
    total, best = 0.0, WORST
    for (left, kl), (right, _) in pairwise([*points, (1.0, 0.0)]):
        best = min(best, kl)
        total += (right - left) * (WORST - best) / WORST
    return total


def plot(searches: Mapping[str, list[dict[str, Any]]]) -> None:
    """Mean and range, from the better warm start on; random search is far above."""
    lines: dict[str, list[tuple[float, float]]] = {}
    bands: dict[str, list[tuple[float, float, float]]] = {}
    for name, found in searches.items():
        if name == "random":
            continue
        best = np.array([best_so_far(one["trials"])[1:] for one in found])
        trials = range(2, best.shape[1] + 2)
        lines[NAMES[name]] = [(x, float(y)) for x, y in zip(trials, best.mean(0), strict=True)]
        bands[NAMES[name]] = [(x, float(a), float(b)) for x, a, b in zip(trials, best.min(0), best.max(0), strict=True)]
    line_plot(
        PAGES / "samplers.svg",
        lines,
        x_label="trials",
        y_label="least kl so far, nats",
        bands=bands,
    )


if __name__ == "__main__":
    main()
