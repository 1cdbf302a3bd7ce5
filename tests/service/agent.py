"""A worker that measures nothing: it answers whatever a test wants, over the same HTTP as a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from service.version import VERSION
from tests.service import synthetic

Value = Callable[[dict[str, Any]], float]
Measure = Callable[[dict[str, Any]], dict[str, Any]]
"""Further members of a trial's result, or others than usual; "pruned": True says that it lost its race."""


def shallow(job: dict[str, Any]) -> float:
    """A value that depends on nothing but the ranks."""
    ranks = job["task"]["ranks"]
    return round(0.5 + sum(r["rank"] * (at + 1) for at, r in enumerate(ranks.values())) / 1000, 6)


class Agent:
    def __init__(
        self,
        http: httpx.Client,
        name: str = "w1",
        value: Value = shallow,
        profile: Any = None,
        measure: Measure = lambda _job: {},
        about: dict[str, Any] | None = None,
    ) -> None:
        self.http = http
        self.name = name
        self.value = value
        self.measure = measure
        self.about = {"worker": name, "name": name, "device": "cpu", "version": VERSION, **(about or {})}
        self.profile = (profile or synthetic.profile()).model_dump(mode="json", by_alias=True)
        self.done: list[dict[str, Any]] = []
        self.before: dict[int, float] = {}
        self.tuned: dict[int, float] = {}

    def claim(self, wait: float = 0) -> dict[str, Any] | None:
        answer = self.http.post("/v1/jobs/claim", json={**self.about, "wait_seconds": wait})
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.status_code == 200 else None

    def must_claim(self, kind: str | None = None) -> dict[str, Any]:
        job = self.claim()
        assert job is not None
        assert kind is None or job["task"]["kind"] == kind
        return job

    def post(self, job: dict[str, Any], what: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/jobs/{job['id']}/{what}", json={"lease_token": job["lease"]["token"], **body})

    def outcome(self, job: dict[str, Any]) -> dict[str, Any]:
        kind = job["task"]["kind"]
        if kind == "inspect":
            return {"kind": kind, "profile": self.profile} | self.translation(job)
        if kind == "baseline":
            return {"kind": kind, "result": synthetic.result(0.9, 105_000, 1050)}
        if kind == "trial":
            result = synthetic.result(self.value(job)) | self.measure(job)
            return {"kind": kind, "pruned": result.pop("pruned", False), "result": result}
        if kind == "sensitivity":
            return {"kind": kind, "change": {name: [0.1] * len(some) for name, some in job["task"]["choices"].items()}}
        if kind == "latency":
            return {"kind": kind, "report": synthetic.latency_report(job["task"])}
        made = {"kind": kind, "sha256": self.put(synthetic.model_document(salt=99)), "parity": synthetic.parity()}
        return made | self.scores(job) if kind == "finetune" else made

    def put(self, content: bytes) -> str:
        """Upload a blob."""
        sha256 = synthetic.sha256(content)
        assert self.http.put(f"/v1/blobs/{sha256}", content=content).status_code in (200, 201)
        return sha256

    def scores(self, job: dict[str, Any]) -> dict[str, Any]:
        """What a training came to: from what ``before`` says for the trial, as much better as ``tuned`` says."""
        before = self.before.get(job["trial"], 0.7)
        found = {"before": before, "after": before + self.tuned.get(job["trial"], 0.1), "dense": 0.9}
        return {name: synthetic.tuning_score(value) for name, value in found.items()}

    def translation(self, job: dict[str, Any]) -> dict[str, Any]:
        """The document that it makes of an ONNX file."""
        if job["task"]["format"] != "onnx":
            return {}
        document = synthetic.model_document(salt=int(job["task"]["model"]["sha256"][:6], 16))
        sha256 = synthetic.sha256(document)
        assert self.http.put(f"/v1/blobs/{sha256}", content=document).status_code in (200, 201)
        told = {"opset": 18, "producer": "pytorch 2.14", "max_relative_difference": 1e-6}
        return {"translation": {"sha256": sha256, **told}}

    def complete(self, job: dict[str, Any]) -> httpx.Response:
        answer = self.post(job, "complete", outcome=self.outcome(job))
        assert answer.status_code == 204, answer.text
        self.done.append(job)
        return answer

    def fail(self, job: dict[str, Any], *, retry: bool = False, code: str = "evaluation_crashed", detail="boom"):
        answer = self.post(job, "fail", problem=synthetic.problem(code, detail), retry=retry)
        assert answer.status_code == 204, answer.text

    def work(self, limit: int = 10_000) -> int:
        """Do everything that there is to do."""
        for count in range(limit):
            job = self.claim()
            if job is None:
                return count
            self.complete(job)
        return limit
