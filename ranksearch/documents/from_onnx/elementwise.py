"""Operators that treat every value by itself: arithmetic, comparisons, activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ranksearch.documents.from_onnx.calls import NodeCall, Operator, dtype_of

__all__ = ["ELEMENTWISE"]


def _one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda call: function(call.tensor(0))


def _operands(call: NodeCall) -> tuple[Tensor | float, Tensor | float]:
    """Two operands, a constant of one value as a number; at least one of them a tensor."""
    first, second = call.value(0), call.value(1)
    if isinstance(first, Tensor):
        return first, call.operand(1, first.ndim)
    return (call.operand(0, second.ndim), second) if isinstance(second, Tensor) else (call.tensor(0), call.tensor(1))


def _two(function: Callable[..., Tensor]) -> Operator:
    return lambda call: function(*_operands(call))


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[NodeCall], Tensor]:
    def apply(call: NodeCall) -> Tensor:
        found = call.tensor(0)
        for index in range(1, len(call.values)):
            found = function(found, call.tensor(index))
        return found

    return apply


_summed = _many(torch.add)


def _mean(call: NodeCall) -> Tensor:
    return _summed(call) / len(call.values)


def _divide(call: NodeCall) -> Tensor:
    first, second = _operands(call)
    tensor = first if isinstance(first, Tensor) else second
    if isinstance(tensor, Tensor) and not tensor.is_floating_point():
        return torch.div(first, second, rounding_mode="trunc")
    return first / second  # type: ignore[return-value]  # one of them is a tensor


def _power(call: NodeCall) -> Tensor:
    first, second = _operands(call)
    made: Tensor = torch.pow(first, second)  # type: ignore[arg-type]  # one of them is a tensor
    return made.to(first.dtype) if isinstance(first, Tensor) else made


def _modulo(call: NodeCall) -> Tensor:
    first, second = _operands(call)
    function = torch.fmod if call.attribute("fmod", 0) else torch.remainder
    return function(first, second)  # type: ignore[arg-type]  # as above


def _clip(call: NodeCall) -> Tensor:
    low, high = call.number(1), call.number(2)
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    given = call.tensor(0)
    if math.isinf(low) and math.isinf(high):
        return given
    return torch.clamp(given, None if math.isinf(low) else low, None if math.isinf(high) else high)


def _hard_sigmoid(call: NodeCall) -> Tensor:
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:  # noqa: PLR2004 - torch's
        return functional.hardsigmoid(call.tensor(0))
    return torch.clamp(call.tensor(0) * alpha + beta, 0.0, 1.0)


def _gelu(call: NodeCall) -> Tensor:
    return functional.gelu(call.tensor(0), approximate=call.expect("approximate", "none", "none", "tanh"))


def _prelu(call: NodeCall) -> Tensor:
    given, slope = call.tensor(0), call.constant(1)
    shape = (1,) * (given.ndim - slope.ndim) + slope.shape
    per_channel = len(shape) > 1 and all(size == 1 for place, size in enumerate(shape) if place != 1)
    if given.ndim > 1 and (slope.size == 1 or (per_channel and shape[1] == given.shape[1])):
        return functional.prelu(given, call.tensor(1).reshape(-1))
    return torch.where(given > 0, given, given * call.tensor(1))


def _selu(call: NodeCall) -> Tensor:
    alpha = call.attribute("alpha", 1.67326319217681884765625)
    gamma = call.attribute("gamma", 1.05070102214813232421875)
    return functional.elu(call.tensor(0), alpha) * gamma


def _shrink(call: NodeCall) -> Tensor:
    bias, edge = call.attribute("bias", 0.0), call.attribute("lambd", 0.5)
    if bias == edge:
        return functional.softshrink(call.tensor(0), edge)
    if bias:
        call.refuse("its bias is not supported", got=bias, expected=f"0 or {edge}")
    return functional.hardshrink(call.tensor(0), edge)


def _swish(call: NodeCall) -> Tensor:
    given, alpha = call.tensor(0), call.attribute("alpha", 1.0)
    return functional.silu(given) if alpha == 1 else given * torch.sigmoid(given * alpha)


def _where(call: NodeCall) -> Tensor:
    condition = call.tensor(0)
    chosen, other = call.operand(1, condition.ndim), call.operand(2, condition.ndim)
    return torch.where(condition, chosen, other)


def _cast(call: NodeCall) -> Tensor:
    return call.tensor(0).to(dtype_of(call, call.attribute("to", 0)))


def _cast_like(call: NodeCall) -> Tensor:
    return call.tensor(0).to(call.tensor(1).dtype)


def _dropout(call: NodeCall) -> Tensor:
    """As it is without training."""
    call.only_output()
    if call.given(2) and call.number(2):
        call.refuse("it is in training mode", mend="export the model after model.eval()")
    return call.tensor(0)


ELEMENTWISE: Mapping[str, Operator] = {
    "Abs": _one(torch.abs),
    "Add": _two(lambda one, other: one + other),
    "And": _two(torch.logical_and),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": _one(torch.ceil),
    "Celu": lambda call: functional.celu(call.tensor(0), call.attribute("alpha", 1.0)),
    "Clip": _clip,
    "Cos": _one(torch.cos),
    "Div": _divide,
    "Dropout": _dropout,
    "Elu": lambda call: functional.elu(call.tensor(0), call.attribute("alpha", 1.0)),
    "Equal": _two(lambda one, other: one == other),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Floor": _one(torch.floor),
    "Gelu": _gelu,
    "Greater": _two(lambda one, other: one > other),
    "GreaterOrEqual": _two(lambda one, other: one >= other),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _one(functional.hardswish),
    "Identity": _one(lambda given: given),
    "LeakyRelu": lambda call: functional.leaky_relu(call.tensor(0), call.attribute("alpha", 0.01)),
    "Less": _two(lambda one, other: one < other),
    "LessOrEqual": _two(lambda one, other: one <= other),
    "Log": _one(torch.log),
    "Max": _many(torch.maximum),
    "Mean": _mean,
    "Min": _many(torch.minimum),
    "Mish": _one(functional.mish),
    "Mod": _modulo,
    "Mul": _two(lambda one, other: one * other),
    "Neg": _one(torch.neg),
    "Not": _one(torch.logical_not),
    "Or": _two(torch.logical_or),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _one(torch.reciprocal),
    "Relu": _one(functional.relu),
    "Round": _one(torch.round),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": _one(torch.sigmoid),
    "Sign": _one(torch.sign),
    "Sin": _one(torch.sin),
    "Softplus": _one(functional.softplus),
    "Softsign": _one(lambda given: given / (1 + torch.abs(given))),
    "Sqrt": _one(torch.sqrt),
    "Sub": _two(lambda one, other: one - other),
    "Sum": _summed,
    "Swish": _swish,
    "Tanh": _one(torch.tanh),
    "ThresholdedRelu": lambda call: functional.threshold(call.tensor(0), call.attribute("alpha", 1.0), 0.0),
    "Where": _where,
    "Xor": _two(torch.logical_xor),
}
