"""What an evaluating child keeps from one task to the next: networks, images, reference outputs, factors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

import proxy
from proxy.dense_features import recorded_bytes
from proxy.sites import static_reasons
from ranksearch.contracts.dataset_inputs import matched_inputs
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.goals import Level, Metric
from ranksearch.contracts.jobs import DataSelection
from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.contracts.resources import Blob
from ranksearch.documents import example_inputs, load, load_data
from worker.devices import main_memory
from worker.evaluation.faults import ran_out_of_memory, refused_images
from worker.evaluation.kept_networks import KeptNetworks
from worker.evaluation.pieces import in_pieces
from worker.factor_cache import DiskCache

__all__ = ["Images", "Session"]

_NETWORKS = 2
_SELECTIONS = 4
_RESIDENT_BYTES = 1 << 30
_RECORDED_BYTES = 1 << 30

Batch = tuple[proxy.Inputs, Tensor | None]
Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The most recently used values of a function of a key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[object, Value] = OrderedDict()

    def get(self, key: object, make: Callable[[], Value]) -> Value:
        """The value under this key, made if it is not there."""
        if key not in self._values:
            value = make()
            self._values[key] = value
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]

    def keys(self) -> list[object]:
        """What is kept, the least recently used first."""
        return list(self._values)

    def clear(self) -> None:
        """Forget all of them."""
        self._values.clear()


class Images:
    """The images of one selection, in batches on a device; kept there where they are few enough.

    Iterating again gives the same batches, which is what makes two trials comparable.

    Args:
        path: a data set document.
        selection: which of its images.
        batch_size: images a batch; the last one may hold fewer.
        device: where the batches are wanted.
        specs: what the network takes: shapes, names and types of its inputs.
        at_once: images that a forward pass may take at once: fewer than a batch where memory is short.

    Raises:
        DatasetError: the document is not usable, its inputs are not the network's, or it holds fewer images than
            selected.
    """

    def __init__(
        self,
        path: Path,
        selection: DataSelection,
        batch_size: int,
        device: torch.device,
        specs: Sequence[TensorSpec],
        at_once: int | None = None,
    ) -> None:
        self._data = load_data(path)
        self._device = device
        self._order = matched_inputs(self._data.summary.inputs, specs)
        self._dtypes: list[torch.dtype] = [getattr(torch, spec.dtype) for spec in specs]
        if selection.stop > len(self._data):
            raise DatasetError(
                "dataset_slice_out_of_range",
                "the selection reaches beyond the data set",
                got=f"images {selection.start} to {selection.stop}",
                expected=f"at most {len(self._data)}",
            )
        edges = range(selection.start, selection.stop, batch_size)
        self._bounds = [(start, min(start + batch_size, selection.stop)) for start in edges]
        self.count = selection.stop - selection.start
        self.at_once = min(at_once or batch_size, batch_size)
        self.are_cut = self.at_once < batch_size
        each = sum(prod(spec.shape) * dtype.itemsize for spec, dtype in zip(specs, self._dtypes, strict=True))
        self._resident = not self.are_cut and self.count * each <= _RESIDENT_BYTES
        self._kept: list[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        if not self._resident:
            return (self._batch(start, stop) for start, stop in self._bounds)
        if self._kept is None:
            self._kept = [self._batch(start, stop) for start, stop in self._bounds]
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._bounds)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of one image, ``(C, H, W)``, input by input."""
        return tuple(self._data.summary.inputs[at].shape for at in self._order)

    def only(self) -> Iterator[proxy.Inputs]:
        """The batches without their labels."""
        return (images for images, _ in self)

    def pieces(self) -> Iterator[proxy.Inputs]:
        """The same, in pieces of at most ``at_once``."""
        return (piece for images in self.only() for piece in images.pieces(self.at_once))

    def _batch(self, start: int, stop: int) -> Batch:
        labels = self._data.labels
        stored = self._data.inputs(start, stop)
        tensors = [stored[at].to(self._device, dtype) for at, dtype in zip(self._order, self._dtypes, strict=True)]
        if self._device.type == "cpu":  # seen on CPUs: factorised networks run twice as fast on this layout
            tensors = [_channels_last(tensor) for tensor in tensors]
        return proxy.Inputs(tuple(tensors)), None if labels is None else labels[start:stop].to(self._device)


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


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor  # noqa: PLR2004 - images


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
