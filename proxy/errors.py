"""The error tree of the numerics.

::

    ProxyError (ValueError)
    ├── UnknownLayer        no module of that name in the model
    ├── UnsupportedLayer    a layer that cannot be factorised; the message says why
    ├── UnsupportedMethod   a method, solver, level or metric that does not exist or does not fit the layer
    ├── RankOutOfRange      ranks that are malformed, below one or above the mathematical maximum
    ├── ShapeMismatch       tensors whose shapes do not belong together
    ├── NotFinite           NaN or infinity in weights, features or outputs
    └── MissingInput        labels, reference or images that the call needs were not given

Every error says what happened, what was got, what was expected and how to mend it, in words and as attributes.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "MissingInput",
    "NotFinite",
    "ProxyError",
    "RankOutOfRange",
    "ShapeMismatch",
    "UnknownLayer",
    "UnsupportedLayer",
    "UnsupportedMethod",
]


class ProxyError(ValueError):
    """Base of every error that :mod:`proxy` raises on purpose.

    Args:
        detail: what happened, one sentence.
        got: what was received.
        expected: what would have been accepted.
        mend: what to do about it.
        layer: qualified name of the layer concerned, where there is one.
    """

    code: ClassVar[str] = "proxy_error"
    """Stable identifier for programs."""

    def __init__(
        self,
        detail: str,
        *,
        got: object = None,
        expected: object = None,
        mend: str | None = None,
        layer: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.got = got
        self.expected = expected
        self.mend = mend
        self.layer = layer

    def __str__(self) -> str:
        detail = self.detail if self.layer is None else f"layer {self.layer!r}: {self.detail}"
        told = {"got": self.got, "expected": self.expected, "mend": self.mend}
        return "\n  ".join([detail, *(f"{name}: {value}" for name, value in told.items() if value is not None)])

    def at(self, layer: str) -> ProxyError:
        """This error, told with the name of the layer where it happened; the innermost name stays."""
        if self.layer is None:
            self.layer = layer
        return self


class UnknownLayer(ProxyError):
    """The model has no module of that name."""

    code = "unknown_layer"


class UnsupportedLayer(ProxyError):
    """The layer cannot be factorised."""

    code = "unsupported_layer"


class UnsupportedMethod(ProxyError):
    """No such method, solver, level or metric, or not for this kind of layer."""

    code = "unsupported_method"


class RankOutOfRange(ProxyError):
    """Ranks that are malformed, below one or above the mathematical maximum."""

    code = "rank_out_of_range"


class ShapeMismatch(ProxyError):
    """Tensors whose shapes do not belong together."""

    code = "shape_mismatch"


class NotFinite(ProxyError):
    """NaN or infinity where numbers are needed."""

    code = "not_finite"


class MissingInput(ProxyError):
    """Something the call needs was not given."""

    code = "missing_input"
