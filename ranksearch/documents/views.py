"""Which views of a graph may be copies: those of tensors that nothing is written into.

A trace keeps ``view`` where the tensor was laid out row by row when it was traced. Images in channels-last memory, or
a GPU's kernels, lay the same tensor out otherwise, and then there may be no such view; a copy holds the same numbers.
"""

from __future__ import annotations

from ranksearch.documents.bound_arguments import shared_argument
from ranksearch.documents.graph import Call, Graph, Node, NodeRef, Value
from ranksearch.documents.operators import aten_operators

__all__ = ["free_views"]

_VIEW, _ARGUMENTS = "aten.view.default", 2


def free_views(graph: Graph) -> frozenset[int]:
    """The nodes that view a tensor into which no operator writes, be it through another view of it."""
    written = {_owner(graph, NodeRef(at)) for at, node in enumerate(graph.nodes) if _writes(node)}
    return frozenset(
        at
        for at, node in enumerate(graph.nodes)
        if not isinstance(node, Call)
        and node.op == _VIEW
        and len(node.args) == _ARGUMENTS
        and _owner(graph, NodeRef(at)) not in written
    )


def _writes(node: Node) -> bool:
    operator = None if isinstance(node, Call) else aten_operators().get(node.op)
    return operator is not None and operator._schema.is_mutable  # noqa: SLF001 - torch offers no other way


def _owner(graph: Graph, value: Value) -> Value:
    """The node or input whose memory a value may share: back through views and operators that work in place."""
    while isinstance(value, NodeRef) and (shared := _shared(graph.nodes[value.index])) is not None:
        value = shared
    return value


def _shared(node: Node) -> Value:
    """The argument whose memory a node's result may share; None where it has memory of its own, as modules' have."""
    operator = None if isinstance(node, Call) else aten_operators().get(node.op)
    if isinstance(node, Call) or operator is None:
        return None
    shared = shared_argument(operator)
    if shared is None:
        return None
    at, name = shared
    return node.args[at] if at < len(node.args) else node.kwargs.get(name)
