"""An ONNX file in, a model document out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from ranksearch.contracts.errors import DocumentError, OnnxError, UnavailableError
from ranksearch.documents.from_onnx.graph import OnnxGraph
from ranksearch.documents.from_onnx.network import OnnxNetwork
from ranksearch.documents.from_onnx.reading import read_onnx
from ranksearch.documents.from_onnx.verification import compare
from ranksearch.documents.loading import load
from ranksearch.documents.packing import pack
from ranksearch.documents.tensor_bytes import written_in_place

__all__ = ["Translation", "pack_onnx", "translate_onnx"]


@dataclass(frozen=True, slots=True)
class Translation:
    """What became of an ONNX file.

    Args:
        opset: version of its operators.
        producer: what says that it wrote the file; may be empty.
        max_relative_difference: largest difference between the document's outputs and ONNX Runtime's, as a share of
            the outputs' range; None where they were not compared.
    """

    opset: int
    producer: str
    max_relative_difference: float | None


def pack_onnx(onnx: str | os.PathLike[str], path: str | os.PathLike[str], *, verify: bool = True) -> Path:
    """Write the network of an ONNX file as a model document.

    Convolutions, linear layers and batch normalisations become modules again, under the names that the exporter kept.
    A batch that the file fixes is made free. Nothing of the file is executed but the operators of a document.

    Args:
        onnx: one file, its weights in it, as float32. ``docs/onnx.md`` says which operators are taken.
        path: where to write; replaced in one step once the document is complete.
        verify: compare the document's outputs on random images with ONNX Runtime's.

    Returns:
        The path written to.

    Raises:
        OnnxError: the file is damaged or too large, or holds what no document does.
        DocumentError: ``document_not_finite``: a weight is not.
        UnavailableError: ``extra_missing``: the package ``onnxruntime`` is not there to compare with.
        OSError: there is no such file, or it may not be read.
    """
    translate_onnx(onnx, path, verify=verify)
    return Path(path)


def translate_onnx(onnx: str | os.PathLike[str], path: str | os.PathLike[str], *, verify: bool = True) -> Translation:
    """As :func:`pack_onnx`, and say what became of the file.

    Raises:
        OnnxError: as :func:`pack_onnx`.
        DocumentError: as :func:`pack_onnx`.
        UnavailableError: as :func:`pack_onnx`.
        OSError: as :func:`pack_onnx`.
    """
    if verify and find_spec("onnxruntime") is None:
        raise UnavailableError(
            "extra_missing",
            "the translation of an ONNX file cannot be verified: a package is missing",
            got="no onnxruntime",
            mend="pip install onnxruntime, or give verify=False",
        )
    graph = read_onnx(onnx)
    network = OnnxNetwork(graph)
    with written_in_place(path) as part:
        _pack(network, graph, part)
        difference = compare(onnx, graph, load(part)) if verify else None
    return Translation(graph.opset, graph.producer, difference)


def _pack(network: OnnxNetwork, graph: OnnxGraph, path: Path) -> None:
    examples = tuple(torch.zeros(2, *one.shape) for one in graph.inputs)
    try:
        pack(network, examples, path, verify=False)
    except DocumentError as problem:
        if problem.code != "document_not_exportable":
            raise
        raise OnnxError(
            "onnx_batch_fixed",
            f"the network of the ONNX file cannot be traced with a free batch: {problem.detail}",
            got=problem.got,
            expected="sizes that do not depend on the batch",
            mend="export the model with a free batch, or pack the model itself with ranksearch.pack",
        ) from problem
