"""A real service whose workers measure nothing: what a trial gives follows from its ranks alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from ranksearch.client import Client
from ranksearch.local import LocalDeployment
from tests.service import synthetic
from tests.service.agent import Agent

__all__ = ["OPTIONS", "Workshop"]

OPTIONS = ("--lease-seconds", "3600", "--worker-away-seconds", "3600", "--retry-base-seconds", "0")
DENSE_ACCURACY = 0.92
H100 = {"device": "NVIDIA H100 80GB HBM3", "memory_bytes": 80 << 30}


class Measuring(Agent):
    """Of the dense network, too, it knows what every metric gives."""

    def outcome(self, job: dict[str, Any]) -> dict[str, Any]:
        told = super().outcome(job)
        if job["task"]["kind"] == "baseline":
            told["result"] |= {"kl": 0.0, "accuracy": DENSE_ACCURACY, "value": 0.0 if _by_kl(job) else DENSE_ACCURACY}
        return told


class Workshop:
    """Studies of a network of some layers, at a service of its own.

    Args:
        local: the service.
        layers: how many the network has.
    """

    def __init__(self, local: LocalDeployment, layers: int = 12) -> None:
        self.local = local
        self.http = httpx.Client(
            base_url=local.url, headers={"authorization": f"Bearer {local.token}"}, timeout=30, trust_env=False
        )
        self.profile = synthetic.profile(list(_sites(layers)))
        self.model = self._uploaded("models", f"net-{layers}", synthetic.model_document(salt=layers))
        inspector = self.agent("inspector")
        inspector.complete(inspector.must_claim("inspect"))
        self.dataset = self._uploaded("datasets", "digits", synthetic.dataset_document())

    def client(self) -> Client:
        return self.local.client()

    def agent(self, name: str = "gpu-box-1", **about: Any) -> Agent:
        return Measuring(
            self.http, name, value=self._value, measure=self._measured, profile=self.profile, about={**H100, **about}
        )

    def submit(self, name: str = "small net", **changes: Any) -> str:
        """Its id."""
        answer = self.http.post(
            "/v1/studies",
            json={
                "name": name,
                "model": self.model,
                "calibration": {"dataset": self.dataset, "start": 0, "stop": 20},
                "validation": {"dataset": self.dataset, "start": 20, "stop": 40},
                "constraints": {"macs": "50%"},
                "n_trials": 12,
                "warm_starts": ["uniform", "equal_error"],
                "finalists": 2,
                "pruner": "none",
                **changes,
            },
        )
        assert answer.status_code == 202, answer.text
        made: str = answer.json()["id"]
        return made

    def clear(self) -> None:
        """Nothing is left to do for the workers of the next test."""
        for study in self.http.get("/v1/studies", params={"limit": 200}).json()["items"]:
            if study["state"] not in {"completed", "failed", "cancelled"}:
                self.http.post(f"/v1/studies/{study['id']}/cancel").raise_for_status()
        self.agent("gpu-box-1").work()

    def _uploaded(self, where: str, name: str, document: bytes) -> str:
        answer = self.http.post(f"/v1/{where}", params={"name": name}, content=document)
        assert answer.status_code in {200, 201, 202}, answer.text
        made: str = answer.json()["id"]
        return made

    def _value(self, job: dict[str, Any]) -> float:
        lost = self._divergence(job)
        return lost if _by_kl(job) else round(DENSE_ACCURACY - lost / 2, 6)

    def _measured(self, job: dict[str, Any]) -> dict[str, Any]:
        lost, ranks = self._divergence(job), job["task"]["ranks"]
        return {
            "kl": lost,
            "accuracy": round(DENSE_ACCURACY - lost / 2, 6),
            "cost": synthetic.cost(ranks, self.profile),
            "seconds": {"validation": 1.0, "total": 1.5},
        }

    def _divergence(self, job: dict[str, Any]) -> float:
        """Falls as macs rise, most where the layers are sensitive."""
        total = 0.0
        for at, site in enumerate(self.profile.sites):
            choice = job["task"]["ranks"].get(site.name)
            if choice is not None:
                total += (1 + at % 3) * (1 - choice["rank"] / 8) ** 2
        return round(0.1 * total / len(self.profile.sites), 6)


def _by_kl(job: dict[str, Any]) -> bool:
    return bool(job["task"]["metric"] == "kl")


def _sites(count: int) -> Iterator[dict[str, Any]]:
    """The first stays dense; sizes and sensitivities differ."""
    yield synthetic.dense_site("stem")
    for at in range(count - 1):
        name = f"layer{1 + at // 5}.{at % 5}.conv"
        yield synthetic.site(name, 10_000 * (1 + at % 7), 150 * (1 + at % 5), steepness=0.6 + 0.1 * (at % 20))
