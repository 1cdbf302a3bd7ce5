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
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, computed_field, model_validator

from ranksearch.contracts.dataset_inputs import IMAGES, InputSummary, data_member, read_inputs, refuse_data
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.tensorfile import TORCH_DTYPES, TensorFileHeader, read_header

__all__ = [
    "DATASET_FORMAT",
    "DatasetSummary",
    "InputSummary",
    "check_dataset_values",
    "dataset_summary",
    "summarise_dataset",
]

DATASET_FORMAT = "ranksearch.dataset/1"

Name = Annotated[str, Field(strict=True, min_length=1, max_length=1024)]

_LABEL_CODES = {"U8": "B", "I32": "i", "I64": "q"}
_CHUNK_ELEMENTS = 1 << 20


class DatasetSummary(BaseModel):
    """What a data set document holds.

    ``image_shape``, ``dtype``, ``layout``, ``mean`` and ``std`` are those of the first input; ``image_shape`` is
    ``(C, H, W)`` whatever the layout in the file.
    """

    model_config = ConfigDict(frozen=True)

    count: int
    image_shape: tuple[int, ...]
    dtype: Literal["uint8", "float16", "float32", "bool", "int32", "int64"]
    layout: Literal["NHWC", "NCHW"] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    has_labels: bool
    label_min: int | None
    label_max: int | None
    class_names: tuple[str, ...] | None
    bytes: int
    inputs: tuple[InputSummary, ...] = Field(description="in the order of the network's, one for each")

    @model_validator(mode="before")
    @classmethod
    def _of_images_alone(cls, given: Any) -> Any:  # noqa: ANN401 - whatever is to be validated
        """A summary stored before there were other inputs tells of one."""
        if not isinstance(given, dict) or "inputs" in given or "image_shape" not in given:
            return given
        told = {name: given.get(name) for name in ("dtype", "layout", "mean", "std")}
        return {**given, "inputs": [{"name": IMAGES, "shape": given["image_shape"], **told}]}

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
    count, inputs = read_inputs(header)
    names = data_member(header, "class_names", _NAMES) if "class_names" in header.metadata else None
    label_min, label_max = _labels_range(Path(path), header, count, names)
    return DatasetSummary(
        count=count,
        image_shape=inputs[0].shape,
        dtype=inputs[0].dtype,
        layout=inputs[0].layout,
        mean=inputs[0].mean,
        std=inputs[0].std,
        has_labels="labels" in header.tensors,
        label_min=label_min,
        label_max=label_max,
        class_names=names,
        bytes=header.file_bytes,
        inputs=inputs,
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
    for one in summary.inputs:
        if one.dtype not in ("float16", "float32"):
            continue
        dtype, done = np.dtype(one.dtype).newbyteorder("<"), 0
        for chunk in _chunks(Path(path), header, one.tensor, dtype.itemsize):
            finite = np.isfinite(np.frombuffer(chunk, dtype))
            if not finite.all():
                raise _not_finite(one, (done + int(np.argmin(finite))) // math.prod(one.shape))
            done += finite.size
    return summary


def _not_finite(input_: InputSummary, image: int) -> DatasetError:
    where = "" if input_.name == IMAGES else f", in its {input_.name},"
    return DatasetError(
        "dataset_not_finite",
        f"image {image}{where} holds a value that is not finite",
        expected="finite values in every image",
        mend=f"leave image {image} out or repair it, and pack again",
        image=image,
    )


_NAMES = TypeAdapter(Annotated[tuple[Name, ...], Field(max_length=100_000)])


def _check_dataset_format(tag: str | None) -> None:
    if tag != DATASET_FORMAT:
        refuse_data("this is not a data set document of a known version", got=tag, expected=DATASET_FORMAT)


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
