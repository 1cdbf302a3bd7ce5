"""Ways of running a network: by torch as it is, compiled by torch, by ONNX Runtime; in a dtype, in a memory format."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from proxy import Inputs
from ranksearch.contracts.errors import EvaluationError
from ranksearch.contracts.latency import LatencyRuntime, Layout
from ranksearch.documents import example_inputs
from ranksearch.documents.exporting import export_with_free_batch
from worker.evaluation.onnx_model import check_available, check_fits, names_of, read_onnx, write_onnx

__all__ = ["Call", "Prepared", "Way", "laid_out", "prepared", "ways_of"]

Call = Callable[[], object]
Pair = tuple[nn.Module, nn.Module]

_COMPILE_SECONDS = 240.0
"""So long the compiler may have taken when it is asked for one network more."""
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_IMAGES = 4
"""Dimensions of what a memory format is of: (N, C, H, W)."""


@dataclass(frozen=True)
class Way:
    """How both networks are run.

    Args:
        runtime: what runs them.
        device: on which.
        dtype: of weights and inputs.
        layout: of inputs and, where it is torch's, of weights.
    """

    runtime: LatencyRuntime
    device: torch.device
    dtype: torch.dtype
    layout: Layout


class Prepared(Protocol):
    """Both networks, ready to be run in one way."""

    def __call__(self, batch: int) -> tuple[Call, Call]:
        """One pass of the dense and one of the compressed network, on images of their own, made before."""
        ...


def ways_of(runtimes: Sequence[LatencyRuntime], device: torch.device) -> list[Way]:
    """What there is to measure on a device: on a GPU in half precision, too; ONNX Runtime always on the CPU.

    A compiler chooses memory formats by itself, and ONNX knows one alone.
    """
    dtypes = [torch.float32, torch.float16] if device.type == "cuda" else [torch.float32]
    layouts: tuple[Layout, ...] = ("contiguous", "channels_last")
    found = []
    if "torch" in runtimes:
        found += [Way("torch", device, dtype, layout) for dtype in dtypes for layout in layouts]
    if "torch_compile" in runtimes:
        found += [Way("torch_compile", device, dtype, "contiguous") for dtype in dtypes]
    if "onnxruntime" in runtimes:
        found.append(Way("onnxruntime", torch.device("cpu"), torch.float32, "contiguous"))
    return found


def prepared(way: Way, networks: Pair, folder: Path) -> Prepared:
    """Both networks in one way.

    Args:
        way: how.
        networks: dense and compressed, of a model document; left as they are.
        folder: where files may be written.

    Raises:
        Exception: whatever keeps them from being run like that.
    """
    if way.runtime == "onnxruntime":
        return _by_onnx_runtime(networks, folder)
    dense, compressed = (_converted(network, way) for network in networks)
    ready = _compiled if way.runtime == "torch_compile" else _by_torch
    return ready((dense, compressed), way)


def laid_out(inputs: Sequence[Tensor], layout: Layout) -> tuple[Tensor, ...]:
    """Images in a memory format; what are no images stay as they are."""
    return tuple(
        tensor.contiguous(memory_format=_FORMATS[layout]) if tensor.ndim == _IMAGES else tensor for tensor in inputs
    )


def _by_torch(networks: Pair, way: Way) -> Prepared:
    dense, compressed = networks

    def calls(batch: int) -> tuple[Call, Call]:
        inputs = _inputs(dense, batch, way)
        return (lambda: dense(*inputs)), (lambda: compressed(*inputs))

    return calls


def _compiled(networks: Pair, way: Way) -> Prepared:
    """Each traced first, since a document's network is interpreted, which compilers see nothing of."""
    import torch._dynamo  # noqa: PLC0415 - takes a second, and most workers never compile
    import torch._inductor.config as inductor  # noqa: PLC0415 - as above

    dense = networks[0]
    programs = [export_with_free_batch(one, _inputs(one, 2, way)).module() for one in networks]
    start = time.perf_counter()

    def compiled(program: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        if time.perf_counter() - start > _COMPILE_SECONDS:
            raise EvaluationError("evaluation_timeout", f"compiling took more than {_COMPILE_SECONDS:g} s before this")
        fast = torch.compile(program, dynamic=False)
        try:
            with torch.inference_mode(), inductor.patch(compile_threads=1):  # in this process: it may start no others
                fast(*inputs)
        except Exception as error:
            raise _not_compiled(error) from error
        return lambda: fast(*inputs)

    def calls(batch: int) -> tuple[Call, Call]:
        torch._dynamo.reset()  # noqa: SLF001 - documented, and the only way to forget what was compiled
        inputs = _inputs(dense, batch, way)
        return compiled(programs[0], inputs), compiled(programs[1], inputs)

    return calls


def _not_compiled(error: Exception) -> EvaluationError:
    told = " ".join(str(error).split()).partition(" Set TORCHDYNAMO_VERBOSE")[0]
    if "PermissionError" in told:
        why = "torch.compile has to start a compiler, and this worker's sandbox lets it start no program"
        return EvaluationError("evaluation_failed", why)
    return EvaluationError("evaluation_failed", "torch.compile cannot compile this network here", got=told)


def _by_onnx_runtime(networks: Pair, folder: Path) -> Prepared:
    check_available()
    opened = []
    for number, network in enumerate(networks):
        path = folder / f"timed-{number}.onnx"
        own = copy.deepcopy(network).cpu()
        program = export_with_free_batch(own, example_inputs(own.input_specs, 2))  # type: ignore[arg-type]  # load() sets them
        check_fits(program)
        try:
            write_onnx(program, path, *names_of(own))
            opened.append(read_onnx(path))
        finally:
            path.unlink(missing_ok=True)  # a task's folder holds nothing but what it hands in
    dense, compressed = opened
    specs = networks[0].input_specs

    def calls(batch: int) -> tuple[Call, Call]:
        images = Inputs(example_inputs(specs, batch))  # type: ignore[arg-type]  # as above
        return (lambda: dense(images)), (lambda: compressed(images))

    return calls


def _converted(network: nn.Module, way: Way) -> nn.Module:
    own = copy.deepcopy(network).to(way.device, way.dtype)
    return own.to(memory_format=_FORMATS[way.layout]).eval()


def _inputs(network: nn.Module, batch: int, way: Way) -> tuple[Tensor, ...]:
    made = example_inputs(network.input_specs, batch, device=way.device)  # type: ignore[arg-type]  # as above
    cast = (tensor.to(way.dtype) if tensor.is_floating_point() else tensor for tensor in made)
    return laid_out(list(cast), way.layout)
