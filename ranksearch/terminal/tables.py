"""Studies, layers and documents as people read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from ranksearch.contracts.resources import Dataset, Model, Worker
from ranksearch.contracts.studies import Best, CostShare, LayerChoice, Study, Trial, TrialResult
from ranksearch.terminal.output import printable, table

__all__ = [
    "ago",
    "best_summary",
    "count",
    "datasets_table",
    "layers_table",
    "models_table",
    "ranks_text",
    "studies_table",
    "study_lines",
    "trials_table",
    "workers_table",
]

_UNITS = ("", " k", " M", " G", " T")


def count(number: float) -> str:
    """A large number with three digits: 1,814,073,344 → "1.81 G"."""
    rounded = float(f"{number:.3g}")
    power = next((power for power in range(len(_UNITS)) if abs(rounded) < 1000 ** (power + 1)), len(_UNITS) - 1)
    scaled = rounded / 1000**power
    return f"{scaled:g}{_UNITS[power]}" if power else f"{number:.0f}"


def ago(moment: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def studies_table(studies: Iterable[Study]) -> Table:
    """One line a study."""
    made = table(
        "id", "name", "state", "trials", "metric", "best", "dense", "created", numbers=["trials", "best", "dense"]
    )
    for study in studies:
        made.add_row(
            study.id,
            printable(study.name),
            study.state,
            f"{study.progress.finished}/{study.progress.n_trials}",
            study.metric,
            _metric(study.best_value),
            _metric(study.dense_value),
            ago(study.created_at),
        )
    return made


def study_lines(study: Study) -> list[str]:
    """One study in some lines, and why nothing moves when nothing moves."""
    progress = study.progress
    bounds = ", ".join(f"{word} ≤ {count(limit)}" for word, limit in study.limits.items())
    trials = f"{progress.complete} complete, {progress.failed} failed, {progress.running} running"
    lines = [
        f"{study.id}  {study.name}",
        f"state      {study.state}" + (f": {study.reason}" if study.reason else ""),
        f"budget     {bounds} (dense: {count(study.dense.macs)} macs, {count(study.dense.params)} params)",
        f"trials     {trials}, {progress.waiting} waiting, of {progress.n_trials}",
    ]
    if study.best_value is not None:
        dense = "" if study.dense_value is None else f", dense {_metric(study.dense_value)}"
        lines.append(f"best       {study.metric} {_metric(study.best_value)} (trial {study.best_trial}){dense}")
    if study.waiting_for is not None:
        lines.append(f"waiting    {study.waiting_for}")
    if study.error is not None:
        lines.append(f"error      {study.error.detail}")
    return [printable(line) for line in lines]


def trials_table(trials: Iterable[Trial], metric: str) -> Table:
    """One line a trial."""
    made = table("trial", "state", "origin", "macs", metric, "seconds", numbers=["trial", "macs", metric, "seconds"])
    for trial in trials:
        result = trial.result
        made.add_row(
            str(trial.number),
            trial.state if trial.error is None else printable(f"{trial.state}: {trial.error.detail}"),
            trial.origin or "",
            "" if trial.planned is None else count(trial.planned.macs),
            _metric(trial.value),
            "" if result is None else f"{result.seconds.total:.1f}",
        )
    return made


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
    """What the best trial keeps and what it costs."""
    lines = [
        f"trial {best.trial} ({best.origin}) of study {best.study}, {best.state}",
        _share("macs", best.macs),
        _share("params", best.params),
    ]
    if best.result.accuracy is not None:
        lines.append(_measured("accuracy", best.dense_result, best.result, lambda result: result.accuracy))
    if best.metric == "kl" or best.result.accuracy is None:
        lines.append(_measured("kl", best.dense_result, best.result, lambda result: result.kl))
    lines.append(f"measured   on {best.result.images} validation images, {best.result.device}; no latency measured")
    return lines


def models_table(models: Iterable[Model]) -> Table:
    """One line a model."""
    made = table("id", "name", "state", "macs", "params", "created", numbers=["macs", "params"])
    for model in models:
        why = model.error.detail if model.error is not None else model.waiting_for
        made.add_row(
            model.id,
            printable(model.name),
            printable(model.state if why is None else f"{model.state}: {why}"),
            "" if model.profile is None else count(model.profile.dense.macs),
            count(model.summary.params),
            ago(model.created_at),
        )
    return made


def datasets_table(datasets: Iterable[Dataset]) -> Table:
    """One line a data set."""
    made = table("id", "name", "images", "shape", "dtype", "classes", "created", numbers=["images", "classes"])
    for dataset in datasets:
        summary = dataset.summary
        made.add_row(
            dataset.id,
            printable(dataset.name),
            str(summary.count),
            "×".join(str(size) for size in summary.image_shape),
            summary.dtype,
            "no labels" if summary.num_classes is None else str(summary.num_classes),
            ago(dataset.created_at),
        )
    return made


def workers_table(workers: Iterable[Worker]) -> Table:
    """One line a worker."""
    made = table("id", "name", "state", "device", "version", "job", "seen")
    for worker in workers:
        made.add_row(
            worker.id,
            printable(worker.name),
            worker.state,
            printable(worker.device),
            printable(worker.version),
            worker.job or "",
            ago(worker.last_seen_at),
        )
    return made


def _change(dense: int, compressed: int) -> str:
    return count(dense) if dense == compressed else f"{count(dense)} → {count(compressed)}"


def _share(word: str, share: CostShare) -> str:
    change = _change(share.dense, share.compressed)
    return f"{word:<10} {change}: compression ratio {share.compression_ratio:.1f}×, {share.fraction:.1%} remain"


def _metric(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _measured(
    word: str, dense: TrialResult | None, compressed: TrialResult, of: Callable[[TrialResult], float | None]
) -> str:
    before = "not measured" if dense is None else _metric(of(dense)) or "not measured"
    return f"{word:<10} {before} dense → {_metric(of(compressed))} compressed"
