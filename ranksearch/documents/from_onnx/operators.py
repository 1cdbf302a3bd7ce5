"""Every operator that is translated, by ONNX's name of it, and the one place where they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from ranksearch.contracts.errors import OnnxError, RankSearchError
from ranksearch.documents.from_onnx.calls import NodeCall, Operator, Value
from ranksearch.documents.from_onnx.elementwise import ELEMENTWISE
from ranksearch.documents.from_onnx.graph import OnnxNode
from ranksearch.documents.from_onnx.layers import FUSED_LINEAR, LAYERS
from ranksearch.documents.from_onnx.normalisation import NORMALISATION
from ranksearch.documents.from_onnx.pooling import POOLING
from ranksearch.documents.from_onnx.reductions import REDUCTIONS
from ranksearch.documents.from_onnx.resizing import RESIZING
from ranksearch.documents.from_onnx.shaping import SHAPING
from ranksearch.documents.from_onnx.sizes import SIZES, is_about_sizes

__all__ = ["check_known", "outputs_of", "supported"]

_OPERATORS: Mapping[str, Operator] = {
    **ELEMENTWISE,
    **LAYERS,
    **NORMALISATION,
    **POOLING,
    **REDUCTIONS,
    **RESIZING,
    **SHAPING,
}
_LONGEST = 300


def supported() -> list[str]:
    """Names of ONNX's operators that are translated."""
    return sorted({*_OPERATORS, *SIZES} - {FUSED_LINEAR})


def check_known(nodes: Iterable[OnnxNode]) -> None:
    """Refuse a graph with operators that are not translated, naming all of them.

    Raises:
        OnnxError: ``onnx_unknown_operator``.
    """
    known = set(supported())
    unknown: dict[str, OnnxNode] = {}
    for node in nodes:
        if node.op not in known:
            unknown.setdefault(node.op, node)
    if unknown:
        first = next(iter(unknown.values()))
        raise OnnxError(
            "onnx_unknown_operator",
            f"the network uses operators that are not supported; the first is {first}",
            got=", ".join(sorted(unknown))[:_LONGEST],
            expected="operators that docs/onnx.md names",
            mend="write that part of the model with other operators, export without quantisation, or pack the model"
            " itself with ranksearch.pack",
        )


def outputs_of(call: NodeCall) -> Sequence[Value]:
    """What a node gives, an output after the other.

    Raises:
        OnnxError: ``onnx_unsupported`` for what no document holds, ``onnx_malformed`` for what cannot be computed.
    """
    try:
        made = SIZES[call.node.op](call) if is_about_sizes(call) else _OPERATORS[call.node.op](call)
    except RankSearchError:
        raise
    except KeyError:
        return call.refuse("it computes sizes in a way that is not supported")
    except Exception as problem:
        raise OnnxError(
            "onnx_malformed",
            f"{call.node} cannot be computed",
            got=f"{type(problem).__name__}: {' '.join(str(problem).split())[:_LONGEST]}",
            expected="inputs and attributes that fit each other",
            mend="check the file with onnx.checker.check_model(path, full_check=True), and export the model again",
        ) from problem
    outputs = (made,) if isinstance(made, Tensor) or not isinstance(made, (tuple, list)) else tuple(made)
    if len(outputs) < len(call.node.outputs):
        call.refuse("it has outputs that are not supported", got=list(call.node.outputs))
    return outputs
