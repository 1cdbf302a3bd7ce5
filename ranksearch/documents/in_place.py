"""Turns operators that write in place into their plain forms, where nobody can tell the difference.

A network that writes into a result it has handed to a hook, or into its caller's images, gives wrong numbers to
whoever compares layers or reuses images. ``relu_`` behind a convolution is by far the most common case.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import Node

from ranksearch.contracts.errors import DocumentError
from ranksearch.documents.bound_arguments import aliased_argument, is_in_place
from ranksearch.documents.operators import aten_operators, name_of_aten
from ranksearch.documents.traced_names import TracedNames

__all__ = ["plain_forms", "refuse_writes_to_own_tensors", "same_tensor", "written_inputs"]

PASSED_THROUGH = frozenset(
    {
        "aten.alias.default",
        "aten.alpha_dropout.default",
        "aten.alpha_dropout_.default",
        "aten.detach.default",
        "aten.detach_.default",
        "aten.dropout.default",
        "aten.dropout_.default",
        "aten.feature_alpha_dropout.default",
        "aten.feature_dropout.default",
        "aten.feature_dropout_.default",
        "aten.lift_fresh.default",
    }
)
"""Operators that in eval mode give back the very tensor they were given."""


def same_tensor(node: Node) -> Node:
    """The node that made the tensor which ``node`` gives back: through in-place operators and dropouts."""
    while (is_in_place(node) or name_of_aten(node.target) in PASSED_THROUGH) and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def plain_forms(nodes: Sequence[Node]) -> dict[Node, str]:
    """In-place nodes → the plain operator that may take their place.

    That is so where the tensor written to is not itself part of another, and no part of it was taken before: then
    only later uses of the same tensor see the write, and these can be pointed to the plain operator's result.

    Args:
        nodes: the program's live nodes, in order.
    """
    parts_taken: set[Node] = set()
    plain: dict[Node, str] = {}
    for node in nodes:
        if name_of_aten(node.target) in PASSED_THROUGH:
            continue
        if is_in_place(node):
            written = same_tensor(node)
            name = name_of_aten(node.target).replace("_.", ".")
            free = written not in parts_taken and aliased_argument(written) is None
            if free and name in aten_operators() and _keeps_dtype(node):
                plain[node] = name
        elif (source := aliased_argument(node)) is not None:
            parts_taken.add(same_tensor(source))
    return plain


def written_inputs(nodes: Sequence[Node], plain: dict[Node, str], names: TracedNames) -> set[Node]:
    """The program's inputs that it still writes to; the document must copy these first."""
    roots = {_root(node) for node in nodes if _writes(node) and node not in plain}
    return {root for root in roots if names.input_index(root) is not None}


def refuse_writes_to_own_tensors(nodes: Sequence[Node], names: TracedNames) -> None:
    """Refuse a model that changes its own parameters or buffers while it is evaluated.

    Raises:
        DocumentError: ``document_not_exportable``.
    """
    for node in nodes:
        if _writes(node) and (written := names.names_of(_root(node))):
            raise DocumentError(
                "document_not_exportable",
                f"the model writes to its own tensor {written[0]!r} while it is evaluated",
                got=name_of_aten(node.target),
                expected="a model whose outputs depend on its inputs alone",
                mend="copy the tensor before writing to it, or write only while training",
            )


def _writes(node: Node) -> bool:
    return is_in_place(node) and name_of_aten(node.target) not in PASSED_THROUGH


def _root(node: Node) -> Node:
    """The tensor of which the node's result may be a part."""
    while (source := aliased_argument(node)) is not None:
        node = source
    return node


def _keeps_dtype(node: Node) -> bool:
    """Whether the plain form gives the dtype and shape that the tensor written to has."""
    written, *others = [item.meta.get("val") for item in node.all_input_nodes]
    if not isinstance(written, torch.Tensor) or not written.is_floating_point():
        return False
    return all(not isinstance(other, torch.Tensor) or other.dtype == written.dtype for other in others)
