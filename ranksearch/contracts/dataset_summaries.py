"""What a data set document says of itself, read without torch.

:func:`summarise_dataset` checks everything but the images' values, which :func:`check_dataset_values` streams through.
"""

from __future__ import annotations

import array
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, computed_field

from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.tensorfile import (
    TORCH_DTYPES,
    StoredTensor,
    TensorFileHeader,
    parse_bounded_json,
    read_header,
)

__all__ = ["DATASET_FORMAT", "DatasetSummary", "check_dataset_values", "dataset_summary", "summarise_dataset"]

DATASET_FORMAT = "ranksearch.dataset/1"

Name = Annotated[str, Field(strict=True, min_length=1, max_length=1024)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


_IMAGE_DTYPES = {"U8": "uint8", "F16": "float16", "F32": "float32"}
_LABEL_CODES = {"U8": "B", "I32": "i", "I64": "q"}
_CHUNK_ELEMENTS = 1 << 20


class DatasetSummary(BaseModel):
    """What a data set document holds. ``image_shape`` is ``(C, H, W)`` whatever the layout in the file."""

    model_config = ConfigDict(frozen=True)

    count: int
    image_shape: tuple[int, int, int]
    dtype: Literal["uint8", "float16", "float32"]
    layout: Literal["NHWC", "NCHW"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    has_labels: bool
    label_min: int | None
    label_max: int | None
    class_names: tuple[str, ...] | None
    bytes: int

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
    @property
    def num_classes(self) -> int | None:
        """The number of class names; without them, the largest label + 1; without labels, ``None``."""
        if self.class_names is not None:
            return len(self.class_names)
        return None if self.label_max is None else self.label_max + 1


def summarise_dataset(path: str | os.PathLike[str]) -> DatasetSummary:
    """Read what the data set document at ``path`` says of itself; its labels are scanned, its images are not.

    Raises:
        DatasetError: the header is unusable, the images or labels have a wrong dtype or shape, there are no
            images, or a label is negative or beyond the class names.
        OSError: there is no such file, or it may not be read.
    """
    return dataset_summary(path, read_header(path, error=DatasetError))


def dataset_summary(path: str | os.PathLike[str], header: TensorFileHeader) -> DatasetSummary:
    """As :func:`summarise_dataset`, for a header read already.

    Raises:
        DatasetError: as :func:`summarise_dataset`.
    """
    _check_dataset_format(header.metadata.get("format"))
    if "images" not in header.tensors or set(header.tensors) - {"images", "labels"}:
        _refuse_data("the tensors are not images and labels", got=sorted(header.tensors)[:5])
    images, layout = header.tensors["images"], header.metadata.get("layout")
    if layout not in ("NHWC", "NCHW"):
        _refuse_data("the layout is unknown", got=layout, expected="NHWC or NCHW")
    count, shape = _images_shape(images, layout)
    mean = _data_member(header, "mean", _STATISTICS)
    std = _data_member(header, "std", _STATISTICS)
    if len(mean) != shape[0] or len(std) != shape[0] or min(std) <= 0:
        _refuse_data("mean and std do not fit the channels", got=[mean, std], expected=f"{shape[0]} each, std > 0")
    names = _data_member(header, "class_names", _NAMES) if "class_names" in header.metadata else None
    label_min, label_max = _labels_range(Path(path), header, count, names)
    return DatasetSummary(
        count=count,
        image_shape=shape,
        dtype=_IMAGE_DTYPES[images.dtype],
        layout=layout,
        mean=mean,
        std=std,
        has_labels="labels" in header.tensors,
        label_min=label_min,
        label_max=label_max,
        class_names=names,
        bytes=header.file_bytes,
    )


def check_dataset_values(path: str | os.PathLike[str]) -> DatasetSummary:
    """Read the whole data set document, a few megabytes at a time, and refuse images that are not finite.

    Returns:
        The data set's summary.

    Raises:
        DatasetError: as :func:`summarise_dataset`, and ``dataset_not_finite`` naming the first bad image, whose
            index is ``extra["image"]``.
        OSError: there is no such file, or it may not be read.
    """
    import numpy as np  # noqa: PLC0415 - the client, which reads summaries, has no numpy

    header = read_header(path, error=DatasetError)
    summary = dataset_summary(path, header)
    if summary.dtype == "uint8":
        return summary
    dtype = np.dtype(summary.dtype).newbyteorder("<")
    done = 0
    for chunk in _chunks(Path(path), header, "images", dtype.itemsize):
        finite = np.isfinite(np.frombuffer(chunk, dtype))
        if not finite.all():
            image = (done + int(np.argmin(finite))) // math.prod(summary.image_shape)
            raise DatasetError(
                "dataset_not_finite",
                f"image {image} holds a value that is not finite",
                expected="finite values in every image",
                mend=f"leave image {image} out or repair it, and pack again",
                image=image,
            )
        done += finite.size
    return summary


_NAMES = TypeAdapter(Annotated[tuple[Name, ...], Field(max_length=100_000)])
_STATISTICS = TypeAdapter(Annotated[tuple[Finite, ...], Field(max_length=4096)])


def _refuse_data(detail: str, *, got: object = None, expected: object = None) -> NoReturn:
    mend = "pack the images again with ranksearch.pack_data"
    raise DatasetError("dataset_header_invalid", detail, got=got, expected=expected, mend=mend)


def _check_dataset_format(tag: str | None) -> None:
    if tag != DATASET_FORMAT:
        _refuse_data("this is not a data set document of a known version", got=tag, expected=DATASET_FORMAT)


def _data_member(header: TensorFileHeader, name: str, adapter: TypeAdapter[Any]) -> Any:  # noqa: ANN401 - as above
    if name not in header.metadata:
        _refuse_data(f"the metadata lack {name!r}", got=sorted(header.metadata))
    code = "dataset_header_invalid"
    parsed = parse_bounded_json(header.metadata[name], name, error=DatasetError, code=code)
    try:
        return adapter.validate_python(parsed)
    except ValidationError as problem:
        _refuse_data(f"the metadata's {name!r} is malformed", got=problem.errors()[0]["msg"])


def _images_shape(images: StoredTensor, layout: str) -> tuple[int, tuple[int, int, int]]:
    if images.dtype not in _IMAGE_DTYPES:
        expected = " or ".join(_IMAGE_DTYPES.values())
        got = TORCH_DTYPES[images.dtype]
        raise DatasetError("dataset_wrong_dtype", "the images have an unusable dtype", got=got, expected=expected)
    if len(images.shape) != 4:  # noqa: PLR2004 - N, C, H, W
        detail = "the images do not have four dimensions"
        raise DatasetError("dataset_shape_mismatch", detail, got=list(images.shape), expected=layout)
    if 0 in images.shape:
        mend = "pack at least one image"
        raise DatasetError("dataset_empty", "there are no images", got=list(images.shape), mend=mend)
    count, *sizes = images.shape
    channels, height, width = sizes if layout == "NCHW" else (sizes[2], sizes[0], sizes[1])
    return count, (channels, height, width)


def _labels_range(
    path: Path, header: TensorFileHeader, count: int, names: tuple[str, ...] | None
) -> tuple[int | None, int | None]:
    labels = header.tensors.get("labels")
    if labels is None:
        return None, None
    if labels.dtype not in _LABEL_CODES:
        got = TORCH_DTYPES[labels.dtype]
        raise DatasetError("dataset_wrong_dtype", "the labels have an unusable dtype", got=got, expected="int64")
    if labels.shape != (count,):
        detail = "there is not one label for each image"
        raise DatasetError("dataset_labels_mismatch", detail, got=list(labels.shape), expected=[count])
    ranges = [(min(chunk), max(chunk)) for chunk in _labels(path, header, labels.dtype)]
    lowest, highest = min(low for low, _ in ranges), max(high for _, high in ranges)
    beyond = names is not None and highest >= len(names)
    if lowest < 0 or beyond:
        raise DatasetError(
            "dataset_labels_out_of_range",
            "a label is beyond the class names" if beyond else "a label is negative",
            got=f"labels from {lowest} to {highest}",
            expected=f"labels from 0 to {len(names) - 1}" if names is not None else "labels ≥ 0",
            mend="number the classes from 0, and leave unlabelled images out",
        )
    return lowest, highest


def _labels(path: Path, header: TensorFileHeader, dtype: str) -> Iterator[array.array[int]]:
    for chunk in _chunks(path, header, "labels", array.array(_LABEL_CODES[dtype]).itemsize):
        values = array.array(_LABEL_CODES[dtype], chunk)
        if sys.byteorder == "big":
            values.byteswap()
        yield values


def _chunks(path: Path, header: TensorFileHeader, name: str, itemsize: int) -> Iterator[bytes]:
    """The bytes of one tensor, a bounded number of whole elements at a time."""
    tensor = header.tensors[name]
    with path.open("rb") as file:
        file.seek(header.data_start + tensor.begin)
        left = tensor.end - tensor.begin
        while left:
            chunk = file.read(min(left, _CHUNK_ELEMENTS * itemsize))
            if len(chunk) % itemsize or not chunk:
                raise DatasetError("dataset_truncated", f"the file ended inside {name} while it was read")
            left -= len(chunk)
            yield chunk
