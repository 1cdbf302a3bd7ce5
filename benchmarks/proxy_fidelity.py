"""Which cheap measure of a compressed network ranks rank vectors as their accuracy after fine-tuning does?

Rank vectors of one cost are each measured by every proxy and then fine-tuned alike. Kendall's τ between a measure and
the accuracy after fine-tuning says how far the measure can be trusted, and how many images it needs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from cifar_networks import PROTOCOL, VALIDATED, CifarNetwork, network_of
from page import PAGES, Page, options, shared_data
from plot import line_plot
from records import Piece, Records, queue_options, work_off
from scipy.stats import kendalltau
from short_training import RECIPE, ShortTraining
from torch import Tensor

import proxy
from service.search.allocations import equal_error, uniform
from service.search.chains import Positions
from service.search.perturbation import projected
from service.search.plan import Sample, sample_at

QUESTION = (__doc__ or "").splitlines()[0]
SHARES = (0.1, 0.2, 0.35, 0.6)
"""How far a vector is drawn from an allocation towards random levels."""
DRAWS = 3
CALIBRATION, VALIDATION = (64, 128, 256, 512, 1024), (250, 500, 1000, 2000, 5000)
CALIBRATED, SEEN = 256, 1000
"""Images of the default proxy."""
METRICS = ("accuracy", "kl", "loss", "features")
GOAL, AHEAD = 0.8, 0.2


def main() -> None:
    """Measure what is not recorded, and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    queue_options(parser, PAGES / "data" / "proxy_fidelity.jsonl")
    parser.add_argument("--budget", type=float, default=0.2, help="share of the MACs (default: %(default)s)")
    parser.add_argument("--train", type=int, default=10_240, help="images of the fine-tuning (default: %(default)s)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.train, chosen.records = 640, chosen.work / "quick_fidelity.jsonl"
    records = Records(chosen.records)
    pieces = vectors(chosen)[:4] if chosen.quick else vectors(chosen)
    if not chosen.page_only:
        work_off(pieces, measure, records, chosen)
    found = [value for piece in pieces if (value := records.get(piece)) is not None]
    write(chosen, found, records.conditions(pieces))


def vectors(chosen: argparse.Namespace) -> list[Piece]:
    """Which rank vectors: two allocations, and draws away from each; the widths take turns."""
    same = {"depth": 20, "methods": ["cp3"], "budget": chosen.budget, "train": chosen.train}
    drawn = [
        {**same, "around": around, "share": share, "draw": draw}
        for draw in range(DRAWS)
        for share in SHARES
        for around in ("uniform", "equal_error")
    ]
    return [{**same, "around": around, "share": 0.0, "draw": 0} for around in ("equal_error", "uniform")] + drawn


def vector(network: CifarNetwork, piece: Piece) -> Positions:
    """The ranks of a piece, on the budget."""
    limits, space = network.limits(piece["budget"]), network.space
    start = (uniform if piece["around"] == "uniform" else equal_error)(space, limits)
    share = piece["share"]
    if share == 0:
        return start
    seed = [piece["draw"], round(1000 * share), piece["around"] == "uniform"]
    levels = sample_at(space, start).levels
    chance = np.random.default_rng(seed).uniform(0, space.under(space.preferred).top)
    return projected(space, Sample(space.preferred, (1 - share) * levels + share * chance), limits)


def measure(chosen: Mapping[str, Any], piece: Piece) -> dict[str, Any]:
    """Everything about one vector."""
    network = network_of(chosen, piece["depth"], piece["methods"])
    at = vector(network, piece)
    found: dict[str, Any] = {
        "positions": at.tolist(),
        "macs": network.space.cost(at).macs,
        "share": network.share(at),
        "squared errors": float(np.square(network.space.errors[network.space.rows, at]).sum()),
        "raw": all_metrics(network, network.raw(at)),
        "statistics": all_metrics(network, network.statistics(at, CALIBRATED)),
        "reconstruction": all_metrics(network, network.reconstructed(at, CALIBRATED)),
        "kl by images": {},
    }
    for count in CALIBRATION:
        small = network.reconstructed(at, count)
        found["kl by images"][count] = kl_by_images(network, small, count)
    start = time.process_time()
    training(network, piece["train"])(small)  # the one that saw most images
    found["training, CPU s"] = time.process_time() - start
    found["tuned"] = [
        proxy.score(small, network.images.batches(*part)).value for part in ((0, VALIDATED), (VALIDATED, 10_000))
    ]
    return found


def all_metrics(network: CifarNetwork, small: torch.nn.Module) -> dict[str, float | None]:
    """On the validation images of the default proxy."""
    by_logits = network.score(small, SEEN)
    features = network.score(small, SEEN, "features").value
    return {"accuracy": by_logits.accuracy, "kl": by_logits.kl, "loss": by_logits.loss, "features": features}


@torch.no_grad()
def kl_by_images(network: CifarNetwork, small: torch.nn.Module, calibration: int) -> dict[int, float]:
    """KL on the first images of each count; of all counts at the default calibration, else up to the default's."""
    counts = [count for count in VALIDATION if count <= SEEN or calibration == CALIBRATED]
    values: list[Tensor] = []
    batches = network.images.batches(0, max(counts))
    for (images, _), logits in zip(batches, network.logits(max(counts)), strict=True):
        dense, own = logits.log_softmax(1), small(images).log_softmax(1)
        values.append((dense.exp() * (dense - own)).sum(1))
    each = torch.cat(values)
    return {count: float(each[:count].mean()) for count in counts}


_TRAINING: dict[int, ShortTraining] = {}


def training(network: CifarNetwork, count: int) -> ShortTraining:
    """Of this process."""
    if count not in _TRAINING:
        _TRAINING[count] = ShortTraining(network.dense, *network.images.train(count), seen=count)
    return _TRAINING[count]


def tau(measured: Sequence[float], tuned: Sequence[float]) -> float:
    """Kendall's; both of them larger where better."""
    return float(kendalltau(measured, tuned).statistic)


def spread_of(tau_of: Any, count: int) -> float:  # noqa: ANN401 - a function of chosen rows
    """Standard deviation over the vectors: of 1,000 draws of them with repetition."""
    rng = np.random.default_rng(0)
    return float(np.nanstd([tau_of(rng.integers(0, count, count)) for _ in range(1000)]))


def taus(found: list[dict[str, Any]], tuned: Sequence[float]) -> dict[str, dict[str, float]]:
    """Measure → metric → τ."""
    answer: dict[str, dict[str, float]] = {}
    for level in ("raw", "statistics", "reconstruction"):
        answer[level] = {
            metric: tau([(1 if metric == "accuracy" else -1) * one[level][metric] for one in found], tuned)
            for metric in METRICS
        }
    answer["weights"] = {"squared errors": tau([-one["squared errors"] for one in found], tuned)}
    return answer


def write(chosen: argparse.Namespace, found: list[dict[str, Any]], conditions: str) -> None:
    """The page."""
    page = Page("How far a proxy can be trusted", QUESTION)
    count = len(found)
    report = np.array([one["tuned"][1] for one in found])
    both = np.array([np.mean(one["tuned"]) for one in found])
    page.text(
        f"{count} rank vectors of ResNet-20, cp3, at {chosen.budget:.0%} of the MACs ({found[0]['share']:.1%} of the"
        f" whole network's; they differ by {spread([one['macs'] for one in found]):.1%}): uniform, equal relative"
        f" error, and draws from each towards random levels, by {', '.join(f'{s:.0%}' for s in SHARES)}. {PROTOCOL}"
        f" Each was reconstructed on 1,024 images and fine-tuned once on the first {chosen.train:,} training images:"
        f" {RECIPE}. Proxies on {CALIBRATED} calibration and {SEEN:,} validation images. {conditions}"
    )
    page.text(
        f"Accuracy after fine-tuning on `test[5000:]`: {report.min():.1%} to {report.max():.1%}, standard deviation"
        f" {report.std():.1%}; the standard error of one of them is {100 * np.sqrt(0.82 * 0.18 / 5000):.1f} points, and"
        " less between two networks on the same images."
    )
    on_report, on_all = taus(found, report.tolist()), taus(found, both.tolist())
    rows = [
        (f"{level}: {metric}", f"{own[metric]:.2f}", f"{on_all[level][metric]:.2f}")
        for level, own in on_report.items()
        for metric in own
    ]
    page.table(["measure", "τ on `test[5000:]`", "τ on all 10,000"], rows)
    counts = by_counts(page, found, report.tolist())
    verdict(page, found, report, on_report)
    conclusion(page, found, report, on_report)
    if not chosen.quick:
        line_plot(
            PAGES / "proxy_fidelity.svg",
            {f"kl after reconstruction on {c} images": list(points) for c, points in counts.items()},
            x_label="validation images",
            y_label="Kendall's τ with the accuracy after fine-tuning",
            log_x=True,
        )
        page.text("![τ against images](proxy_fidelity.svg)")
    page.figures = {"vectors": count, "tau": on_report, "tau_all_images": on_all}
    page.write("proxy_fidelity", chosen, ["torch", "scipy"])


def by_counts(page: Page, found: list[dict[str, Any]], tuned: Sequence[float]) -> dict[int, list[tuple[float, float]]]:
    """τ of kl after reconstruction, by how many images it sees."""
    points: dict[int, list[tuple[float, float]]] = {}
    for calibration in CALIBRATION:
        own = [one["kl by images"][str(calibration)] for one in found]
        points[calibration] = [
            (count, tau([-kl[str(count)] for kl in own], tuned)) for count in VALIDATION if str(count) in own[0]
        ]
    rows = []
    for calibration, line in points.items():
        known = dict(line)
        rows.append([f"{calibration:,}", *(f"{known[c]:.2f}" if c in known else "–" for c in VALIDATION)])
    page.text("τ of kl after reconstruction, by calibration images (down) and validation images (across):")
    page.table(["", *(f"{count:,}" for count in VALIDATION)], rows)
    return points


def verdict(page: Page, found: list[dict[str, Any]], tuned: np.ndarray, on_report: dict[str, Any]) -> None:
    """The goals."""
    default, raw = on_report["reconstruction"]["kl"], on_report["raw"]["accuracy"]
    kl = np.array([one["reconstruction"]["kl"] for one in found])
    accuracy = np.array([one["raw"]["accuracy"] for one in found])
    noise = spread_of(lambda rows: tau((-kl[rows]).tolist(), tuned[rows].tolist()), len(found))
    apart = spread_of(
        lambda rows: (
            tau((-kl[rows]).tolist(), tuned[rows].tolist()) - tau(accuracy[rows].tolist(), tuned[rows].tolist())
        ),
        len(found),
    )
    page.text(
        f"Goals: τ ≥ {GOAL} for the default proxy, kl after reconstruction on {CALIBRATED} and {SEEN:,} images:"
        f" {default:.2f} ± {noise:.2f} (bootstrap over the vectors), {met(default - GOAL)}. Above raw accuracy by"
        f" {AHEAD}: by {default - raw:.2f} ± {apart:.2f}, {met(default - raw - AHEAD)}."
    )


def conclusion(page: Page, found: list[dict[str, Any]], tuned: np.ndarray, on_report: dict[str, Any]) -> None:
    """The defaults that follow, and what speaks against reading too much into them."""
    level, metric = max(
        ((level, metric) for level in ("statistics", "reconstruction") for metric in ("kl", "features")),
        key=lambda one: on_report[one[0]][one[1]],
    )
    loss = on_report["reconstruction"]["loss"]
    page.text(
        f"Defaults that follow: {metric} after {level}, the best of those that need no labels (the best that needs"
        f" them, loss: {loss:.2f}), on {CALIBRATED} calibration and {SEEN:,} validation images, as the table has it."
    )
    better = np.argsort(-tuned)[: len(tuned) // 2]
    close = tau([-found[at]["reconstruction"]["kl"] for at in better], tuned[better].tolist())
    page.text(
        f"Caveats: among the better half alone ({tuned[better].min():.1%} to {tuned.max():.1%}) the default proxy's τ"
        f" is {close:.2f}. The fine-tuning starts from the reconstructed network, as it is handed out, which favours"
        " what is measured after reconstruction. At this budget raw accuracy is near chance, so its τ says no more"
        " than that. The training was run with one seed."
    )


def met(margin: float) -> str:
    """Or missed, and by how much."""
    return f"**met** by {margin:.2f}" if margin >= 0 else f"**missed** by {-margin:.2f}"


def spread(values: Sequence[float]) -> float:
    """(max − min) / max."""
    return (max(values) - min(values)) / max(values)


if __name__ == "__main__":
    main()
