"""The qualified names a document may use for modules and tensors."""

from __future__ import annotations

import re

from torch import nn

from ranksearch.contracts.errors import DocumentError

__all__ = ["check_name"]

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-/:+ ]{0,199}", re.ASCII)
_MAX_PARTS = 64

_TAKEN = frozenset(dir(nn.Module())) | {"input_specs", "output_specs", "example_inputs", "graph"}
"""What a module answers to already; a child of such a name would hide it."""


def check_name(name: str) -> None:
    """Refuse a qualified name that could reach anything but a module's own children and tensors.

    Raises:
        DocumentError: ``document_graph_invalid``.
    """
    parts = name.split(".", _MAX_PARTS)
    if len(parts) > _MAX_PARTS or not all(_PART.fullmatch(part) for part in parts):
        expected = f"at most {_MAX_PARTS} parts of letters, digits and underscores, joined by dots"
        _refuse(name, expected, "rename the module")
    for part in parts:
        if part.startswith("__") or part in _TAKEN:
            _refuse(name, "parts that are no attribute of torch.nn.Module", f"rename {part!r} in the model")


def _refuse(name: str, expected: str, mend: str) -> None:
    detail = "a module or tensor has a name that cannot be used"
    raise DocumentError("document_graph_invalid", detail, got=name, expected=expected, mend=mend)
