"""What a model document says of itself, read from its header without torch.

:func:`summarise_model` checks all that can be checked without knowing an operator; the graph itself is checked by
``ranksearch.load``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.refusals import reason
from ranksearch.contracts.tensorfile import TensorFileHeader, parse_bounded_json, read_header

__all__ = ["LONGEST_NAME", "MODEL_FORMAT", "ModelSummary", "TensorSpec", "model_summary", "summarise_model"]

MODEL_FORMAT = "ranksearch.model/1"
LONGEST_NAME = 200
"""Characters in the name of an input or output, at most."""

Size = Annotated[int, Field(strict=True, ge=0, le=2**31)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=1024)]
TensorName = Annotated[str, Field(strict=True, max_length=LONGEST_NAME, pattern=r"^[A-Za-z0-9_.\-/]+$")]


class TensorSpec(BaseModel):
    """One input or output: its shape without the batch, which comes first and is free; torch's dtype name.

    ``name``: of the argument, or of the place in the answer; None: the document does not tell.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: Annotated[tuple[Size, ...], Field(max_length=15)]
    dtype: Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
    name: TensorName | None = None


class ModelSummary(BaseModel):
    """What a model document holds.

    ``params`` is the number of elements of its parameters, a shared one counted once; ``tensors`` and ``bytes``
    are the file's, buffers included.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["graph", "registry"]
    architecture: str | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    params: int
    tensors: int
    bytes: int


def summarise_model(path: str | os.PathLike[str]) -> ModelSummary:
    """Read what the model document at ``path`` says of itself.

    Raises:
        DocumentError: the header is unusable, of another version, or contradicts itself.
        OSError: there is no such file, or it may not be read.
    """
    return model_summary(read_header(path))


def model_summary(header: TensorFileHeader) -> ModelSummary:
    """As :func:`summarise_model`, for a header read already.

    Raises:
        DocumentError: as :func:`summarise_model`.
    """
    metadata = header.metadata
    _check_model_format(metadata.get("format"))
    kind = metadata.get("kind")
    architecture = metadata.get("architecture")
    if kind not in ("graph", "registry"):
        _refuse_model("the document's kind is unknown", got=kind, expected="graph or registry")
    if (architecture is not None) != (kind == "registry") or ("graph" in metadata) != (kind == "graph"):
        _refuse_model("a graph document needs a graph and a registry document an architecture", got=sorted(metadata))
    if architecture is not None and not _ARCHITECTURE.fullmatch(architecture):
        raise DocumentError(
            "document_unknown_architecture",
            "the architecture is no name of a registry",
            got=architecture,
            expected="such as torchvision:resnet18",
        )
    inputs, outputs = _specs(metadata)
    buffers = set(_model_member(metadata, "buffers", _NAMES))
    if unknown := buffers - set(header.tensors):
        got = sorted(unknown)[:5]
        raise DocumentError("document_missing_tensor", "buffers are named that the file does not hold", got=got)
    return ModelSummary(
        kind=kind,
        architecture=architecture,
        inputs=inputs,
        outputs=outputs,
        params=sum(tensor.elements for name, tensor in header.tensors.items() if name not in buffers),
        tensors=len(header.tensors),
        bytes=header.file_bytes,
    )


def _specs(metadata: Mapping[str, str]) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs, with their names where the document tells them."""
    inputs = _model_member(metadata, "inputs", _SPECS)
    outputs = _model_member(metadata, "outputs", _SPECS)
    if not inputs or not outputs:
        _refuse_model("a model needs inputs and outputs", got=f"{len(inputs)} inputs, {len(outputs)} outputs")
    if "names" not in metadata:
        return inputs, outputs
    named = _model_member(metadata, "names", _TENSOR_NAMES)
    for what, specs, names in (("inputs", inputs, named.inputs), ("outputs", outputs, named.outputs)):
        if len(names) != len(specs) or len(set(names)) < len(names):
            _refuse_model(f"the {what} are not named one by one", got=list(names[:5]), expected=f"{len(specs)} names")
    return _named(inputs, named.inputs), _named(outputs, named.outputs)


def _named(specs: tuple[TensorSpec, ...], names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    return tuple(spec.model_copy(update={"name": name}) for spec, name in zip(specs, names, strict=True))


class _TensorNames(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: Annotated[tuple[TensorName, ...], Field(max_length=1024)]
    outputs: Annotated[tuple[TensorName, ...], Field(max_length=1024)]


_ARCHITECTURE = re.compile(r"[a-z]{1,40}:\w{1,200}", re.ASCII)
_SPECS = TypeAdapter(Annotated[tuple[TensorSpec, ...], Field(max_length=1024)])
_TENSOR_NAMES = TypeAdapter(_TensorNames)
_NAMES = TypeAdapter(Annotated[tuple[Name, ...], Field(max_length=100_000)])


def _refuse_model(detail: str, *, got: object = None, expected: object = None) -> NoReturn:
    mend = "pack the model again with ranksearch.pack"
    raise DocumentError("document_header_invalid", detail, got=got, expected=expected, mend=mend)


def _check_model_format(tag: str | None) -> None:
    if tag == MODEL_FORMAT:
        return
    if tag is not None and tag.startswith("ranksearch.model/"):
        raise DocumentError(
            "document_version_unsupported",
            "the model document is of another version",
            got=tag,
            expected=MODEL_FORMAT,
            mend="pack it with this version of ranksearch, or bring ranksearch up to date",
        )
    raise DocumentError(
        "document_header_invalid",
        "this is not a model document",
        got=tag or "a safetensors file without a format",
        expected=MODEL_FORMAT,
        mend="write it with ranksearch.pack; for a plain state dict, use ranksearch.pack_state_dict",
    )


def _model_member(metadata: Any, name: str, adapter: TypeAdapter[Any]) -> Any:  # noqa: ANN401 - the adapter's type
    if name not in metadata:
        _refuse_model(f"the metadata lack {name!r}", got=sorted(metadata))
    code = "document_header_invalid"
    parsed = parse_bounded_json(metadata[name], name, error=DocumentError, code=code)
    try:
        return adapter.validate_python(parsed)
    except ValidationError as problem:
        _refuse_model(f"the metadata's {name!r} is malformed", got=reason(problem.errors()[0]))
