"""Studies, trials, documents and workers as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from rich.table import Table

from ranksearch.contracts.resources import Dataset, Model, Worker
from ranksearch.contracts.shapes import sample_shapes
from ranksearch.contracts.studies import Study
from ranksearch.contracts.wording import (
    accuracy,
    best_so_far,
    cost,
    count,
    dense_network,
    finalists_measured,
    goal,
    metric_value,
    stopped,
)
from ranksearch.terminal.output import printable, table

__all__ = [
    "ago",
    "datasets_table",
    "models_table",
    "studies_table",
    "study_lines",
    "until",
    "workers_table",
]


_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def ago(moment: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def until(moment: datetime) -> str:
    """How long it is until then, in the largest unit that fits."""
    seconds = max(0.0, (moment - datetime.now(UTC)).total_seconds())
    unit, length = next((pair for pair in _UNITS if seconds >= pair[1]), ("s", 1))
    return f"{seconds / length:.0f} {unit}"


def studies_table(studies: Iterable[Study]) -> Table:
    """One line a study: its best by the metric, and the accuracies of the best and of the dense network."""
    numbers = ["trials", "best", "accuracy", "dense"]
    made = table("id", "name", "state", "trials", "metric", *numbers[1:], "created", numbers=numbers)
    for study in studies:
        judged_by_it = study.metric == "accuracy"
        made.add_row(
            study.id,
            printable(study.name),
            study.state,
            f"{study.progress.finished}/{study.progress.n_trials}",
            study.metric,
            metric_value(study.metric, study.best_value),
            accuracy(study.best_value if judged_by_it else study.best_accuracy),
            accuracy(study.dense_value if judged_by_it else study.dense_accuracy),
            ago(study.created_at),
        )
    return made


def study_lines(study: Study) -> list[str]:
    """One study in some lines, and why nothing moves when nothing moves."""
    progress = study.progress
    best, dense = best_so_far(study), dense_network(study)
    lines: dict[str, str | None] = {
        "state": study.state + (f": {study.reason}" if study.reason else ""),
        "goal": goal(study.request, study.metric),
        "budget": f"{_bounds(study)} (dense: {cost('macs', study.dense.macs)}, {cost('params', study.dense.params)})",
        "trials": f"{_trial_counts(study)}, of {progress.n_trials}",
        "stopped": stopped(study) if study.reason is None else None,
        "finals": "measuring the best trials again, on all images" if finalists_measured(study) else None,
        "best": None if best is None else f"{best} (trial {study.best_trial})",
        "dense": dense,
        "front": f"ranksearch pareto {study.id}" if len(study.request.objectives) > 1 else None,
        "waiting": study.waiting_for,
        "ends": None if study.expected_at is None else f"in about {until(study.expected_at)}",
        "error": None if study.error is None else study.error.detail,
    }
    told = [f"{word:<10} {text}" for word, text in lines.items() if text is not None]
    return [printable(line) for line in (f"{study.id}  {study.name}", *told)]


def models_table(models: Iterable[Model]) -> Table:
    """One line a model."""
    made = table("id", "name", "state", "macs", "params", "from", "created", numbers=["macs", "params"])
    for model in models:
        why = model.error.detail if model.error is not None else model.waiting_for
        made.add_row(
            model.id,
            printable(model.name),
            printable(model.state if why is None else f"{model.state}: {why}"),
            "" if model.profile is None else count(model.profile.dense.macs),
            "" if model.summary is None else count(model.summary.params),
            "" if model.source is None else model.source.format,
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
            sample_shapes(summary),
            ", ".join(one.dtype for one in summary.inputs),
            "no labels" if summary.num_classes is None else str(summary.num_classes),
            ago(dataset.created_at),
        )
    return made


def workers_table(workers: Iterable[Worker]) -> Table:
    """One line a worker: what it is, what it does, how busy it was, and how its evaluations are confined."""
    made = table("id", "name", "state", "device", "memory", "labels", "version", "job", "busy", "sandbox", "seen")
    for worker in workers:
        made.add_row(
            worker.id,
            printable(worker.name),
            worker.state,
            printable(worker.device),
            "" if worker.memory_bytes is None else f"{worker.memory_bytes / 2**30:.1f} GiB",
            printable(" ".join(f"{name}={value}" for name, value in sorted(worker.labels.items()))),
            printable(worker.version),
            _job(worker),
            "" if worker.busy_share is None else f"{worker.busy_share:.0%}",
            _sandbox(worker),
            ago(worker.last_seen_at),
        )
    return made


def _job(worker: Worker) -> str:
    if worker.study is None:
        return worker.job or ""
    return worker.study if worker.trial is None else f"{worker.study} trial {worker.trial}"


def _sandbox(worker: Worker) -> str:
    """How many of the measures are in force, and which are not."""
    if not worker.sandbox:
        return "not told"
    missing = [printable(measure.name) for measure in worker.sandbox if not measure.in_force]
    in_force = f"{len(worker.sandbox) - len(missing)}/{len(worker.sandbox)}"
    return in_force if not missing else f"{in_force}, not: {', '.join(missing)}"


def _bounds(study: Study) -> str:
    """In absolute numbers; per cent of the latency stay so, since each is taken of a measurement of its own."""
    latency = study.request.constraints.latency_ms
    limits = {word: limit for word, limit in study.limits.items() if word != "latency_ms"}
    bounds = [f"{word} ≤ {count(limit)}" for word, limit in limits.items()]
    if latency is not None:
        whole = " of the dense network's" if isinstance(latency, str) else ""
        bounds.append(f"latency_ms ≤ {latency}{whole}")
    return ", ".join(bounds) or "none"


def _trial_counts(study: Study) -> str:
    """How many are in which state; of the rarer states only those that there are."""
    progress = study.progress
    rarer = {"pruned": progress.pruned, "not needed": progress.dropped}
    return ", ".join(
        [
            f"{progress.complete} complete",
            f"{progress.failed} failed",
            *(f"{number} {word}" for word, number in rarer.items() if number),
            f"{progress.running} running",
            f"{progress.waiting} waiting",
        ]
    )
