"""Data set documents from numpy's npz files."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ranksearch.contracts.errors import DatasetError
from ranksearch.documents.dataset_packing import Layout, Statistics, pack_data

__all__ = ["pack_normalised_npz", "pack_npz"]

_IMAGES = ("images", "x", "data", "x_test", "x_train", "arr_0")
_CHANNELS = (1, 3, 4)
_LABELS = ("labels", "y", "targets", "y_test", "y_train", "arr_1")


def pack_npz(
    npz: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    mean: Statistics | Mapping[str, Statistics] | None = None,
    std: Statistics | Mapping[str, Statistics] | None = None,
    layout: Layout | Mapping[str, Layout] = "NHWC",
    images: str | Sequence[str] | None = None,
    labels: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Path:
    """Write the images and labels of an npz file as a data set document.

    Args:
        npz: the file; pickled objects in it are never opened.
        path: where to write; replaced in one step once the document is complete.
        mean: as for :func:`ranksearch.pack_data`.
        std: as for :func:`ranksearch.pack_data`.
        layout: likewise.
        images: name of the images' array; otherwise the first of the usual names that the file has. Or the names of
            several arrays, the inputs of a network in their order: then mean, std and layout are by name, of those
            that are images, and all others are taken as they are.
        labels: name of the labels' array; otherwise the first of the usual names that the file has, if any.
        class_names: in the order of the labels.

    Returns:
        The path written to.

    Raises:
        DatasetError: ``dataset_source_unreadable``: the file cannot be read or lacks the arrays; otherwise as for
            :func:`ranksearch.pack_data`.
    """
    import numpy as np  # noqa: PLC0415 - costs time, and only this needs it

    with _reading(npz), np.load(npz, allow_pickle=False) as arrays:
        found_images = _images(arrays, images)
        label_name = _chosen(arrays.files, labels, _LABELS, required=False)
        found_labels = arrays[label_name].reshape(-1) if label_name else None
    return pack_data(found_images, found_labels, path, mean=mean, std=std, layout=layout, class_names=class_names)


def pack_normalised_npz(npz: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """As :func:`pack_npz`, for images that are what the network takes: floats, normalised already.

    They are taken for ``(N, C, H, W)`` where the second size is a number of channels (1, 3 or 4) and the last is not.

    Raises:
        DatasetError: ``dataset_source_unreadable``, as :func:`pack_npz`, and for bytes: nothing says how they are
            normalised.
    """
    import numpy as np  # noqa: PLC0415 - as above

    with _reading(npz), np.load(npz, allow_pickle=False) as arrays:
        found = _images(arrays, None)
    if found.dtype.kind != "f":
        raise DatasetError(
            "dataset_source_unreadable",
            f"the images of {npz} are not floats, so how they are normalised has to be said",
            got=str(found.dtype),
            expected="floats, as the network takes them",
            mend=f"ranksearch pack-data {npz} --mean … --std …, then submit the document that it writes",
        )
    planes = found.ndim == 4 and found.shape[1] in _CHANNELS and found.shape[3] not in _CHANNELS  # noqa: PLR2004 - N, C, H, W
    return pack_npz(npz, path, mean=0.0, std=1.0, layout="NCHW" if planes else "NHWC")


@contextlib.contextmanager
def _reading(npz: str | os.PathLike[str]) -> Iterator[None]:
    """Say what is wrong with a file that cannot be read."""
    try:
        yield
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as problem:
        raise DatasetError(
            "dataset_source_unreadable",
            f"{npz} cannot be read as an npz file of images and labels",
            got=f"{type(problem).__name__}: {problem}",
            mend="write it with numpy.savez(path, images=…, labels=…)",
        ) from problem


def _images(arrays: Any, images: str | Sequence[str] | None) -> Any:  # noqa: ANN401 - an npz file; arrays
    if not hasattr(arrays, "files"):  # a single array: np.load answers with it
        raise ValueError("it is an npy file, not an npz file")
    if images is None or isinstance(images, str):
        return arrays[_chosen(arrays.files, images, _IMAGES, required=True)]
    return {name: arrays[_chosen(arrays.files, name, (), required=True)] for name in images}


def _chosen(present: list[str], asked: str | None, usual: tuple[str, ...], *, required: bool) -> str:
    """The array asked for, or the first of the usual names; an empty text where none is there or needed."""
    if asked is None:
        asked = next((name for name in usual if name in present), None)
    if asked in present:
        return str(asked)
    if not required and asked is None:
        return ""
    raise ValueError(f"it has the arrays {present}, not {asked or ' or '.join(usual)}")
