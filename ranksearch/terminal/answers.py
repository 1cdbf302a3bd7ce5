"""The answer of a study as people read it: the best trial layer by layer, the front, what they keep and cost."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from ranksearch.contracts.goals import Metric, Objective
from ranksearch.contracts.profiles import Latency
from ranksearch.contracts.studies import Best, CostShare, LayerChoice, Pareto, ParetoPoint
from ranksearch.contracts.wording import accuracy, count, metric_value, origin
from ranksearch.terminal.output import printable, table

__all__ = ["best_summary", "layers_table", "pareto_table", "ranks_text"]


def layers_table(best: Best) -> Table:
    """One line a layer: its ranks, its costs dense → compressed, its error; below, why layers stay dense."""
    made = table("layer", "ranks", "macs", "params", "error", numbers=["macs", "params", "error"])
    reasons: dict[str, int] = {}
    for layer in best.layers:
        is_dense = layer.choice.get("method") == "dense"
        reason = layer.reason_dense if is_dense else None
        note = "" if reason is None else f" ({reasons.setdefault(reason, len(reasons) + 1)})"
        made.add_row(
            printable(layer.name),
            ranks_text(layer) + note,
            _change(layer.dense.macs, layer.compressed.macs),
            _change(layer.dense.params, layer.compressed.params),
            "" if is_dense or layer.relative_error is None else f"{layer.relative_error:.3f}",
        )
    made.add_section()
    macs = _change(best.macs.dense, best.macs.compressed)
    params = _change(best.params.dense, best.params.compressed)
    made.add_row("whole network", "", macs, params, "", style="bold")
    notes = ["error: of the layer's weight, relative to it", *(f"({at}) {reason}" for reason, at in reasons.items())]
    made.caption = Text(printable("\n".join(notes)))
    made.caption_justify = "left"
    return made


def ranks_text(layer: LayerChoice) -> str:
    """A layer's method and ranks: "cp3 48", "tucker2 out 32, in 24", "dense"."""
    method = str(layer.choice.get("method", "dense"))
    if "rank" in layer.choice and layer.choice["rank"] is not None:
        return f"{method} {layer.choice['rank']}"
    ranks = layer.choice.get("ranks") or {}
    return f"{method} {', '.join(f'{axis} {rank}' for axis, rank in ranks.items() if rank is not None)}".rstrip()


def best_summary(best: Best) -> list[str]:
    """What the best trial keeps and what it costs, each next to the dense network."""
    result = best.result
    lines: dict[str, str | None] = {
        "macs": _share(best.macs),
        "params": _share(best.params),
        "latency": "no latency measured" if result.latency is None else _latency(result.latency),
        "accuracy": _accuracy(best),
        "kl": None if result.kl is None else f"{result.kl:.3g} nats an image away from the dense network",
        "loss": _loss(best) if best.metric == "loss" else None,
        "features": f"{best.value:.3g} away from the dense network's" if best.metric == "features" else None,
        "outputs": _outputs(best.value) if best.metric == "outputs" else None,
        "measured": f"on {result.images} validation images, {result.device}",
    }
    told = [f"{word:<10} {text}" for word, text in lines.items() if text is not None]
    return [f"trial {best.trial} ({origin(best.origin)}) of study {best.study}, {best.state}", *told]


def pareto_table(front: Pareto) -> Table:
    """One line a trial of the front: its value for each objective, and its accuracy where there are labels."""
    besides = ["accuracy"] if _tells_accuracy(front) else []
    columns = [front.metric if word == "proxy" else word for word in front.objectives]
    made = table("trial", "origin", *columns, *besides, numbers=["trial", *columns, *besides])
    for point in front.points:
        values = [_objective(front.metric, word, point) for word in front.objectives]
        accuracies = [accuracy(point.result.accuracy)] if besides else []
        made.add_row(str(point.trial), origin(point.origin), *values, *accuracies)
    measured = next((point.result.latency for point in front.points if point.result.latency is not None), None)
    if measured is not None:
        made.caption = Text(printable(f"latency: {_conditions(measured)}"))
        made.caption_justify = "left"
    return made


def _tells_accuracy(front: Pareto) -> bool:
    shown = front.metric == "accuracy" and "proxy" in front.objectives
    return not shown and any(point.result.accuracy is not None for point in front.points)


def _objective(metric: Metric, word: Objective, point: ParetoPoint) -> str:
    value = point.values.get(word)
    if value is None:
        return ""
    if word == "proxy":
        return metric_value(metric, value)
    return f"{value:.3g}" if word == "latency_ms" else count(value)


def _change(dense: int, compressed: int) -> str:
    return count(dense) if dense == compressed else f"{count(dense)} → {count(compressed)}"


def _share(share: CostShare) -> str:
    change = _change(share.dense, share.compressed)
    return f"{change}: compression ratio {share.compression_ratio:.1f}×, {share.fraction:.1%} remain"


def _latency(measured: Latency) -> str:
    """With its conditions; the speedup only against a dense network measured in turns with it."""
    dense = measured.dense_latency_ms
    if dense is None:
        return f"{measured.latency_ms:.3g} ms; {_conditions(measured)}"
    change = f"{dense:.3g} ms dense → {measured.latency_ms:.3g} ms compressed"
    return f"{change}: speedup {dense / measured.latency_ms:.1f}×; {_conditions(measured)}"


def _conditions(measured: Latency) -> str:
    return f"batch {measured.batch}, {measured.dtype}, {measured.backend}, {measured.device}"


def _accuracy(best: Best) -> str | None:
    """Dense → compressed, and the points between them."""
    compressed = best.result.accuracy
    if compressed is None:
        return None
    dense = None if best.dense_result is None else best.dense_result.accuracy
    if dense is None:
        return f"{accuracy(compressed)} compressed; dense not measured"
    points = 100 * (dense - compressed)
    change = f"{abs(points):.2f} points {'lost' if points >= 0 else 'gained'}"
    return f"{accuracy(dense)} dense → {accuracy(compressed)} compressed: {change}"


def _loss(best: Best) -> str:
    dense = "not measured" if best.dense_value is None else f"{best.dense_value:.3g}"
    return f"{dense} dense → {best.value:.3g} compressed, nats an image"


def _outputs(distance: float) -> str:
    return f"{distance:.3g} away from the dense network's: {distance:.2%} of their variance is not explained"
