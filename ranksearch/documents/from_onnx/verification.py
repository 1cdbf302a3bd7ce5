"""Whether a document computes what its ONNX file does.

The file's own outputs are ONNX Runtime's, which shares no code with the translation. It gets the file only after
everything in it has been checked: one graph of translated operators, no other file, no custom operator, no function,
sizes that were seen in a rehearsal. What is left to a hostile file are the kernels of such operators on such sizes,
which is what torch's kernels are exposed to as well, whenever a document is run; on a worker both happen in the
confined child. ONNX's reference implementation in Python would spare these kernels, but takes minutes for an image
of usual size. The runtime's optimisations are off: less runs, and what is compared is the file as it stands.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor, nn

from ranksearch.contracts.errors import OnnxError
from ranksearch.documents.from_onnx.graph import OnnxGraph

__all__ = ["compare"]

TOLERANCE = 1e-3
"""Of an output's range. Both compute in float32, in other orders: up to 1e-5 is seen; a wrong operator is far above."""

_IMAGES = 3
_SILENT = 4


def compare(path: str | os.PathLike[str], graph: OnnxGraph, network: nn.Module) -> float:
    """The largest difference between the outputs of a file and of its document, as a share of the outputs' range.

    The images are the document's at once, and the file's in batches of its own.

    Args:
        path: the ONNX file, checked.
        graph: what was read of it.
        network: what its document gives.

    Raises:
        OnnxError: ``onnx_disagrees``, or ``onnx_malformed`` where ONNX Runtime cannot run the file.
    """
    batch = graph.batch or _IMAGES
    count = batch if graph.batch is None else batch * (_IMAGES if batch == 1 else 2)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(count, *one.shape, generator=generator) for one in graph.inputs]
    with torch.no_grad():
        made = network(*inputs)
    outputs: tuple[Tensor, ...] = made if isinstance(made, tuple) else (made,)
    wanted = _outputs(path, graph, inputs, batch)
    return max(_difference(*one) for one in zip(graph.outputs, outputs, wanted, strict=True))


def _outputs(path: str | os.PathLike[str], graph: OnnxGraph, inputs: list[Tensor], batch: int) -> list[Tensor]:
    import onnxruntime  # noqa: PLC0415 - takes a while, and only this needs it

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = _SILENT
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        pieces = [
            session.run(
                list(graph.outputs),
                {
                    one.name: np.ascontiguousarray(given[start : start + batch].numpy())
                    for one, given in zip(graph.inputs, inputs, strict=True)
                },
            )
            for start in range(0, inputs[0].shape[0], batch)
        ]
    except Exception as problem:
        raise OnnxError(
            "onnx_malformed",
            "ONNX Runtime cannot run this file",
            got=f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}",
            mend="check the file with onnx.checker.check_model(path, full_check=True), and export the model again",
        ) from problem
    return [torch.from_numpy(np.concatenate(parts)) for parts in zip(*pieces, strict=True)]


def _difference(name: str, output: Tensor, wanted: Tensor) -> float:
    if output.shape != wanted.shape:
        raise _disagrees(name, f"shape {list(output.shape)}", f"shape {list(wanted.shape)}")
    got, expected = output.double(), wanted.double()
    finite = expected.isfinite()
    if not bool((got[~finite] == expected[~finite]).logical_or(got[~finite].isnan()).all()):
        raise _disagrees(name, "other values than infinities and such", "the same")
    if not finite.any():
        return 0.0
    got, expected = got[finite], expected[finite]
    extent = max(float(expected.max() - expected.min()), float(expected.abs().max()), 1e-12)
    difference = float((got - expected).abs().max()) / extent
    if not difference <= TOLERANCE:
        raise _disagrees(name, f"a difference of {difference:.3g} of its range", f"at most {TOLERANCE:g}")
    return difference


def _disagrees(name: str, got: str, expected: str) -> OnnxError:
    return OnnxError(
        "onnx_disagrees",
        f"the translated network does not compute what ONNX Runtime does of the file (output {name!r})",
        got=got,
        expected=expected,
        mend="pack the model itself with ranksearch.pack; a report of this file would help to mend the translation",
    )
