"""The layers' qualified names: the exporter's, where the file still tells them, and made up where it does not.

Torch's exporters keep a layer's name in its weight's (``layer1.0.conv1.weight``), or, where the weight was folded with
a BatchNorm, in its node's scope (``/layer1/layer1.0/conv1/Conv``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

from ranksearch.contracts.errors import DocumentError
from ranksearch.documents.from_onnx.graph import OnnxNode
from ranksearch.documents.names import check_name

__all__ = ["Names", "layer_names"]

_FOREIGN = re.compile(r"[^A-Za-z0-9_]+")
_LONGEST = 60


def layer_names(node: OnnxNode, weight: str) -> Iterator[str]:
    """Names for the layer that a node is, the best first.

    Args:
        node: of the layer.
        weight: the name of the constant that is its weight.
    """
    if weight.endswith(".weight"):
        yield weight.removesuffix(".weight")
    scope: list[str] = []
    *path, _operator = node.name.split("/")
    for part in filter(None, path):
        if scope and part.startswith(f"{scope[-1]}."):
            scope[-1] = part  # a module in a list is named with its list: layer1, layer1.0
        else:
            scope.append(part)
    if scope:
        yield ".".join(scope)
    yield plain(node.name or node.outputs[0])


def plain(name: str) -> str:
    """A name of letters, digits and underscores that is as near as can be."""
    text = _FOREIGN.sub("_", name).strip("_")[-_LONGEST:].strip("_")
    return text or "value"


class Names:
    """Names of layers and tensors, none of which lies inside another.

    Args:
        taken: names that are something else already.
    """

    def __init__(self, taken: frozenset[str]) -> None:
        self._taken = taken
        self._names: set[str] = set()
        self._owners: set[str] = set()
        self._numbers: defaultdict[str, int] = defaultdict(lambda: 2)

    def take(self, *wanted: str) -> str:
        """The first of these names that can be had, or the last one with a number; it is taken from then on."""
        for name in wanted:
            if self._is_free(name):
                return self._taken_now(name)
        base = plain(wanted[-1])
        while not self._is_free(name := f"{base}_{self._numbers[base]}"):
            self._numbers[base] += 1
        return self._taken_now(name)

    def _taken_now(self, name: str) -> str:
        self._names.add(name)
        self._owners |= set(_owners(name))
        return name

    def _is_free(self, name: str) -> bool:
        first = name.partition(".")[0]
        if first in self._taken or first.startswith("_") or name in self._names or name in self._owners:
            return False
        with suppress(DocumentError):
            check_name(name)
            return self._names.isdisjoint(_owners(name))
        return False


def _owners(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name
