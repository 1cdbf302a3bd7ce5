"""Checks one operator node: is the operator allowed, do its arguments fit its schema, are its sizes sane."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NoReturn

from torch._ops import OpOverload

from ranksearch.contracts.errors import DocumentError
from ranksearch.documents.graph import (
    DeviceOfNetwork,
    Dtype,
    InputRef,
    MemoryFormat,
    NodeRef,
    Operation,
    TensorRef,
    Value,
)
from ranksearch.documents.operators import ALLOCATING, aten_operators, size_operators

__all__ = ["check_operation"]

_MAX_SIZE = 2**24
_MAX_ELEMENTS = 2**28
_MAX_SCALE = 2**12
_UNBOUNDED = frozenset({"aten.slice.Tensor", "aten.slice_scatter.default"})  # "to the end" is 2**63 - 1 there
_RANGES = frozenset({"aten.arange.default", "aten.arange.start", "aten.arange.start_step", "aten.linspace.default"})
_UNARY = frozenset({"size.neg", "size.float", "size.int"})


def check_operation(index: int, node: Operation) -> None:
    """Refuse an operator that is not allowed, or arguments that do not fit it.

    Args:
        index: the node's place in the graph, for the message.
        node: its references have been checked already.

    Raises:
        DocumentError: ``document_unknown_operator`` or ``document_graph_invalid``.
    """
    if node.op in size_operators():
        _check_size_operation(index, node)
        return
    overload = aten_operators().get(node.op)
    if overload is None:
        raise DocumentError(
            "document_unknown_operator",
            f"node {index} names an operator that documents may not use",
            got=node.op,
            expected="an operator of the list in ranksearch.documents.operators",
            mend="write that part of the model with other operators, or ask for this one to be added",
        )
    _check_schema(index, node, overload)
    _check_sizes(index, node)


def _refuse(index: int, node: Operation, detail: str, *, got: object = None, expected: object = None) -> NoReturn:
    text = f"node {index} ({node.op}): {detail}"
    mend = "pack the model again with ranksearch.pack"
    raise DocumentError("document_graph_invalid", text, got=got, expected=expected, mend=mend)


def _check_size_operation(index: int, node: Operation) -> None:
    first, *rest = node.args or (None,)
    if node.op in ("size.of", "item"):
        low = -16 if node.op == "size.of" else 0
        good = len(rest) == 1 and type(rest[0]) is int and low <= rest[0] < 2**12
        references = (NodeRef, InputRef, TensorRef) if node.op == "size.of" else (NodeRef,)
        good = good and isinstance(first, references)
    else:
        good = len(node.args) == (1 if node.op in _UNARY else 2) and all(_is_size(value) for value in node.args)
    if not good or node.kwargs:
        _refuse(index, node, "the arguments do not fit", got=node.args)


def _is_size(value: Value) -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MAX_SIZE
    return plain or isinstance(value, NodeRef)


def _check_schema(index: int, node: Operation, overload: OpOverload) -> None:
    arguments = overload._schema.arguments  # noqa: SLF001 - torch offers no other way to an overload's types
    positional = [argument for argument in arguments if not argument.kwarg_only]
    if len(node.args) > len(positional):
        _refuse(index, node, "too many arguments", got=len(node.args), expected=f"at most {len(positional)}")
    given = dict(zip((argument.name for argument in positional), node.args, strict=False))
    if twice := given.keys() & node.kwargs.keys():
        _refuse(index, node, "an argument is given twice", got=sorted(twice))
    given.update(node.kwargs)
    for argument in arguments:
        if argument.name not in given:
            if not argument.has_default_value():
                _refuse(index, node, "an argument is missing", expected=argument.name)
            continue
        value, kind = given.pop(argument.name), str(argument.real_type)
        if not _fits(value, kind):
            _refuse(index, node, f"{argument.name!r} is of a wrong kind", got=value, expected=kind)
        if kind in ("int", "List[int]", "Optional[int]", "Optional[List[int]]") and node.op not in _UNBOUNDED:
            _check_magnitude(index, node, value)
    if given:
        _refuse(index, node, "unknown arguments", got=sorted(given))


def _is_reference(value: Value) -> bool:
    return isinstance(value, (NodeRef, InputRef, TensorRef))


def _is_number(value: Value) -> bool:
    return isinstance(value, (bool, int, float, NodeRef))


_KINDS: Mapping[str, Callable[[Value], bool]] = {
    "Tensor": lambda value: _is_reference(value) or _is_number(value),  # as in x + 1
    "int": lambda value: type(value) is int or isinstance(value, NodeRef),
    "number": _is_number,
    "float": _is_number,
    "bool": lambda value: isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "ScalarType": lambda value: isinstance(value, Dtype),
    "Device": lambda value: isinstance(value, DeviceOfNetwork),
    "MemoryFormat": lambda value: isinstance(value, MemoryFormat),
}
"""The kinds of argument in operators' schemas; layouts and generators have no form in a document."""


def _fits(value: Value, kind: str) -> bool:
    if kind.startswith("Optional["):
        return value is None or _fits(value, kind[9:-1])
    if kind.startswith("List["):
        inner = kind[5:-1]
        if isinstance(value, tuple):
            return all(_fits(item, inner) for item in value)
        return inner in ("int", "float") and _fits(value, inner)  # one number stands for all dimensions
    return kind in _KINDS and _KINDS[kind](value)


def _check_magnitude(index: int, node: Operation, value: Value) -> None:
    for item in value if isinstance(value, tuple) else (value,):
        if type(item) is int and abs(item) > _MAX_SIZE:
            _refuse(index, node, "a size is too large", got=item, expected=f"at most {_MAX_SIZE}")


def _check_sizes(index: int, node: Operation) -> None:
    """Bound what literal sizes alone can make an operator allocate."""
    if node.op not in ALLOCATING:
        return
    for value in (*node.args, *node.kwargs.values()):
        if isinstance(value, tuple):
            sizes = [abs(item) for item in value if type(item) is int and item]
            scales = [abs(item) for item in value if isinstance(item, float)]
            if math.prod(sizes) > _MAX_ELEMENTS or any(not scale <= _MAX_SCALE for scale in scales):
                _refuse(index, node, "the sizes are too large", got=value, expected=f"{_MAX_ELEMENTS} elements")
        elif node.op in _RANGES and isinstance(value, (int, float)) and not abs(value) <= _MAX_SIZE:
            _refuse(index, node, "the range is too long", got=value, expected=f"at most {_MAX_SIZE}")
