"""Arithmetic on shapes, done while tracing: exporters compute a reshape's sizes by operators of the graph.

Numbers are Python's, in arrays of objects, so that the batch may stay a symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ranksearch.documents.from_onnx.calls import NodeCall
from ranksearch.documents.from_onnx.graph import Array
from ranksearch.documents.from_onnx.shaping import sliced

__all__ = ["SIZES", "is_about_sizes"]

_MOST = 512
"""Numbers in one array: shapes have at most eight, lists of a split's or a gather's some more."""
_INT, _FLOAT = (6, 7), (1, 11)
_DTYPES = (np.dtype(object), np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.bool_))


def is_about_sizes(call: NodeCall) -> bool:
    """Whether a node only computes with numbers that are known while tracing, and few of them."""
    arrays = [value for value in call.values if value is not None]
    return (
        call.node.op in SIZES
        and bool(arrays)
        and all(isinstance(value, np.ndarray) and value.size <= _MOST and value.dtype in _DTYPES for value in arrays)
        and (call.node.op != "Cast" or call.node.attributes.get("to") in (*_INT, *_FLOAT))
        and (call.node.op != "ConstantOfShape" or call.known(0).size <= 1)  # an image of one value is no list of sizes
    )


def _numbers(call: NodeCall, index: int) -> Array:
    return call.known(index).astype(object)


def _told(values: Any) -> Array:  # noqa: ANN401 - whatever numpy made of numbers
    """As whole numbers, where they are; with symbols or fractions among them as objects."""
    array = np.asarray(values, object)
    if all(type(item) is int for item in array.reshape(-1)):
        return array.astype(np.int64)
    if all(type(item) is float for item in array.reshape(-1)):
        return array.astype(np.float32)
    return array


def _pairs(function: Callable[[Any, Any], Any]) -> Callable[[NodeCall], Array]:
    def apply(call: NodeCall) -> Array:
        return _told(np.frompyfunc(function, 2, 1)(_numbers(call, 0), _numbers(call, 1)))

    return apply


def _quotient(one: Any, other: Any) -> Any:  # noqa: ANN401 - sizes and numbers
    if isinstance(one, float) or isinstance(other, float):
        return one / other
    return one // other  # sizes are not negative, so that this is what ONNX calls for


def _cast(call: NodeCall) -> Array:
    code = call.attribute("to", 0)
    given = _numbers(call, 0)
    if code in _INT:
        return _told(np.frompyfunc(lambda item: item if isinstance(item, torch.SymInt) else int(item), 1, 1)(given))
    if code in _FLOAT:
        return _told(np.frompyfunc(torch.sym_float, 1, 1)(given))
    return call.refuse("it makes sizes of a type that is not supported", got=code, expected=[*_INT, *_FLOAT])


def _gather(call: NodeCall) -> Array:
    given = _numbers(call, 0)
    axis = call.axis(call.attribute("axis", 0), max(1, given.ndim))
    return _told(np.take(given, call.constant(1).astype(np.int64), axis))


def _concat(call: NodeCall) -> Array:
    parts = [_numbers(call, index) for index in range(len(call.values))]
    return _told(np.concatenate(parts, call.axis(call.attribute("axis", 0), parts[0].ndim)))


def _unsqueeze(call: NodeCall) -> Array:
    given = _numbers(call, 0)
    axes = call.integers(1) if call.given(1) else call.integer_list("axes") or []
    return _told(np.expand_dims(given, tuple(call.axes(axes, given.ndim + len(axes)))))


def _squeeze(call: NodeCall) -> Array:
    given = _numbers(call, 0)
    axes = call.integers(1) if call.given(1) else call.integer_list("axes")
    return _told(np.squeeze(given, None if axes is None else tuple(call.axes(axes, given.ndim))))


def _reshape(call: NodeCall) -> Array:
    return _told(_numbers(call, 0).reshape(call.integers(1)))


def _where(call: NodeCall) -> Array:
    condition = call.known(0).astype(bool)
    return _told(np.where(condition, _numbers(call, 1), _numbers(call, 2)))


def _equal(call: NodeCall) -> Array:
    """A symbol is no number: exporters ask whether a size is -1, and it never is."""
    same = np.frompyfunc(lambda one, other: type(one) is type(other) and one == other, 2, 1)
    return np.asarray(same(_numbers(call, 0), _numbers(call, 1)), bool)


def _range(call: NodeCall) -> Array:
    start, stop, step = (call.number(index) or 0 for index in range(3))
    if not step or abs((stop - start) / step) > _MOST:
        call.refuse("its range is too long", got=[start, stop, step], expected=f"at most {_MOST} numbers")
    return _told(np.arange(start, stop, step).tolist())


def _constant_of_shape(call: NodeCall) -> Array:
    shape = call.integers(0)
    value = call.node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1 or math.prod(shape) > _MOST or min(shape, default=0) < 0:
        call.refuse("its value is not one number, or its shape too large", got=shape)
    return np.full(shape, value.reshape(-1)[0])


def _each(function: Callable[[Any], Any]) -> Callable[[NodeCall], Array]:
    return lambda call: _told(np.frompyfunc(function, 1, 1)(_numbers(call, 0)))


def _product(call: NodeCall) -> Array:
    found = math.prod(_numbers(call, 0).reshape(-1).tolist())
    return _told([found] if call.attribute("keepdims", 1) else found)


SIZES: Mapping[str, Callable[[NodeCall], Array]] = {
    "Add": _pairs(lambda one, other: one + other),
    "Cast": _cast,
    "Ceil": _each(math.ceil),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _pairs(_quotient),
    "Equal": _equal,
    "Floor": _each(lambda item: float(math.floor(item))),
    "Gather": _gather,
    "Identity": lambda call: call.known(0),
    "Max": _pairs(torch.sym_max),
    "Min": _pairs(torch.sym_min),
    "Mul": _pairs(lambda one, other: one * other),
    "Range": _range,
    "ReduceProd": _product,
    "Reshape": _reshape,
    "Slice": lambda call: sliced(call, call.known(0)),
    "Squeeze": _squeeze,
    "Sub": _pairs(lambda one, other: one - other),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
"""Operators on sizes alone. Those of floats that are constants are computed by torch, as their results are rounded."""
