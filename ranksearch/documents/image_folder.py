"""Data set documents from a folder of images, one folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ranksearch.contracts.errors import DatasetError
from ranksearch.documents.dataset_packing import write_dataset
from ranksearch.documents.tensor_bytes import Rows

__all__ = ["pack_image_folder"]

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def pack_image_folder(
    directory: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int],
    mean: float | Sequence[float] = _IMAGENET_MEAN,
    std: float | Sequence[float] = _IMAGENET_STD,
    resize_shorter: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Path:
    """Write the images below ``directory`` as a data set document.

    Every image becomes RGB, is scaled so that it just covers ``size``, and cut to it around its middle. One image
    at a time is in memory.

    Args:
        directory: one folder for each class, whose sorted names are the class names; a folder that holds images
            and no folders gives a data set without labels.
        path: where to write; replaced in one step once the document is complete.
        size: height and width, in pixels, or one number for both.
        mean: subtracted from each channel of values from 0 to 1; ImageNet's by default.
        std: each channel is divided by it; ImageNet's by default.
        resize_shorter: scale the shorter side to this many pixels before cutting, as ImageNet's 256 for 224.
        limit: take at most so many images, drawn at random by ``seed``.
        seed: the order of the images is random, so that any slice holds all classes, and the same for a seed.

    Returns:
        The path written to.

    Raises:
        DatasetError: ``dataset_empty``: there are no images; ``dataset_source_unreadable``: one cannot be read.
        ModuleNotFoundError: Pillow is not installed.
    """
    root = Path(directory)
    files, names = _found(root)
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed)).tolist()[:limit]
    chosen = [files[index] for index in order]
    if not chosen:
        mend = "put images into one folder for each class"
        raise DatasetError("dataset_empty", "there are no images in the folder", got=str(root), mend=mend)
    height, width = (size, size) if isinstance(size, int) else size
    images = (_image(file, height, width, resize_shorter) for file, _ in chosen)
    rows = Rows(torch.uint8, (len(chosen), height, width, 3), images)
    labels = [label for _, label in chosen] if names else None
    return write_dataset(rows, labels, path, mean=mean, std=std, layout="NHWC", class_names=names)


def _found(root: Path) -> tuple[list[tuple[Path, int]], list[str] | None]:
    """Image files with their labels, and the class names; no names where there are no class folders."""
    if not root.is_dir():
        mend = "check the path; `ranksearch pack-data` takes a folder of images, or an npz file"
        raise DatasetError("dataset_source_unreadable", "there is no such folder", got=str(root), mend=mend)
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        return [(file, 0) for file in _image_files(root)], None
    return [(file, label) for label, name in enumerate(classes) for file in _image_files(root / name)], classes


def _image_files(folder: Path) -> Iterator[Path]:
    yield from sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())


def _image(file: Path, height: int, width: int, shorter: int | None) -> Tensor:
    """One image as uint8 of shape ``(1, height, width, 3)``."""
    from PIL import Image  # noqa: PLC0415 - only image folders need Pillow

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise DatasetError(
            "dataset_source_unreadable",
            f"the image {file} cannot be read",
            got=str(problem),
            mend="repair it or take it away",
        ) from problem
    scale = max(height / image.height, width / image.width)
    if shorter is not None:
        scale = max(scale, shorter / min(image.size))
    scaled = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = image.crop((left, top, left + width, top + height)).tobytes()
    return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(1, height, width, 3)
