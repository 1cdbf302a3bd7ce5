"""A service with studies in every state, made by the API's own requests and a worker that measures nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.service import synthetic
from tests.service.agent import Agent

__all__ = [
    "FAILED",
    "FINISHED",
    "FRONT",
    "HOSTILE",
    "LATENCY",
    "PAUSED",
    "RUNNING",
    "SMALLEST",
    "TUNED",
    "Seeded",
    "prepared",
    "seed",
]

FINISHED = "finished: ResNet at half the cost"
RUNNING = "running: ResNet at a third"
PAUSED = "paused by hand"
FAILED = "failed: its baseline cannot be measured"
LATENCY = "latency: within six tenths of the time"
FRONT = "front: what each saving costs"
SMALLEST = "smallest: two points of accuracy at most"
TUNED = "tuned: trained for a while"

HOSTILE = "<script>alert('x')</script> & \"quotes\" 'single' {{ 7 * 7 }}"
SANDBOX = [
    {"name": "no network", "in_force": True},
    {"name": "read-only files", "in_force": True},
    {"name": "system calls filtered", "in_force": True},
    {"name": "memory limit", "in_force": False, "reason": "cgroups are not delegated to this user"},
]
ABOUT = {
    "gpu-box-1": {"device": "NVIDIA H100 80GB HBM3", "memory_bytes": 80 << 30, "labels": {"rack": "a1"}},
    "gpu-box-2": {"device": "NVIDIA H100 80GB HBM3", "memory_bytes": 80 << 30, "labels": {"rack": "a2"}},
    "desk": {"device": "cpu"},
}


LAYERS, DENSE_MS = 19, 10.0


@dataclass
class Seeded:
    """What was made: ids by name."""

    url: str
    token: str
    http: httpx.Client
    studies: dict[str, str] = field(default_factory=dict)
    model: str = ""
    dataset: str = ""
    running: list[tuple[Agent, dict[str, Any]]] = field(default_factory=list)

    def agent(self, name: str = "gpu-box-1", **options: Any) -> Agent:
        about = {**ABOUT.get(name, {}), "sandbox": SANDBOX}
        return Measuring(self.http, name, value=_value, measure=_measured, profile=layers(), about=about, **options)

    def submit(self, name: str, **changes: Any) -> str:
        """A study of the seeded network; its id."""
        request = {
            "name": name,
            "model": self.model,
            "calibration": {"dataset": self.dataset, "start": 0, "stop": 20},
            "validation": {"dataset": self.dataset, "start": 20, "stop": 40},
            "constraints": {"macs": "50%"},
            "n_trials": 20,
            "n_startup_trials": 4,
            "warm_starts": ["uniform", "equal_error"],
            "finalists": 2,
            "pruner": "none",
            **changes,
        }
        answer = self.http.post("/v1/studies", json=request)
        assert answer.status_code == 202, answer.text
        self.studies[name] = answer.json()["id"]
        return self.studies[name]

    def ask(self, name: str, what: str, **body: Any) -> None:
        """Something that is done afterwards."""
        answer = self.http.post(f"/v1/studies/{self.studies[name]}/{what}", json=body)
        assert answer.status_code == 202, answer.text

    def post(self, study: str, what: str, **body: Any) -> None:
        answer = self.http.post(f"/v1/studies/{study}/{what}", json=body or None)
        assert answer.status_code == 200, answer.text


class Measuring(Agent):
    """A worker whose layers differ in how much they mind, each alone."""

    def outcome(self, job: dict[str, Any]) -> dict[str, Any]:
        made = super().outcome(job)
        if made["kind"] == "baseline" and job["task"]["metric"] == "kl":
            made["result"]["value"] = 0.0
        if made["kind"] == "sensitivity":
            made["change"] = {
                name: _alone(at, len(some)) for at, (name, some) in enumerate(job["task"]["choices"].items())
            }
        return made


def layers() -> Any:
    """The profile of a network of twenty layers, the first of which stays dense; it takes ten milliseconds."""
    sizes = [(f"layer{1 + at // 5}.{at % 5}.conv", 10_000 * (1 + at % 7), 150 * (1 + at % 5)) for at in range(LAYERS)]
    sites = [synthetic.site(name, *size, steepness=0.6 + 0.1 * at) for at, (name, *size) in enumerate(sizes)]
    return synthetic.timed(synthetic.profile([synthetic.dense_site("stem"), *sites]), DENSE_MS)


def prepared(url: str, token: str) -> Seeded:
    """A model that is inspected, and images, in an empty service."""
    made = Seeded(url, token, httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30))
    made.model = _uploaded(made.http, "models", "resnet-tiny", synthetic.model_document())
    made.dataset = _uploaded(made.http, "datasets", "digits", synthetic.dataset_document())
    worker = made.agent()
    worker.complete(worker.must_claim("inspect"))
    return made


def seed(url: str, token: str, trials: int = 120) -> Seeded:
    """Fill an empty service.

    Args:
        url: of the service.
        token: that may do everything.
        trials: of the largest study.
    """
    made = prepared(url, token)
    worker = made.agent()
    made.submit(FINISHED, n_trials=trials)
    made.submit(LATENCY, n_trials=24, constraints={"latency_ms": "60%"})
    greedy = {"warm_starts": ["uniform", "equal_error", "greedy"]}
    made.submit(FRONT, n_trials=40, constraints={}, objectives=["proxy", "macs", "params"], **greedy)
    made.submit(SMALLEST, n_trials=24, constraints={}, objectives=["macs"], max_drop=0.02)
    worker.work()
    made.ask(FINISHED, "latency")
    worker.work()
    made.submit("cancelled after a look", n_trials=10)
    worker.work(limit=6)
    made.post(made.studies["cancelled after a look"], "cancel")
    _failed(made, worker)
    _tuned(made, worker)
    _paused(made, worker)
    _running(made, worker)
    made.submit(HOSTILE, priority=-100, requirements={"labels": {"rack": "z9"}})
    made.agent("desk").claim()
    assert made.http.delete("/v1/workers/desk").status_code == 204
    return made


def _failed(made: Seeded, worker: Agent) -> None:
    made.submit(FAILED, n_trials=10)
    worker.fail(
        worker.must_claim("baseline"), code="evaluation_failed", detail="the images are not of the model's size"
    )


def _tuned(made: Seeded, worker: Agent) -> None:
    """Two that are trained, one for the better, one that could not be, and one that is at it as long as tests last."""
    study = made.submit(TUNED, n_trials=12)
    worker.work()
    asked = made.http.post(f"/v1/studies/{study}/finetunes", json={"top": 4, "recipe": {"epochs": 200}}).json()["items"]
    numbers = sorted(one["trial"] for one in asked)  # in which order they are given out
    worker.before = {number: _measured_before(made, study, number) for number in numbers}
    best = max(worker.before.values())
    gains = (best - worker.before[numbers[0]] + 0.0075, -0.02, 0, 0)
    worker.tuned = dict(zip(numbers, gains, strict=True))
    seen = 0
    while seen < len(asked):
        job = worker.must_claim()
        if job["task"]["kind"] != "finetune":
            worker.complete(job)
            continue
        seen += 1
        curve = [trained(step) for step in range(2, 202 if seen < len(asked) else 120, 2)]
        scores = {name: score for name, score in worker.scores(job).items() if name != "after"}
        assert worker.post(job, "progress", points=curve, **scores).status_code == 204
        if seen == len(asked) - 1:
            worker.fail(job, code="evaluation_out_of_memory", detail="not enough memory for a step of this training")
        elif seen < len(asked):
            worker.complete(job)
        else:
            made.running.append((worker, job))


def _measured_before(made: Seeded, study: str, number: int) -> float:
    trial = made.http.get(f"/v1/studies/{study}/trials/{number}").json()
    accuracy: float = (trial["final"] or trial["result"])["accuracy"]
    return accuracy


def trained(step: int) -> dict[str, float]:
    """A point of a curve that falls, and is never quite even."""
    noise = random.Random(step).uniform(0.8, 1.25)  # noqa: S311 - a measurement, no secret
    return {"step": step, "loss": noise * (0.02 + 0.4 * 0.97**step), "learning_rate": 0.005}


def _paused(made: Seeded, worker: Agent) -> None:
    """One trial that failed, with a reason, and then a pause by hand."""
    study = made.submit(PAUSED, n_trials=12)
    worker.work(limit=6)
    worker.fail(worker.must_claim("trial"), code="evaluation_out_of_memory", detail="the device has no memory left")
    made.post(study, "pause", reason="the GPUs are needed elsewhere until Monday")


def _running(made: Seeded, worker: Agent) -> None:
    """Two workers have a trial each for as long as the tests last."""
    made.submit(RUNNING, n_trials=80, constraints={"macs": "33%"})
    worker.work(limit=34)
    for agent in (worker, made.agent("gpu-box-2")):
        made.running.append((agent, agent.must_claim("trial")))


def _uploaded(http: httpx.Client, where: str, name: str, document: bytes) -> str:
    answer = http.post(f"/v1/{where}", params={"name": name}, content=document)
    assert answer.status_code in {200, 201, 202}, answer.text
    made: str = answer.json()["id"]
    return made


def _value(job: dict[str, Any]) -> float:
    """What a trial is judged by."""
    return _accuracy(_kl(job)) if job["task"]["metric"] == "accuracy" else _kl(job)


def _kl(job: dict[str, Any]) -> float:
    """A divergence that falls as ranks rise, with what a measurement adds of its own."""
    noise = _chance(job).uniform(0.9, 1.1)
    return round(0.4 * noise * (1 - _kept(job) / 0.999) ** 2 + 0.002, 6)


def _chance(job: dict[str, Any]) -> random.Random:
    """Of the ranks, so that every run makes the same studies."""
    return random.Random(repr(sorted(job["task"]["ranks"].items())))  # noqa: S311 - a measurement, no secret


def _kept(job: dict[str, Any]) -> float:
    """The share of all ranks that is left; a layer that stays dense has all of its."""
    ranks = job["task"]["ranks"]
    return (sum(choice["rank"] / 8 for choice in ranks.values()) + LAYERS - len(ranks)) / LAYERS


def _accuracy(kl: float) -> float:
    return round(0.9 - 0.25 * kl, 4)


def _measured(job: dict[str, Any]) -> dict[str, Any]:
    kl, cost = _kl(job), synthetic.cost(job["task"]["ranks"], layers())
    seconds = {"decomposition": 0.4, "assembly": 0.05, "calibration": 0.3, "validation": 0.7, "total": 1.45}
    dense = 0.9 if job["task"]["metric"] == "accuracy" else 0.0
    told = {"accuracy": _accuracy(kl), "kl": kl, "cost": cost, "seconds": seconds, "dense_value": dense}
    if job["task"]["measure_latency"]:
        noise = _chance(job).uniform(0.95, 1.1)
        taken = 1 + (DENSE_MS - 1) * noise * cost["macs"] / layers().dense.macs
        told["latency"] = synthetic.latency(round(taken, 3), DENSE_MS)
    return told


def _alone(layer: int, points: int) -> list[float]:
    """Divergences of one layer at ascending ranks."""
    return [round(0.05 * (1 + layer % 4) * (1 - (at + 1) / (points + 1)) ** (1 + layer % 3), 6) for at in range(points)]
