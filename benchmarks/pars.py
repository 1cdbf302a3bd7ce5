"""How accurate do ranks found by a search leave a network, against allocations and random search, at one cost?

After PARS (Sobolev et al., Mathematics 2022), on ResNet-20 and ResNet-56: raw, with re-estimated statistics, with
closed-form reconstruction of the last layers, of all layers, and after the same short fine-tuning.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from cifar_networks import CifarNetwork, network_of, positions_of
from greedy_table import greedy_table
from page import PAGES, options, shared_data
from pars_page import write
from records import Piece, Records, queue_options, work_off
from searching import FINAL_IMAGES, STARTS, SWEEPS, handed_out, measured, search, search_piece, with_finals_for_trials
from short_training import ShortTraining

from service.scheduling.sensitivity import pairs_of
from service.search.allocations import by_rule, equal_error, uniform
from service.search.chains import Positions
from service.search.changes import judged

QUESTION = (__doc__ or "").splitlines()[0]
CP3, MIXED = ("cp3",), ("cp3", "tucker2", "spatial_svd")
ALONE = (("tucker2",), ("spatial_svd",))
RULES = ("uniform", "equal_error", "vbmf", "energy", "greedy", "estimated")
BUDGETS = (0.2, 0.33, 0.5)


def main() -> None:
    """Compute what is not recorded, in order of importance, and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    queue_options(parser, PAGES / "data" / "rank_searches.jsonl")
    parser.add_argument(
        "--epochs",
        type=float,
        default=2,
        help="of the fine-tuning; ResNet-20 also for four times as many (default: %(default)s)",
    )
    parser.add_argument("--only", default="", help="only pieces that match this pattern, such as 'tuned'")
    chosen = parser.parse_args()
    pieces = quick_pieces() if chosen.quick else all_pieces(chosen.epochs)
    if chosen.quick:
        chosen.records = chosen.work / "quick_searches.jsonl"
    if not chosen.page_only:
        wanted = [piece for piece in pieces if re.search(chosen.only, str(piece))]
        work_off(wanted, perform, Records(chosen.records), chosen)
    records = Records(chosen.records)
    known = {str(piece) for piece, _ in records}
    pieces += [piece for piece in map(before, pieces) if str(piece) in known and piece not in pieces]
    write(QUESTION, pieces, records, chosen)


def quick_pieces() -> list[Piece]:
    """A first look."""
    few = search_piece(20, CP3, 0.2, "auto", 0, 6)
    rows = [*allocations(20, CP3, 0.2, ("uniform", "equal_error")), few]
    return [{"what": "dense", "depth": 20}, *rows, *map(out, rows)]


def all_pieces(epochs: float) -> list[Piece]:
    """Everything that the page may show, the most important first."""
    pieces: list[Piece] = [{"what": "dense", "depth": 20}]
    pieces += [search_piece(20, CP3, budget, "auto", 0) for budget in (0.2, 0.33)]
    pieces += [table(20, CP3)]
    pieces += [one for budget in (0.2, 0.33) for one in allocations(20, CP3, budget)]
    pieces += [search_piece(20, CP3, budget, "auto", seed) for seed in (1, 2) for budget in (0.2, 0.33)]
    pieces += [search_piece(20, CP3, 0.2, "random", 0)]
    pieces += [tuned(20, CP3, budget, row, epochs) for budget in (0.33, 0.2) for row in ("auto", "equal_error")]
    pieces += of_mixed(20, (0,))
    pieces += [{"what": "dense", "depth": 56}, search_piece(56, CP3, 0.2, "auto", 0)]
    pieces += allocations(56, CP3, 0.2, ("uniform", "equal_error"))
    pieces += [search_piece(20, CP3, 0.33, "random", 0), search_piece(20, CP3, 0.2, "random", 0, 1000)]
    pieces += [search_piece(20, CP3, 0.5, "auto", 0), *allocations(20, CP3, 0.5)]
    pieces += [search_piece(56, CP3, 0.33, "auto", 0), *allocations(56, CP3, 0.33, ("uniform", "equal_error"))]
    pieces += [tuned(20, CP3, budget, "uniform", epochs) for budget in (0.33, 0.2)]
    pieces += [search_piece(20, CP3, 0.33, "random", 0, 1000)]
    pieces += of_mixed(20, (1, 2))
    pieces += [one for b in (0.2, 0.33) for one in allocations(56, CP3, b, ("vbmf", "energy"))]
    pieces += [search_piece(56, CP3, 0.5, "auto", 0)]
    pieces += allocations(56, CP3, 0.5, ("uniform", "equal_error", "vbmf", "energy"))
    pieces += [search_piece(20, CP3, 0.5, "auto", seed) for seed in (1, 2)]
    pieces += [search_piece(20, CP3, budget, "random", seed) for seed in (1, 2) for budget in (0.2, 0.33)]
    pieces += [search_piece(20, CP3, 0.5, "random", seed) for seed in (0, 1, 2)]
    for alone in ALONE:
        pieces += [one for b in BUDGETS for one in allocations(20, alone, b, ("uniform", "equal_error"))]
        pieces += [search_piece(20, alone, budget, "auto", 0) for budget in (0.5, 0.33, 0.2)]
    pieces += [tuned(56, CP3, b, row, epochs) for b in (0.33, 0.2) for row in ("auto", "equal_error", "uniform")]
    pieces += [tuned(20, CP3, b, row, 4 * epochs) for row in ("auto", "equal_error") for b in (0.33, 0.2)]
    pieces += [table(56, CP3), *(one for b in BUDGETS for one in allocations(56, CP3, b, ("greedy", "estimated")))]
    pieces += [search_piece(56, CP3, budget, "auto", seed) for seed in (1, 2) for budget in BUDGETS]
    pieces += [search_piece(56, MIXED, budget, "auto", 0) for budget in BUDGETS]
    pieces += [with_finals_for_trials(search_piece(20, CP3, budget, "auto", 0)) for budget in (0.2, 0.33)]
    pieces += [out(piece) for piece in pieces if piece["what"] in {"search", "allocation"}]
    pieces += [refitted(piece) for piece in pieces if piece["what"] == "tuned"]
    return [piece for at, piece in enumerate(pieces) if piece not in pieces[:at]]


def of_mixed(depth: int, seeds: tuple[int, ...]) -> list[Piece]:
    """All methods together."""
    found = [search_piece(depth, MIXED, budget, "auto", seed) for seed in seeds for budget in (0.2, 0.33)]
    return found + [one for b in (0.2, 0.33) for one in allocations(depth, MIXED, b, ("equal_error",))]


def table(depth: int, methods: tuple[str, ...]) -> Piece:
    """The independent table."""
    return {"what": "table", "depth": depth, "methods": list(methods)}


def allocations(depth: int, methods: tuple[str, ...], budget: float, rules: tuple[str, ...] = RULES) -> list[Piece]:
    """One piece a rule."""
    same = {"what": "allocation", "depth": depth, "methods": list(methods), "budget": budget}
    return [{**same, "rule": rule} for rule in rules]


def tuned(depth: int, methods: tuple[str, ...], budget: float, row: str, epochs: float) -> Piece:
    """The fine-tuning of a row's ranks, of the search's first seed."""
    same = {"depth": depth, "methods": list(methods), "budget": budget}
    starts = {"starts": list(STARTS)} if row == "auto" else {}
    return {"what": "tuned", **same, "row": row, "epochs": epochs, **starts}


def before(piece: Piece) -> Piece:
    """The same of the search as it was without the estimate of each layer's change, of which there are records."""
    kept = {word: value for word, value in piece.items() if word != "starts"}
    return {**kept, "of": before(kept["of"])} if "of" in kept else kept


def out(row: Piece) -> Piece:
    """What a row's ranks are worth as they are handed out."""
    return {"what": "out", "depth": row["depth"], "methods": row["methods"], "of": row}


def refitted(training: Piece) -> Piece:
    """The same fine-tuning, from the network that is handed out."""
    return {**training, "sweeps": SWEEPS}


def perform(chosen: Mapping[str, Any], piece: Piece) -> Any:  # noqa: ANN401 - whatever JSON is recorded
    """Do one piece; None where it needs another one first."""
    if piece["what"] == "search":
        return search(chosen, piece)
    network = network_of(chosen, piece["depth"], piece.get("methods", CP3))
    if piece["what"] == "dense":
        return network.report(network.dense)
    if piece["what"] == "table":
        return greedy_table(network)
    if piece["what"] == "tuned":
        return fine_tuned(chosen, piece, network)
    if piece["what"] == "out":
        found = Records(chosen["records"]).get(piece["of"])
        return None if found is None else handed_out(network, candidates(found))
    at = allocation(chosen, piece, network)
    return None if at is None else measured(network, at)


def candidates(found: Mapping[str, Any]) -> list[list[int]]:
    """The finalists of a search, or an allocation's ranks."""
    return [positions for _, _, positions in found["finals"]] if "finals" in found else [found["positions"]]


def allocation(chosen: Mapping[str, Any], piece: Piece, network: CifarNetwork) -> Positions | None:
    """The ranks of a rule; None while the table that it needs is not there."""
    space, limits = network.space, network.limits(piece["budget"])
    rule = piece["rule"]
    if rule == "greedy":
        pairs = pairs_of(space, Records(chosen["records"]).get(table(piece["depth"], tuple(piece["methods"]))))
        return None if pairs is None else equal_error(judged(space, pairs), limits)
    if rule == "estimated":
        return equal_error(network.judged, limits)
    if rule in {"vbmf", "energy"}:
        return by_rule(space, rule, limits)
    return (uniform if rule == "uniform" else equal_error)(space, limits)


_TRAINING: dict[tuple[int, float], ShortTraining] = {}


def fine_tuned(chosen: Mapping[str, Any], piece: Piece, network: CifarNetwork) -> dict[str, Any] | None:
    """Accuracy on ``test[5000:]`` after fine-tuning from the network with its last layers, or all, refitted."""
    same = (piece["depth"], piece["methods"], piece["budget"])
    if piece["row"] == "auto":
        search = search_piece(*same, "auto", 0)
        found = Records(chosen["records"]).get(out(search) if "sweeps" in piece else search)
        at = None if found is None else positions_of(found["won"])
    else:
        at = allocation(chosen, {**piece, "rule": piece["row"]}, network)
    if at is None:
        return None
    key = piece["depth"], piece["epochs"]
    if key not in _TRAINING:
        _TRAINING.clear()
        train = network.images.train(50_000)
        _TRAINING[key] = ShortTraining(network.dense, *train, seen=round(50_000 * piece["epochs"]))
    small = network.reconstructed(at, FINAL_IMAGES, sweeps=piece.get("sweeps", 0))
    start = time.process_time()
    _TRAINING[key](small)
    return {
        "accuracy": network.report(small),
        "seconds": time.process_time() - start,
        "positions": [int(number) for number in at],
    }


if __name__ == "__main__":
    main()
