"""A network as a single ONNX file, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from proxy import Inputs
from ranksearch.contracts.errors import EvaluationError
from ranksearch.documents.tensor_names import input_names, output_names
from worker.evaluation.parity import Outputs

__all__ = ["check_available", "check_fits", "names_of", "onnx_runtime", "read_onnx", "write_onnx"]

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LARGEST = 2**31 - 2**24
"""Bytes of weights. A protocol buffer holds less than 2 GiB, and the graph takes some of it."""
_BATCH = "batch"


def check_available() -> None:
    """That this worker has what it takes.

    Raises:
        EvaluationError: ``export_unavailable``.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise EvaluationError(
            "export_unavailable",
            "the worker that was given this export cannot write ONNX files",
            got=f"a worker without {', '.join(missing)}",
            expected=f"a worker with {', '.join(_PACKAGES)}",
            mend="on the worker: pip install 'ranksearch[worker]'; then ask for the file again",
        )


def check_fits(program: ExportedProgram) -> None:
    """That the weights fit into one file.

    Raises:
        EvaluationError: ``artifact_too_large``.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > _LARGEST:
        raise EvaluationError(
            "artifact_too_large",
            "the network does not fit into a single ONNX file",
            got=f"{size} bytes of weights",
            expected=f"at most {_LARGEST} bytes",
            mend="take the model document or the .pt2 file, which have no such bound",
        )


@torch.no_grad()
def names_of(network: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:  # noqa: ANN401 - a DocumentNetwork
    """What the inputs and outputs of a document's network are called; it is run once, on its own device."""
    return input_names(network, len(network.input_specs)), output_names(network(*network.example_inputs()))


def write_onnx(program: ExportedProgram, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write a traced program, weights inside, its batch a free dimension named ``batch``; checked by ONNX's checker.

    Args:
        program: of any structure of outputs, which is flattened.
        path: where to write.
        inputs: names of the inputs.
        outputs: names of the outputs; one that is also an input's gets ``.out`` behind it, since ONNX has one space
            of names.

    Raises:
        EvaluationError: ``export_failed``: torch cannot write it as ONNX.
    """
    import onnx  # noqa: PLC0415 - takes a second, and most workers never write such a file

    try:
        apart = [f"{name}.out" if name in inputs else name for name in outputs]
        made: Any = torch.onnx.export(
            program, dynamo=True, external_data=False, verbose=False, input_names=inputs, output_names=apart
        )
        model = made.model_proto
        _name_batch(model)
        onnx.save_model(model, str(path))
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise _failed("torch cannot write this network as ONNX", error) from error


def read_onnx(path: Path) -> Outputs:
    """What an ONNX file computes.

    Raises:
        EvaluationError: ``export_failed``: ONNX Runtime cannot run it on a CPU.
    """
    import onnxruntime  # noqa: PLC0415 - as onnx

    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _failed("ONNX Runtime cannot open this network on a CPU", error) from error
    names = [given.name for given in session.get_inputs()]

    def outputs(images: Inputs) -> list[Tensor]:
        given = zip(names, images.positional, strict=True)
        try:
            results = session.run(None, {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in given})
        except Exception as error:
            raise _failed("ONNX Runtime cannot run this network on a CPU", error) from error
        return [torch.from_numpy(np.asarray(result)) for result in results]

    return outputs


def onnx_runtime() -> dict[str, str]:
    """ONNX Runtime's version and ONNX's, as reports name them."""
    return {name: version(name) for name in ("onnx", "onnxruntime")}


def _name_batch(model: Any) -> None:  # noqa: ANN401 - a protocol buffer
    """Torch names a free size by a number of its own; here there is one, the batch, and it says so."""
    given = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == given:
                size.dim_param = _BATCH


def _failed(what: str, error: Exception) -> EvaluationError:
    return EvaluationError(
        "export_failed",
        what,
        got=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}",
        mend="take the model document or the .pt2 file",
    )
