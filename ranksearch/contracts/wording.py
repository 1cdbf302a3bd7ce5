"""Numbers, origins and ends of a study as people say them: accuracy in per cent, divergence in nats."""

from __future__ import annotations

from typing import Final

from ranksearch.contracts.artifacts import ParityReport
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.studies import StopReason, Study, TrialOrigin
from ranksearch.contracts.study_requests import StudyRequest

__all__ = [
    "accuracy",
    "agreement",
    "better",
    "bounds",
    "cost",
    "count",
    "duration",
    "finalists_measured",
    "goal",
    "metric_value",
    "origin",
    "parity",
    "seconds_taken",
    "status",
    "stopped",
]

_UNITS: Final = ("", " k", " M", " G", " T")
_SPANS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))
_FEW: Final = 10.0
_ORIGINS: Final[dict[TrialOrigin, str]] = {
    "uniform": "same share",
    "equal_error": "same error",
    "vbmf": "variational Bayes",
    "energy": "same energy",
    "greedy": "greedy table",
    "transfer": "earlier study",
    "sampler": "search",
}


def count(number: float) -> str:
    """A large number with three digits: 1,814,073,344 → "1.81 G"."""
    rounded = float(f"{number:.3g}")
    power = next((power for power in range(len(_UNITS)) if abs(rounded) < 1000 ** (power + 1)), len(_UNITS) - 1)
    scaled = rounded / 1000**power
    return f"{scaled:g}{_UNITS[power]}" if power else f"{number:.0f}"


def cost(word: str, amount: float) -> str:
    """An amount of a cost: "400 k macs", "2.5 ms"."""
    return f"{amount:.3g} ms" if word == "latency_ms" else f"{count(amount)} {word}"


def duration(seconds: float) -> str:
    """In its two largest units: 8,040 → "2 h 14 min"; below ten seconds with a digit more."""
    if seconds < _FEW:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    at = next((at for at, (_, length) in enumerate(_SPANS) if whole >= length), len(_SPANS))
    if at == len(_SPANS):
        return f"{whole} s"
    unit, length = _SPANS[at]
    smaller, least = (*_SPANS, ("s", 1))[at + 1]
    amount, left = divmod(round(whole / least) * least, length)
    return f"{amount} {unit}" + (f" {left // least} {smaller}" if left else "")


def accuracy(value: float | None) -> str:
    """In per cent; nothing where there is none."""
    return "" if value is None else f"{value:.2%}"


def metric_value(metric: Metric, value: float | None) -> str:
    """A value of the metric with as many digits as mean something; nothing where there is none."""
    if value is None:
        return ""
    return accuracy(value) if metric == "accuracy" else f"{value:.3g}"


def better(metric: Metric, one: float, other: float) -> bool:
    """Whether one value of the metric is better than another: accuracy is the only one of which more is."""
    return one > other if metric == "accuracy" else one < other


def origin(word: TrialOrigin | None) -> str:
    """Where a trial's ranks came from."""
    return "" if word is None else _ORIGINS[word]


def goal(request: StudyRequest, metric: Metric) -> str:
    """What a study is after."""
    words = [metric if word == "proxy" else word for word in request.objectives]
    if request.max_drop is not None:
        return f"least {words[0]} with at most {_drop(metric, request.max_drop)} lost"
    return f"best {words[0]}" if len(words) == 1 else f"a front: {', '.join(words)}"


def bounds(study: Study) -> list[str]:
    """What may not be exceeded, in the words of whoever asked: "macs ≤ 50%"."""
    return [
        f"{word.removesuffix('_ms')} ≤ {amount if isinstance(amount, str) else _absolute(word, amount)}"
        for word, amount in study.request.constraints.model_dump(exclude_none=True).items()
    ]


def best_so_far(study: Study) -> str | None:
    """The best trial's metric, its accuracy and, where that is the goal, its cost.

    None before there is one, and of a front: its best by the metric is the one that saves least.
    """
    if study.best_value is None or len(study.request.objectives) > 1:
        return None
    words = [f"{study.metric} {metric_value(study.metric, study.best_value)}"]
    if study.metric != "accuracy" and study.best_accuracy is not None:
        words.append(f"accuracy {accuracy(study.best_accuracy)}")
    sought = study.request.objectives[0]
    if study.best_cost is not None and sought in {"macs", "params"}:
        words.append(cost(sought, study.best_cost.params if sought == "params" else study.best_cost.macs))
    return ", ".join(words)


def dense_network(study: Study) -> str | None:
    """Its accuracy; without labels nothing: what else is measured is a distance from it, and it has none itself."""
    known = study.dense_value if study.metric == "accuracy" else study.dense_accuracy
    return None if known is None else f"accuracy {accuracy(known)}"


def finalists_measured(study: Study) -> bool:
    """Whether all trials are made, and the best of them are being measured again."""
    progress = study.progress
    return study.state == "running" and study.request.finalists > 0 and progress.finished >= progress.n_trials


def stopped(study: Study) -> str | None:
    """What ended a study before all its trials were made."""
    request = study.request
    reasons: dict[StopReason, str] = {
        "timeout": "its time is up" if request.timeout is None else f"its {request.timeout:g} s are up",
        "plateau": "no better trial" if request.plateau is None else f"{request.plateau} trials without a better one",
        "target": "its target is reached",
    }
    return None if study.stopped_by is None else reasons[study.stopped_by]


def status(study: Study) -> str:
    """What a study is doing, or why it is not doing anything."""
    running = study.progress.running
    if study.waiting_for is not None:
        return study.waiting_for
    if study.state == "queued":
        return "waits for its turn"
    if study.state == "running":
        if finalists_measured(study):
            return "measures its best trials again, on all images"
        if not running:
            return "its next trial is about to begin" if study.progress.finished else "measures the dense network first"
        most = study.request.max_parallel
        limit = ", as many at once as it may" if most is not None and running >= most else ""
        return f"{running} trial{'' if running == 1 else 's'} running{limit}"
    seconds = seconds_taken(study)
    took = None if seconds is None or not study.progress.finished else f"took {duration(seconds)}"
    why = study.reason or (None if study.error is None else study.error.detail) or stopped(study)
    return "; ".join(words for words in (took, why) if words is not None) or "ended before it began"


def seconds_taken(study: Study) -> float | None:
    """How long it took, from its first trial to its end."""
    if study.started_at is None or study.finished_at is None:
        return None
    return (study.finished_at - study.started_at).total_seconds()


def parity(report: ParityReport) -> str:
    """How true a file is: "the same as the document on 256 images, to 3e-07 of the outputs' range; 100% same class"."""
    if report.max_relative_difference is None:
        return f"not comparable with the {report.reference}: outputs of another shape, or not finite"
    exact = report.max_difference == 0
    how = "exactly" if exact else f"to {report.max_relative_difference:.1g} of the outputs' range"
    words = "the same as" if report.agrees else "not the same as"
    same = "" if report.same_top1 is None else f"; the same class for {100 * report.same_top1:.4g} % of them"
    return f"{words} the {report.reference} on {report.images} images, {how}{same}"


def _absolute(word: str, amount: float) -> str:
    return f"{amount:.3g} ms" if word == "latency_ms" else count(amount)


def _drop(metric: Metric, drop: float) -> str:
    if metric == "accuracy":
        points = f"{100 * drop:.4g}"
        return f"{points} point{'' if points == '1' else 's'} of accuracy"
    return f"{drop:g} nats of {metric}" if metric in {"kl", "loss"} else f"{drop:g} of {metric}"


def agreement(tau: float) -> str:
    """What Kendall's τ of proxy and result says, with the number."""
    words = next(words for least, words in _AGREEMENTS if tau >= least)
    return f"Kendall’s τ {tau:.2f}: the proxy {words}"


_AGREEMENTS: Final = (
    (0.999, "had them in the order that fine-tuning gave"),
    (0.5, "had most of them in the order that fine-tuning gave"),
    (0.0, "said little of what fine-tuning would make of them"),
    (-1.0, "had them in another order than fine-tuning gave"),
)
