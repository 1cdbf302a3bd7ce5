"""A CIFAR ResNet with its images, its search space and everything that is computed once for many rank vectors.

The protocol of all pages that use it: the first convolution and the linear layer stay dense; calibration images are
the first of the training set; ``test[:5000]`` is for search and validation, ``test[5000:]`` for the report; images are
laid out channels last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kernels import shared_module
from torch import Tensor, nn

import proxy
import ranksearch
from ranksearch.contracts.jobs import InspectTask
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.ranks import LayerRanks, Method
from ranksearch.contracts.resources import Blob
from service.scheduling.sensitivity import CALIBRATION_IMAGES, choices_of, pairs_of
from service.search.chains import Positions
from service.search.changes import judged
from service.search.derivation import space_of
from service.search.space import SearchSpace
from worker.evaluation.profile import SOLVER, inspect
from worker.evaluation.session import Session

__all__ = ["KEPT_DENSE", "PROTOCOL", "VALIDATED", "Batches", "CifarNetwork", "Images", "network_of", "positions_of"]

KEPT_DENSE = ("conv1", "linear")
VALIDATED = 5000
"""Test images before this one are searched and validated on, those from it on are reported."""
_BATCH = 64

PROTOCOL = (
    "CIFAR-10 as JPEG (quality about 75). The first convolution and the linear layer stay dense, and x % of the MACs"
    " means x % of those of all other layers. Calibrated on the first images of the training set, searched and"
    " validated on `test[:5000]`, reported on `test[5000:]`."
)

Batches = list[tuple[Tensor, Tensor]]


class Images:
    """The images, decoded once in a process.

    Args:
        data: the folder with the images and their loader.
        device: on which they and the networks are.
    """

    def __init__(self, data: Path, device: str = "cpu") -> None:
        self._cifar = shared_module(data)
        self.device = torch.device(device)

    def train(self, count: int) -> tuple[Tensor, Tensor]:
        """The first training images and their labels."""
        pixels, labels = self._cifar.images("train", count)
        return self._placed(pixels, labels)

    @cached_property
    def calibration(self) -> Tensor:
        """1,024 of them."""
        return self.train(1024)[0]

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        """All 10,000."""
        pixels, labels = self._cifar.images("test")
        return self._placed(pixels, labels)

    def _placed(self, pixels: np.ndarray, labels: Tensor) -> tuple[Tensor, Tensor]:
        images: Tensor = self._cifar.preprocess(pixels)
        return images.to(self.device, memory_format=torch.channels_last), labels.to(self.device)

    def batches(self, start: int, stop: int) -> Batches:
        """Test images from ``start`` to ``stop``."""
        images, labels = (part[start:stop] for part in self.test)
        return list(zip(images.split(_BATCH), labels.split(_BATCH), strict=True))

    def network(self, depth: int) -> nn.Module:
        """The trained dense network."""
        network: nn.Module = self._cifar.resnet(depth)
        return network.to(self.device)


class CifarNetwork:
    """A dense network and whatever is made of it.

    Args:
        images: of the process.
        work: folder in which factors and the profile are kept.
        depth: 20 or 56.
        methods: of the search space, in order of preference.
    """

    def __init__(self, images: Images, work: Path, depth: int, methods: Sequence[Method]) -> None:
        self.images = images
        self.depth = depth
        self.dense = images.network(depth)
        self._factors = _Factors(Session(device=str(images.device), cache_dir=work / f"factors{depth}"))
        self.profile = _profile(self._factors.session, self.dense, work, depth)
        self.space = space_of(self.profile, list(methods), list(KEPT_DENSE))
        self._hashes = proxy.weight_hashes(self.dense)
        self._recorded: dict[int, proxy.DenseFeatures] = {}
        self._logits: dict[int, list[Tensor]] = {}
        self._moments: dict[int, proxy.FeatureMoments] = {}

    def limits(self, budget: float) -> dict[str, int]:
        """The bound on the whole network's macs at this share of the factorised layers'."""
        free = sum(site.macs for site in self.profile.sites if site.name not in KEPT_DENSE)
        return {"macs": int(self.profile.dense.macs - free + budget * free)}

    def share(self, positions: Positions) -> float:
        """Of the whole network's macs."""
        return self.space.cost(positions).macs / self.profile.dense.macs

    @cached_property
    def judged(self) -> SearchSpace:
        """The space judged by how far each layer alone moves the outputs, as the product estimates it."""
        cells = [(name, ranks) for name, some in choices_of(self.space).items() for ranks in some]
        numbered = [((name, number), self.factors_of(name, ranks)) for number, (name, ranks) in enumerate(cells)]
        images = self.images.calibration[:CALIBRATION_IMAGES].split(_BATCH)
        table: dict[str, list[float]] = {name: [] for name, _ in cells}
        for (name, _), change in proxy.output_changes(self.dense, numbered, images):
            table[name].append(change)
        return judged(self.space, pairs_of(self.space, table) or {})

    def factors_of(self, name: str, ranks: LayerRanks) -> proxy.Factors:
        """Of one layer's weight."""
        chosen = {name: ranks.model_dump(by_alias=True, exclude_none=True)}
        return proxy.factorize(self.dense, chosen, self._factors, hashes=self._hashes, solver=SOLVER)[name]

    def raw(self, positions: Positions) -> nn.Module:
        """Compressed at these ranks and not calibrated."""
        ranks: dict[str, dict[str, Any]] = {
            name: choice.model_dump(by_alias=True, exclude_none=True)
            for name, choice in self.space.ranks(positions).items()
        }
        return proxy.compress(self.dense, ranks, self._factors, hashes=self._hashes, solver=SOLVER)

    def statistics(self, positions: Positions, count: int) -> nn.Module:
        """Compressed, its BatchNorm statistics re-estimated on ``count`` images."""
        small = self.raw(positions)
        proxy.calibrate(small, list(self.images.calibration[:count].split(64)), reference=self.dense)
        return small

    def reconstructed(self, positions: Positions, count: int, *, keep: bool = True, sweeps: int = 0) -> nn.Module:
        """Compressed, its last layers refitted on ``count`` images, after so many sweeps over all layers of its chains.

        ``keep``: the dense side, for the next time.
        """
        small = self.raw(positions)
        features = self._recorded.get(count)
        if features is None:
            names = [site.name for site in self.space.sites]
            features = proxy.record_dense(self.dense, [self.images.calibration[:count]], names)
            if keep:
                self._recorded[count] = features
        proxy.calibrate(small, (), reference=features, level="reconstruction", sweeps=sweeps)
        return small

    def forget(self, count: int) -> None:
        """Drop what the dense network made of ``count`` images."""
        self._recorded.pop(count, None)

    def score(self, small: nn.Module, count: int, metric: str = "kl") -> proxy.Score:
        """On ``test[:count]``."""
        batches = self.images.batches(0, count)
        if metric != "features":
            return proxy.score(small, batches, reference=self.logits(count), metric=metric)
        if count not in self._moments:
            self._moments[count] = proxy.feature_moments(self.dense, batches)
        return proxy.score(small, batches, reference=self._moments[count], metric=metric)

    def logits(self, count: int) -> list[Tensor]:
        """The dense network's, on the batches of ``test[:count]``."""
        if count not in self._logits:
            self._logits[count] = proxy.reference_logits(self.dense, self.images.batches(0, count))
        return self._logits[count]

    def report(self, small: nn.Module) -> float:
        """Accuracy on ``test[5000:]``."""
        return proxy.score(small, self.images.batches(VALIDATED, 10_000)).value


class _Factors:
    """The factors on disk, once read kept in memory."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._memory = proxy.MemoryCache()

    def get(self, key: str) -> proxy.Factors | None:
        found = self._memory.get(key)
        if found is None:
            found = self.session.factors.get(key)
            if found is not None:
                self._memory.put(key, found)
        return found

    def put(self, key: str, factors: proxy.Factors) -> None:
        self._memory.put(key, factors)
        self.session.factors.put(key, factors)


def _profile(session: Session, dense: nn.Module, work: Path, depth: int) -> ModelProfile:
    """As a worker computes it; from the folder where it was computed before."""
    kept, document = work / f"profile{depth}.json", work / f"resnet{depth}.safetensors"
    if not (kept.is_file() and document.is_file()):
        work.mkdir(parents=True, exist_ok=True)
        ranksearch.pack(dense, (torch.zeros(2, 3, 32, 32),), document)
        blob = Blob(sha256=hashlib.sha256(document.read_bytes()).hexdigest(), size=document.stat().st_size)
        profile = inspect(session, InspectTask(model=blob), {blob.sha256: document}).profile
        kept.write_text(profile.model_dump_json(by_alias=True))
    return ModelProfile.model_validate_json(kept.read_text())


_NETWORKS: dict[tuple[str, str, int, tuple[str, ...]], CifarNetwork] = {}
_IMAGES: dict[tuple[Path, str], Images] = {}


def network_of(options: Mapping[str, Any], depth: int, methods: Sequence[Method]) -> CifarNetwork:
    """The network of a process, made at its first use; the one before it is dropped, as they are large."""
    data, work, device = Path(options["data"]), Path(options["work"]), options.get("device", "cpu")
    images = _IMAGES.setdefault((data, device), Images(data, device))
    key = (str(work), device, depth, tuple(methods))
    if key not in _NETWORKS:
        _NETWORKS.clear()
        _NETWORKS[key] = CifarNetwork(images, work, depth, methods)
    return _NETWORKS[key]


def positions_of(numbers: Sequence[int]) -> Positions:
    """From a record."""
    return np.array(numbers, dtype=np.int64)
