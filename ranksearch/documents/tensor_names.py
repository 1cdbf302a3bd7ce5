"""What a network's inputs and outputs are called: by the arguments of its forward, and by their place in its answer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.utils import _pytree as pytree

from ranksearch.contracts.model_summaries import LONGEST_NAME

__all__ = ["input_names", "output_names"]

_UNUSUAL = re.compile(r"[^A-Za-z0-9_.\-/]")
_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def input_names(model: nn.Module, count: int) -> tuple[str, ...]:
    """The names of a network's inputs.

    Args:
        model: a loaded network, which knows them; of any other, its forward's arguments tell.
        count: how many inputs it has.

    Returns:
        ``count`` different names; where nothing tells them, ``input`` or ``input.0``, ``input.1`` ….
    """
    known = [getattr(spec, "name", None) for spec in getattr(model, "input_specs", ())]
    if len(known) == count and all(known):
        return _told_apart(known)
    names = [name for name, one in inspect.signature(model.forward).parameters.items() if one.kind in _NAMED][:count]
    if len(names) < count:
        names = ["input"] if count == 1 else [f"input.{number}" for number in range(count)]
    return _told_apart(names)


def output_names(answer: Any) -> tuple[str, ...]:  # noqa: ANN401 - of any structure
    """The names of an answer's tensors, in their order: keys and numbers on the way to each, joined by dots.

    ``{"out": x, "more": [y, z]}`` has the outputs ``out``, ``more.0`` and ``more.1``; ``(x, y)`` the outputs
    ``output.0`` and ``output.1``; a tensor alone is ``output``.

    Args:
        answer: of the network; or anything else of the same structure, None where there is no tensor.
    """
    leaves, _ = pytree.tree_flatten_with_path(answer)
    return _told_apart(_joined(path) for path, leaf in leaves if leaf is not None)


def _joined(path: Iterable[Any]) -> str:
    steps = [step.idx if isinstance(step, pytree.SequenceKey) else getattr(step, "key", step) for step in path]
    if not steps or not isinstance(steps[0], str):
        steps = ["output", *steps]
    return ".".join(str(step) for step in steps)


def _told_apart(names: Iterable[Any]) -> tuple[str, ...]:
    """The names, of usual characters and not too long; of equal ones, the later ones with numbers."""
    found: dict[str, None] = {}
    for name in names:
        plain = _UNUSUAL.sub("_", str(name))[: LONGEST_NAME - 8] or "_"
        number, free = 1, plain
        while free in found:
            number += 1
            free = f"{plain}.{number}"
        found[free] = None
    return tuple(found)
