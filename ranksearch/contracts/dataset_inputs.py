"""The inputs that a data set document holds for each of its samples, and which input of a network takes which.

A document of plain images has one input, its tensor ``images``. A document of several inputs, or of one that is no
image, names them in its metadata's ``inputs``, and has a tensor ``input.NAME`` for each, all with the samples as first
axis. An input with a layout is an image, normalised as images are; any other is taken as it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.contracts.refusals import reason
from ranksearch.contracts.tensorfile import TORCH_DTYPES, StoredTensor, TensorFileHeader, parse_bounded_json

__all__ = ["IMAGES", "InputSummary", "data_member", "matched_inputs", "read_inputs", "refuse_data"]

IMAGES = "images"
"""The tensor of plain images, and the name of that input."""
_PREFIX = "input."
_MOST = 64
_IMAGE_DTYPES = ("uint8", "float16", "float32")
_DTYPES = (*_IMAGE_DTYPES, "bool", "int32", "int64")

Finite = Annotated[float, Field(allow_inf_nan=False)]
Statistics = Annotated[tuple[Finite, ...], Field(max_length=4096)]
InputName = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-/]{0,199}$")]


class InputSummary(BaseModel):
    """One input of every sample. ``shape`` is without the samples, and an image's ``(C, H, W)`` whatever its layout."""

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    dtype: Literal["uint8", "float16", "float32", "bool", "int32", "int64"]
    layout: Literal["NHWC", "NCHW"] | None = Field(description="None: no image, but taken as it is stored")
    mean: tuple[float, ...] = Field(description="of an image's channels; empty: it is no image")
    std: tuple[float, ...]

    @property
    def tensor(self) -> str:
        """The tensor of the document that holds it."""
        return IMAGES if self.name == IMAGES else f"{_PREFIX}{self.name}"


class _Entry(BaseModel):
    """An input as the metadata tell it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: InputName
    layout: Literal["NHWC", "NCHW"] | None = None
    mean: Statistics = ()
    std: Statistics = ()


_ENTRIES = TypeAdapter(Annotated[tuple[_Entry, ...], Field(min_length=1, max_length=_MOST)])
_STATISTICS = TypeAdapter(Statistics)


def read_inputs(header: TensorFileHeader) -> tuple[int, tuple[InputSummary, ...]]:
    """How many samples a document holds, and their inputs in order.

    Raises:
        DatasetError: the metadata or the tensors are not such as they should be, or there are no samples.
    """
    inputs = tuple(_summary(entry, header) for entry in _entries(header))
    tensors = {one.tensor for one in inputs}
    if len(tensors) < len(inputs) or set(header.tensors) - {"labels"} != tensors:
        got = sorted(header.tensors)[:5]
        refuse_data("the tensors are not the inputs and labels", got=got, expected=sorted(tensors)[:5])
    counts = {one.name: header.tensors[one.tensor].shape[0] for one in inputs}
    if len(set(counts.values())) > 1:
        detail, expected = "the inputs differ in their number of samples", "the same first size everywhere"
        raise DatasetError("dataset_shape_mismatch", detail, got=counts, expected=expected)
    return next(iter(counts.values())), inputs


def matched_inputs(inputs: Sequence[InputSummary], wanted: Sequence[TensorSpec], role: str = "data set's") -> list[int]:
    """Which input of a data set each input of a network takes: by name where all names are the same, else in order.

    Args:
        inputs: of the data set.
        wanted: of the network.
        role: whose inputs they are, for the message.

    Returns:
        For each of ``wanted``, the number of its input.

    Raises:
        DatasetError: the number of inputs, a shape or a kind of numbers is another.
    """
    names = [one.name for one in inputs]
    by_name = sorted(names) == sorted(str(spec.name) for spec in wanted)
    order = [names.index(str(spec.name)) if by_name else at for at, spec in enumerate(wanted)]
    given = [inputs[at] for at in order] if len(inputs) == len(wanted) else []
    if [one.shape for one in given] != [spec.shape for spec in wanted]:
        several = len(inputs) > 1 or len(wanted) > 1
        raise DatasetError(
            "dataset_shape_mismatch",
            f"the {role} images do not have the shape{'s' if several else ''} that the model takes",
            got=_shapes(inputs),
            expected=_shapes(wanted),
            mend="pack the images at the model's size, or pack the model with an example of the images' size"
            + ("; inputs are matched by name where all names are the same, else in order" if several else ""),
        )
    for one, spec in zip(given, wanted, strict=True):
        if not _is_float(spec.dtype) and (one.layout is not None or _is_float(one.dtype)):
            raise DatasetError(
                "dataset_wrong_dtype",
                f"the model's input {spec.name or ''} takes whole numbers, and the {role} {one.name} are none",
                got="normalised images" if one.layout is not None else one.dtype,
                expected=spec.dtype,
                mend="pack that input without mean, std and layout, as whole numbers",
            )
    return order


def refuse_data(detail: str, *, got: object = None, expected: object = None) -> NoReturn:
    """Refuse a document's header.

    Raises:
        DatasetError: ``dataset_header_invalid``.
    """
    mend = "pack the images again with ranksearch.pack_data"
    raise DatasetError("dataset_header_invalid", detail, got=got, expected=expected, mend=mend)


def data_member(header: TensorFileHeader, name: str, adapter: TypeAdapter[Any]) -> Any:  # noqa: ANN401 - the adapter's type
    """A member of the metadata.

    Raises:
        DatasetError: ``dataset_header_invalid``: it is not there, or not such as it should be.
    """
    if name not in header.metadata:
        refuse_data(f"the metadata lack {name!r}", got=sorted(header.metadata))
    code = "dataset_header_invalid"
    parsed = parse_bounded_json(header.metadata[name], name, error=DatasetError, code=code)
    try:
        return adapter.validate_python(parsed)
    except ValidationError as problem:
        refuse_data(f"the metadata's {name!r} is malformed", got=reason(problem.errors()[0]))


def _entries(header: TensorFileHeader) -> tuple[_Entry, ...]:
    if "inputs" in header.metadata:
        found: tuple[_Entry, ...] = data_member(header, "inputs", _ENTRIES)
        if any(entry.name == IMAGES for entry in found) and len(found) > 1:
            refuse_data(f"of several inputs none may be called {IMAGES!r}")
        return found
    layout: Any = header.metadata.get("layout")
    if layout not in ("NHWC", "NCHW"):
        refuse_data("the layout is unknown", got=layout, expected="NHWC or NCHW")
    mean, std = data_member(header, "mean", _STATISTICS), data_member(header, "std", _STATISTICS)
    return (_Entry(name=IMAGES, layout=layout, mean=mean, std=std),)


def _summary(entry: _Entry, header: TensorFileHeader) -> InputSummary:
    stored = header.tensors.get(IMAGES if entry.name == IMAGES else f"{_PREFIX}{entry.name}")
    if stored is None:
        refuse_data(f"there is no tensor for the input {entry.name!r}", got=sorted(header.tensors)[:5])
    dtype: Any = TORCH_DTYPES[stored.dtype]
    if dtype not in (_DTYPES if entry.layout is None else _IMAGE_DTYPES):
        expected = " or ".join(_DTYPES if entry.layout is None else _IMAGE_DTYPES)
        detail = f"the {entry.name} have an unusable dtype"
        raise DatasetError("dataset_wrong_dtype", detail, got=dtype, expected=expected)
    shape = _sample_shape(entry, stored)
    channels = shape[0] if entry.layout is not None else 0
    if len(entry.mean) != channels or len(entry.std) != channels or min(entry.std, default=1.0) <= 0:
        expected = f"{channels} each, std > 0"
        refuse_data("mean and std do not fit the channels", got=[entry.mean, entry.std], expected=expected)
    return InputSummary(name=entry.name, shape=shape, dtype=dtype, layout=entry.layout, mean=entry.mean, std=entry.std)


def _sample_shape(entry: _Entry, stored: StoredTensor) -> tuple[int, ...]:
    """Of one sample, an image's channels first."""
    if not stored.shape or (entry.layout is not None and len(stored.shape) != 4):  # noqa: PLR2004 - N, C, H, W
        detail = (
            f"the {entry.name} do not have {'the samples as first axis' if not stored.shape else 'four dimensions'}"
        )
        raise DatasetError("dataset_shape_mismatch", detail, got=list(stored.shape), expected=entry.layout)
    if 0 in stored.shape:
        mend = "pack at least one image"
        raise DatasetError("dataset_empty", f"there are no {entry.name}", got=list(stored.shape), mend=mend)
    sizes = stored.shape[1:]
    return (sizes[2], sizes[0], sizes[1]) if entry.layout == "NHWC" else sizes


def _shapes(inputs: Sequence[InputSummary] | Sequence[TensorSpec]) -> object:
    """One shape as a list, several with their names."""
    if len(inputs) == 1:
        return list(inputs[0].shape)
    return ", ".join(f"{one.name or 'input'} {list(one.shape)}" for one in inputs)


def _is_float(dtype: str) -> bool:
    return "float" in dtype
