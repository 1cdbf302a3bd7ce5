"""What an evaluating child keeps from one task to the next: networks, images, reference outputs, factors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import proxy
from proxy.dense_features import recorded_bytes
from proxy.sites import static_reasons
from ranksearch.contracts.goals import Level, Metric
from ranksearch.contracts.jobs import DataSelection
from ranksearch.contracts.resources import Blob
from ranksearch.documents import example_inputs, load
from worker.devices import main_memory
from worker.evaluation.faults import ran_out_of_memory, refused_images
from worker.evaluation.images import Images
from worker.evaluation.kept_networks import KeptNetworks
from worker.evaluation.pieces import in_pieces
from worker.evaluation.recent import Recent
from worker.factor_cache import DiskCache

__all__ = ["Session"]

_NETWORKS = 2
_SELECTIONS = 4
_RECORDED_BYTES = 1 << 30

Value = TypeVar("Value")


class Session:
    """Holds what is expensive to make.

    Args:
        device: torch device everything is computed on.
        cache_dir: of the factor cache.
        threads: CPU threads; 0 leaves torch's own choice.

    Attributes:
        used: keys of factors that the task at hand uses and that other workers may want.
        at_once: images that a forward pass may take at once; None: whole batches.
        enough: (sha256 of a model, batch size) → so many at once, as found out where memory was short.
    """

    def __init__(self, *, device: str, cache_dir: Path, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = False  # a trial repeated must give the same value,
        torch.backends.cudnn.allow_tf32 = False  # and on a GPU that of a CPU: seen were six digits instead of three
        self.device = torch.device(device)
        self.factors = DiskCache(cache_dir, device=self.device)
        self._networks: Recent[nn.Module] = Recent(_NETWORKS)
        self._images: Recent[Images] = Recent(_SELECTIONS)
        self._references: Recent[proxy.DenseOutputs] = Recent(_SELECTIONS)
        self._hashes: Recent[dict[str, str]] = Recent(_NETWORKS)
        self._moments: Recent[proxy.OutputMoments] = Recent(_SELECTIONS)
        self._features: Recent[proxy.FeatureMoments] = Recent(_SELECTIONS)
        self._recorded: Recent[proxy.DenseFeatures | None] = Recent(1)
        self.calibrated = KeptNetworks()
        self.used: list[str] = []
        self.at_once: int | None = None
        self.enough: dict[tuple[str, int], int] = {}

    @property
    def holds(self) -> list[str]:
        """sha256 of the networks in memory."""
        return [str(key) for key in self._networks.keys()]  # noqa: SIM118 - no dict

    def forget(self) -> None:
        """Drop everything but the factors: what comes next starts with an empty device."""
        for kept in (self._networks, self._images, self._references, self._hashes):
            kept.clear()
        self.calibrated.clear()
        for measured in (self._moments, self._features, self._recorded):
            measured.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def device_name(self) -> str:
        """As results name it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device)

    def device_problem(self) -> str | None:
        """Why nothing can be computed on the device; None: it works."""
        try:
            ones = torch.ones(2, 2, device=self.device)
            found = float((ones @ ones).sum())
        except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without this kind of device
            return str(error).partition("\n")[0]
        return None if found == 8 else f"it computes {found:g} where 8 is right"  # noqa: PLR2004 - 2³

    @property
    def memory_bytes(self) -> int | None:
        """Of the device."""
        if self.device.type == "cuda":
            return int(torch.cuda.get_device_properties(self.device).total_memory)
        return main_memory()

    def network(self, blob: Blob, path: Path) -> nn.Module:
        """The dense network of a model document, in eval mode on the device. Not to be changed.

        Raises:
            DocumentError: the document is not usable.
        """
        return self._networks.get(blob.sha256, lambda: load(path).to(self.device).eval())

    def example_inputs(self, network: nn.Module, batch: int = 2) -> tuple[Tensor, ...]:
        """Random inputs of the shapes that a loaded network was packed with, on the device."""
        return example_inputs(network.input_specs, batch, device=self.device)  # type: ignore[arg-type]  # load() sets them

    def hashes(self, blob: Blob, network: nn.Module) -> dict[str, str]:
        """Layer name → weight hash of a network, computed once."""
        return self._hashes.get(blob.sha256, lambda: proxy.weight_hashes(network))

    def images(self, selection: DataSelection, path: Path, batch_size: int, network: nn.Module) -> Images:
        """The images of a selection, as a loaded network takes them.

        Raises:
            DatasetError: they are not usable.
        """
        specs: Any = network.input_specs  # load() sets them
        at_once = min(self.at_once or batch_size, batch_size)
        key = (selection.blob.sha256, selection.start, selection.stop, batch_size, at_once, specs)
        return self._images.get(key, lambda: Images(path, selection, batch_size, self.device, specs, at_once))

    def moments(self, blob: Blob, network: nn.Module, selection: DataSelection, images: Images) -> proxy.OutputMoments:
        """The dense layers' output moments on a selection, which layers without a BatchNorm are corrected to.

        Raises:
            DatasetError: the network does not take these images.
        """
        names = self.hashes(blob, network)
        return self._moments.get(
            _key(blob, selection, images),
            _taking(images, lambda: proxy.output_moments(network, images.pieces(), names)),
        )

    def calibration_reference(
        self, blob: Blob, network: nn.Module, selection: DataSelection, images: Images, level: Level
    ) -> nn.Module | proxy.OutputMoments | proxy.DenseFeatures:
        """What a level of calibration aims at, made once for all trials on the same images.

        For ``reconstruction`` the dense network's features, or where those would take too much memory the network
        itself, which costs every trial more time.

        Raises:
            DatasetError: the network does not take these images.
        """
        if level == "statistics":
            return self.moments(blob, network, selection, images)

        def recorded() -> proxy.DenseFeatures | None:
            if images.are_cut:
                return None
            names = [name for name, reason in static_reasons(network).items() if reason is None]
            sizes = recorded_bytes(network, next(images.only())[:1], names, images=images.count)
            if images.count * sum(size.kept for size in sizes.values()) > _RECORDED_BYTES:
                return None
            return proxy.record_dense(network, images.only(), names)

        return self._recorded.get(_key(blob, selection, images), _taking(images, recorded)) or network

    def metric_reference(
        self, blob: Blob, network: nn.Module, selection: DataSelection, images: Images, metric: Metric
    ) -> proxy.DenseOutputs | proxy.FeatureMoments:
        """What a metric compares with: the dense network's outputs, or its features' moments.

        Raises:
            DatasetError: the network does not take these images.
        """
        if metric != "features":
            return self.reference(blob, network, selection, images)
        return self._features.get(
            _key(blob, selection, images), _taking(images, lambda: proxy.feature_moments(network, images.pieces()))
        )

    def reference(self, blob: Blob, network: nn.Module, selection: DataSelection, images: Images) -> proxy.DenseOutputs:
        """The dense network's outputs for every batch of a selection, or itself where those take too much memory.

        Raises:
            DatasetError: the network does not take these images.
        """

        def outputs() -> proxy.DenseOutputs:
            with in_pieces(network, images.at_once):
                return proxy.reference_outputs(network, images.only(), memory=_RECORDED_BYTES)

        return self._references.get(_key(blob, selection, images), _taking(images, outputs))


def _key(blob: Blob, selection: DataSelection, images: Images) -> tuple[object, ...]:
    return blob.sha256, selection.blob.sha256, selection.start, selection.stop, len(images)


def _taking(images: Images, make: Callable[[], Value]) -> Callable[[], Value]:
    """The same, with the network's complaint about the images told in terms of the data set."""

    def made() -> Value:
        try:
            return make()
        except RuntimeError as error:
            if ran_out_of_memory(error):
                raise
            raise refused_images(error, images.shapes) from error

    return made
