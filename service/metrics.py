"""What is counted in this process, for Prometheus. One object an application: nothing here is global.

Names, units and labels follow Prometheus' conventions; ``docs/operations.md`` lists them. Every label has few values:
codes that workers make up count as ``other``, routes are templates, methods those of HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from ranksearch.contracts.errors import EvaluationError
from service.version import VERSION

__all__ = ["TRIAL_PARTS", "Metrics"]

TRIAL_PARTS: Final = ("decomposition", "assembly", "calibration", "validation", "total")

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUICK: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SLOW: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 150, 300, 900, 3600, 14_400, 86_400)


class Metrics:
    """Counters, histograms and gauges of what happens in this process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        where: Any = {"registry": self.registry}
        Gauge("ranksearch_build_info", "Always 1; the version is a label", ["version"], **where).labels(VERSION).set(1)
        self._requests = Counter(
            "ranksearch_http_requests", "Requests answered", ["method", "route", "status"], **where
        )
        self._request_seconds = Histogram(
            "ranksearch_http_request_duration_seconds",
            "From a request's head to the end of its answer; waiting claims and event streams are long on purpose",
            ["method", "route"],
            buckets=_QUICK,
            **where,
        )
        self.event_streams = Gauge("ranksearch_event_streams_open", "Event streams that are open", **where)
        self.waiting_claims = Gauge("ranksearch_claims_waiting", "Claims of workers that wait for a job", **where)
        self._claimed = Counter("ranksearch_jobs_claimed", "Leases handed out", ["kind"], **where)
        self._wait = Histogram(
            "ranksearch_job_wait_seconds",
            "From when a job was queued until its first claim",
            ["kind"],
            buckets=_SLOW,
            **where,
        )
        self._sampling = Histogram(
            "ranksearch_sampling_seconds", "What choosing a trial's ranks took", buckets=_QUICK, **where
        )
        self._completed = Counter("ranksearch_jobs_completed", "Results taken", ["kind"], **where)
        self._retried = Counter(
            "ranksearch_job_retries", "Attempts without a result, to be repeated", ["kind", "code"], **where
        )
        self._failed = Counter("ranksearch_job_failures", "Jobs that failed for good", ["kind", "code"], **where)
        self._trial = Histogram(
            "ranksearch_trial_seconds", "Where the time of a trial went on its worker", ["part"], buckets=_SLOW, **where
        )
        self._expired = Counter("ranksearch_leases_expired", "Leases that ran out", ["kind"], **where)
        self.leases_lost = Counter(
            "ranksearch_leases_lost", "Calls of workers whose lease somebody else has, or nobody wants", **where
        )
        self.sweep_seconds = Histogram("ranksearch_sweep_seconds", "What a sweep took", buckets=_QUICK, **where)
        self.sweeps_failed = Counter("ranksearch_sweeps_failed", "Sweeps that ended with an error", **where)
        for part in TRIAL_PARTS:  # shown from the start, so that a rate has a beginning
            self._trial.labels(part)

    def answered(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """A request has ended. Without a status it was cut off."""
        words = (method if method in _METHODS else "other", route or "none")
        self._requests.labels(*words, str(status)).inc()
        self._request_seconds.labels(*words).observe(seconds)

    def waited(self, kind: str, seconds: float) -> None:
        """A job was claimed for the first time, so long after it was queued."""
        self._wait.labels(kind).observe(max(0.0, seconds))

    def claimed(self, kind: str, sampling: float) -> None:
        """A job was leased; ``sampling``: what choosing its ranks took, 0 where none were to be chosen."""
        self._claimed.labels(kind).inc()
        if sampling > 0:
            self._sampling.observe(sampling)

    def completed(self, kind: str, seconds: Mapping[str, float] | None = None) -> None:
        """A result was taken; ``seconds``: of a trial, by part."""
        self._completed.labels(kind).inc()
        for part in TRIAL_PARTS if seconds is not None else ():
            self._trial.labels(part).observe((seconds or {}).get(part, 0.0))

    def retried(self, kind: str, code: object) -> None:
        """An attempt gave no result, and the job waits again."""
        self._retried.labels(kind, _known(code)).inc()

    def failed(self, kind: str, code: object) -> None:
        """A job failed for good."""
        self._failed.labels(kind, _known(code)).inc()

    def expired(self, kind: str) -> None:
        """A lease ran out."""
        self._expired.labels(kind).inc()


def _known(code: object) -> str:
    return str(code) if code in EvaluationError.codes else "other"
