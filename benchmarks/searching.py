"""Searches as a study makes them, without the service: the same sampler, trials, finalists; every trial to its end.

A trial: reconstruction on 256 calibration images, kl on ``test[:1000]``. Finalists: the best five, again with 1,024
calibration images on ``test[:5000]``; the least kl wins. The winner alone is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from cifar_networks import VALIDATED, CifarNetwork, network_of, positions_of
from records import Piece, Records

import proxy
from service.search.chains import Positions
from service.search.plan import Choice, Past, SearchPlan
from service.search.sampler import choose

__all__ = [
    "FINALISTS",
    "FINAL_IMAGES",
    "KEPT",
    "PROTOCOL_OF_TRIALS",
    "SCREENED_ON",
    "SWEEPS",
    "RecordedTrial",
    "Trials",
    "best_so_far",
    "handed_out",
    "measured",
    "reported",
    "run",
    "sampler_of",
    "search",
    "search_piece",
    "with_finals_for_trials",
]

CALIBRATED, SEEN, FINALISTS, FINAL_IMAGES = 256, 1000, 5, 1024
STARTS = ("uniform", "equal_error", "greedy")
"""The product's default."""
SWEEPS = 2
"""Over all layers of what is handed out, and of the finalists that it is chosen from."""
SCREENED_ON, KEPT = (64, 250), 10
"""Of a screened search: the images of the first look, and one in how many is then measured as a trial."""

PROTOCOL_OF_TRIALS = (
    f"A trial: reconstruction on {CALIBRATED} images, kl on `test[:{SEEN}]`, none stopped early. The best {FINALISTS}"
    f" are measured again with {FINAL_IMAGES:,} calibration images on `test[:5000]`, and the least kl wins."
)

Trials: TypeAlias = list[list[Any]]
"""``[positions, kl, accuracy, origin]`` of each, in order."""


def search_piece(
    depth: int, methods: Sequence[str], budget: float, sampler: str, seed: int, trials: int = 100
) -> Piece:
    """Its name. Random search begins with no allocation; of more than 100 random trials all are looked at first.

    Only the product's default has the greedy start and what it is made of; the other samplers begin with two.
    """
    same = {"starts": list(STARTS)} if sampler == "auto" else {}
    return {
        "what": "search",
        "depth": depth,
        "methods": list(methods),
        "budget": budget,
        "sampler": sampler,
        "seed": seed,
        "trials": trials,
        **same,
    }


def with_finals_for_trials(search: Piece) -> Piece:
    """The same search, every trial of which is measured as a finalist is: what better trials could win at most."""
    return {**search, "as_final": True}


def sampler_of(search: Piece) -> str:
    """Its name; that of a search without the estimated start, ``errors``."""
    if "as_final" in search:
        return "finals"
    return "errors" if search["sampler"] == "auto" and "starts" not in search else str(search["sampler"])


def search(chosen: Mapping[str, Any], piece: Piece) -> dict[str, Any]:
    """All trials, the finals, and what the winner is worth."""
    network = network_of(chosen, piece["depth"], piece["methods"])
    trial = RecordedTrial(network, Records(chosen["records"]), piece)
    clock = time.process_time()
    screened = piece["sampler"] == "random" and piece["trials"] > 100  # noqa: PLR2004 - more would take hours
    trials, sampling = _screened(network, trial, piece) if screened else _searched(network, trial, piece)
    found = {"trials": trials, "sampling": sampling, "evaluated": trial.evaluated}
    if piece.get("unreported"):
        return found
    found |= reported(network, trials, measured_already="as_final" in piece)
    return found | {"seconds": time.process_time() - clock}


def reported(network: CifarNetwork, trials: Trials, *, measured_already: bool = False) -> dict[str, Any]:
    """The best trials on more images, the best of those, and what it is worth."""
    finals = [[kl, accuracy, positions] for positions, kl, accuracy, _ in _finalists(trials)]
    if not measured_already:
        for final in finals:
            score = network.score(network.reconstructed(positions_of(final[2]), FINAL_IMAGES), VALIDATED)
            final[:2] = score.kl, score.accuracy
    won = min(finals, key=lambda one: one[0])[2]
    return {"finals": finals, "won": won, "measured": measured(network, positions_of(won))}


def _finalists(trials: Trials) -> Trials:
    """The best, the best warm start among them."""
    ordered = _distinct(sorted(trials, key=lambda one: one[1]))
    first, others = ordered[:FINALISTS], ordered[FINALISTS:]
    starts = [one for one in others if one[3] != "sampler"]
    if starts and all(one[3] == "sampler" for one in first):
        first[-1] = starts[0]
    return first


def _distinct(trials: Trials) -> Trials:
    return list({tuple(one[0]): one for one in reversed(trials)}.values())[::-1]


def _searched(network: CifarNetwork, trial: RecordedTrial, piece: Piece) -> tuple[Trials, float]:
    plan = SearchPlan(
        network.limits(piece["budget"]),
        "minimize",
        piece["seed"],
        10,
        sampler=piece["sampler"],
        warm_starts=() if piece["sampler"] == "random" else tuple(piece.get("starts", STARTS[:2])),
        judged=network.judged if "greedy" in piece.get("starts", ()) else None,
    )
    return run(trial, piece["trials"], lambda index, past: choose(network.space, plan, index, past))


def run(
    trial: Callable[[Positions], tuple[float, float]], count: int, ask: Callable[[int, list[Past]], Choice]
) -> tuple[Trials, float]:
    """Ask, measure, remember; the trials, and the CPU seconds that the asking took."""
    past: list[Past] = []
    trials, sampling = [], 0.0
    for index in range(count):
        start = time.process_time()
        choice = ask(index, past)
        sampling += time.process_time() - start
        kl, accuracy = trial(choice.positions)
        numbers = [int(at) for at in choice.positions]
        past.append(Past(index, choice.origin, tuple(numbers), kl, kl))
        trials.append([numbers, kl, accuracy, choice.origin])
    return trials, sampling


def _screened(network: CifarNetwork, trial: RecordedTrial, piece: Piece) -> tuple[Trials, float]:
    """Random ones are so far apart that few images tell which of them are worth a trial."""
    plan = SearchPlan(network.limits(piece["budget"]), "minimize", piece["seed"], 10, sampler="random", warm_starts=())
    calibration, seen = SCREENED_ON

    def glance(positions: Positions) -> tuple[float, float]:
        score = network.score(network.reconstructed(positions, calibration), seen)
        return score.kl or 0.0, score.accuracy or 0.0

    looked, sampling = run(glance, piece["trials"], lambda index, past: choose(network.space, plan, index, past))
    looked.sort(key=lambda one: one[1])
    kept = [one[0] for one in looked[: piece["trials"] // KEPT]]
    return [[positions, *trial(positions_of(positions)), "sampler"] for positions in kept], sampling


class RecordedTrial:
    """Measures a rank vector, unless an earlier search of the same space did."""

    def __init__(self, network: CifarNetwork, records: Records, piece: Piece) -> None:
        self._network = network
        self._images, self._sweeps, self._seen = (CALIBRATED, 0, SEEN)
        if "as_final" in piece:
            self._images, self._sweeps, self._seen = FINAL_IMAGES, SWEEPS, VALIDATED
        self._known: dict[tuple[int, ...], tuple[float, float]] = {}
        self.evaluated = 0
        for known, found in records:
            if "trials" in known and all(known.get(w) == piece.get(w) for w in ("depth", "methods", "as_final")):
                self._known |= {tuple(one[0]): (one[1], one[2]) for one in found["trials"]}

    def __call__(self, positions: Positions) -> tuple[float, float]:
        """Its kl and accuracy."""
        key = tuple(int(at) for at in positions)
        if key not in self._known:
            small = self._network.reconstructed(positions, self._images, sweeps=self._sweeps)
            score = self._network.score(small, self._seen)
            self._known[key] = (score.kl or 0.0, score.accuracy or 0.0)
            self.evaluated += 1
        return self._known[key]


def measured(network: CifarNetwork, positions: Positions) -> dict[str, Any]:
    """What ranks are worth on ``test[5000:]``: raw, with statistics, with reconstruction; and on which images."""
    kept = network.reconstructed(positions, FINAL_IMAGES)
    right = _right(network, kept)
    return {
        "positions": [int(at) for at in positions],
        "share": network.share(positions),
        "raw": network.report(network.raw(positions)),
        "statistics": network.report(network.statistics(positions, FINAL_IMAGES)),
        "reconstruction": float(right.mean()),
        "right": np.packbits(right).tobytes().hex(),
    }


def handed_out(network: CifarNetwork, candidates: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Of these ranks, all layers of each chain refitted, those of the least kl, and what they are worth."""
    finals = []
    for numbers in candidates:
        small = network.reconstructed(positions_of(numbers), FINAL_IMAGES, sweeps=SWEEPS)
        finals.append((network.score(small, VALIDATED).kl or 0.0, [int(at) for at in numbers], small))
    kl, won, small = min(finals, key=lambda one: one[0])
    right = _right(network, small)
    return {"won": won, "kl": kl, "all_layers": float(right.mean()), "right": np.packbits(right).tobytes().hex()}


def _right(network: CifarNetwork, small: Any) -> np.ndarray:  # noqa: ANN401 - a module
    """Which images of the report are told right."""
    batches = network.images.batches(VALIDATED, 10_000)
    answers = proxy.reference_logits(small, batches)
    own = [(logits.argmax(1) == labels).cpu().numpy() for logits, (_, labels) in zip(answers, batches, strict=True)]
    return np.concatenate(own)


def best_so_far(trials: Trials) -> list[float]:
    """The least kl after each trial."""
    return [float(kl) for kl in np.minimum.accumulate([one[1] for one in trials])]
