"""A traced call's arguments by their names."""

from __future__ import annotations

from typing import Any

from torch._ops import OpOverload
from torch.fx import Node

__all__ = ["aliased_argument", "bound_arguments", "is_in_place", "shared_argument"]


def bound_arguments(node: Node) -> dict[str, Any]:
    """The arguments of a node that calls an operator, by name, defaults included."""
    assert isinstance(node.target, OpOverload)  # noqa: S101 - for the type checker; callers know
    arguments = node.target._schema.arguments  # noqa: SLF001 - torch offers no other way
    bound = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    bound.update(zip((argument.name for argument in arguments), node.args, strict=False))
    bound.update(node.kwargs)
    return bound


def shared_argument(operator: OpOverload) -> tuple[int, str] | None:
    """Place and name of the argument whose memory an operator's result may share, or that it writes to."""
    arguments = enumerate(operator._schema.arguments)  # noqa: SLF001 - as above
    return next(((at, argument.name) for at, argument in arguments if argument.alias_info is not None), None)


def is_in_place(node: Node) -> bool:
    """Whether the node writes to one of its arguments."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable  # noqa: SLF001 - as above


def aliased_argument(node: Node) -> Node | None:
    """The argument whose memory the node's result may share, or that it writes to."""
    if not isinstance(node.target, OpOverload):
        is_item = node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"
        return node.args[0] if is_item and isinstance(node.args[0], Node) else None
    shared = shared_argument(node.target)
    value = None if shared is None else bound_arguments(node).get(shared[1])
    return value if isinstance(value, Node) else None
