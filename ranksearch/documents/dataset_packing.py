"""Writes data set documents: of images, or of several inputs for each sample."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from ranksearch.contracts.dataset_inputs import IMAGES
from ranksearch.contracts.dataset_summaries import DATASET_FORMAT, check_dataset_values
from ranksearch.contracts.errors import DatasetError
from ranksearch.documents.tensor_bytes import Rows, write_tensor_file, written_in_place

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Layout", "Statistics", "pack_data", "write_dataset"]

Layout = Literal["NHWC", "NCHW"]
Statistics: TypeAlias = float | Sequence[float]
"""One number for all channels, or one for each."""

_DTYPES = (torch.uint8, torch.float16, torch.float32)
_OTHER_DTYPES = (*_DTYPES, torch.bool, torch.int32, torch.int64)


def pack_data(
    images: Tensor | np.ndarray[Any, Any] | Mapping[str, Tensor | np.ndarray[Any, Any]],
    labels: Tensor | np.ndarray[Any, Any] | Sequence[int] | None,
    path: str | os.PathLike[str],
    *,
    mean: Statistics | Mapping[str, Statistics] | None = None,
    std: Statistics | Mapping[str, Statistics] | None = None,
    layout: Layout | Mapping[str, Layout] = "NHWC",
    class_names: Sequence[str] | None = None,
) -> Path:
    """Write images, and labels where there are any, as a data set document.

    For a network of several inputs, or of one that is no image, give a dict: name → array, the samples always first.
    Inputs with a mean and a std are images; all others are stored, and later taken, as they are.

    Args:
        images: uint8 or float of shape ``(N, H, W, C)`` or ``(N, C, H, W)``, or ``(N, H, W)`` for one channel.
            Bytes mean values from 0 to 1; floats are taken as they are; float64 is stored as float32. Or a dict of
            such arrays and of others ``(N, …)``, also of whole numbers or truth values, in the order of the network's
            inputs or by their names.
        labels: class numbers from 0, of shape ``(N,)``, or ``None``.
        path: where to write; replaced in one step once the document is complete.
        mean: subtracted from each channel, or from all. Of a dict of inputs: name → mean, of those that are images.
        std: each channel is divided by it, or all are; likewise.
        layout: of ``images``; of a dict of inputs: of all that are images, or name → layout.
        class_names: in the order of the labels.

    Returns:
        The path written to.

    Raises:
        DatasetError: no images, values that are not finite, a wrong dtype or shape, or labels that do not fit.
        TypeError: images without mean and std, or a mean, std or layout of an input that is not there.
    """
    if not isinstance(images, Mapping):
        if mean is None or std is None or any(isinstance(one, Mapping) for one in (mean, std, layout)):
            raise TypeError("images need mean and std; by name they are given where the images are a dict, too")
        rows = _rows(images, layout)  # type: ignore[arg-type]  # no mapping, as just seen
        return write_dataset(rows, labels, path, mean=mean, std=std, layout=layout, class_names=class_names)  # type: ignore[arg-type]  # as above
    statistics = _by_name(mean, images, "mean"), _by_name(std, images, "std")
    if statistics[0].keys() != statistics[1].keys():
        raise TypeError(f"mean and std are of other inputs: {sorted(statistics[0])} and {sorted(statistics[1])}")
    layouts = _by_name(
        layout if isinstance(layout, Mapping) else dict.fromkeys(statistics[0], layout), images, "layout"
    )
    entries: list[dict[str, Any]] = []
    tensors: dict[str, Tensor | Rows] = {}
    for name, values in images.items():
        entries.append({"name": name})
        rows = _rows(values, layouts.get(name, "NHWC") if name in statistics[0] else None)
        if name in statistics[0]:
            entries[-1] |= _image_entry(name, rows, layouts.get(name, "NHWC"), statistics[0][name], statistics[1][name])
        tensors[name if name == IMAGES else f"input.{name}"] = rows
    return _write(tensors, {"inputs": json.dumps(entries)}, labels, path, class_names)


def write_dataset(
    images: Rows,
    labels: Tensor | np.ndarray[Any, Any] | Sequence[int] | None,
    path: str | os.PathLike[str],
    *,
    mean: Statistics,
    std: Statistics,
    layout: Layout,
    class_names: Sequence[str] | None,
) -> Path:
    """As :func:`pack_data`, for images that come piece by piece."""
    entry = _image_entry(IMAGES, images, layout, mean, std)
    metadata = {name: value if isinstance(value, str) else json.dumps(value) for name, value in entry.items()}
    return _write({IMAGES: images}, metadata, labels, path, class_names)


def _write(
    tensors: dict[str, Tensor | Rows],
    metadata: dict[str, str],
    labels: Any,  # noqa: ANN401 - whatever torch makes a tensor of
    path: str | os.PathLike[str],
    class_names: Sequence[str] | None,
) -> Path:
    metadata = {"format": DATASET_FORMAT, **metadata}
    if class_names is not None:
        metadata["class_names"] = json.dumps(list(class_names))
    if labels is not None:
        tensors["labels"] = _checked_labels(labels)
    with written_in_place(path) as part:
        write_tensor_file(part, tensors, metadata)
        check_dataset_values(part)
    return Path(path)


def _rows(values: Any, layout: Layout | None) -> Rows:  # noqa: ANN401 - whatever torch makes a tensor of
    """An input as it is stored; without a layout it is no image."""
    stored = torch.as_tensor(values)
    if stored.dtype == torch.float64:
        stored = stored.to(torch.float32)
    if layout is not None and stored.ndim == 3:  # noqa: PLR2004 - N, H, W
        stored = stored.unsqueeze(-1 if layout == "NHWC" else 1)
    if layout is None and stored.dtype not in _OTHER_DTYPES:
        raise _unusable_dtype("an input has", stored.dtype, _OTHER_DTYPES)
    return Rows(stored.dtype, tuple(stored.shape), (stored,))


def _image_entry(name: str, images: Rows, layout: Layout, mean: Statistics, std: Statistics) -> dict[str, Any]:
    """What the metadata tell of images."""
    if images.dtype not in _DTYPES:
        raise _unusable_dtype(f"the {name} have", images.dtype, _DTYPES)
    if len(images.shape) != 4:  # noqa: PLR2004 - N, C, H, W
        detail = f"the {name} do not have four dimensions"
        raise DatasetError("dataset_shape_mismatch", detail, got=list(images.shape), expected=layout)
    channels = images.shape[3 if layout == "NHWC" else 1]
    return {"layout": layout, "mean": _per_channel(mean, channels), "std": _per_channel(std, channels)}


def _unusable_dtype(what: str, dtype: torch.dtype, usable: tuple[torch.dtype, ...]) -> DatasetError:
    expected = [str(one) for one in usable]
    return DatasetError("dataset_wrong_dtype", f"{what} an unusable dtype", got=str(dtype), expected=expected)


def _by_name(given: Any, inputs: Mapping[str, object], word: str) -> dict[str, Any]:  # noqa: ANN401 - as it was given
    """A value for each input that has one.

    Raises:
        TypeError: it names another, or no name at all.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"the images are a dict, so {word} is one, too: name → {word}, of those that are images")
    if unknown := sorted(given.keys() - inputs.keys()):
        raise TypeError(f"{word} names {', '.join(unknown)}, and the inputs are {', '.join(inputs)}")
    return dict(given)


def _per_channel(value: Statistics, channels: int) -> list[float]:
    numbers = [value] * channels if isinstance(value, (int, float)) else value
    return [float(number) for number in numbers]


def _checked_labels(labels: Any) -> Tensor:  # noqa: ANN401 - whatever torch makes a tensor of
    tensor = torch.as_tensor(labels)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        got = str(tensor.dtype)
        raise DatasetError("dataset_wrong_dtype", "the labels are not whole numbers", got=got, expected="int64")
    return tensor.to(torch.int64)
