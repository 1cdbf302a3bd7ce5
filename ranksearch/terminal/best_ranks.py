"""The ranks of the best trial so far, layer by layer, in as few lines as there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from ranksearch.contracts.studies import Best, LayerChoice
from ranksearch.contracts.wording import count
from ranksearch.terminal.allotment import Section
from ranksearch.terminal.characters import Characters
from ranksearch.terminal.columns import Column, lines, shortened
from ranksearch.terminal.output import printable

__all__ = ["best_ranks"]

_LEAST: Final = 4
_BAR: Final = 10
_LEAST_OF_A_NAME: Final = 14
_SMALL: Final = 0.01


def best_ranks(best: Best, width: int, characters: Characters) -> Section:
    """One line a layer; where there are more layers than lines, those that were the dearest, and how many more.

    A layer's rank is told with the share of its dense macs that it keeps: 100% is the rank at which a factorised layer
    costs as much as the dense one.
    """

    def draw(rows: int) -> list[Text]:
        shown = _dearest(best.layers, rows - 1 if rows > len(best.layers) else rows - 2)
        made = _table(best, shown, width, characters)
        left = len(best.layers) - len(shown)
        if left:
            where = f"and {left} more, of fewer macs: ranksearch best {best.study}"
            made.append(Text(shortened(where, width), style="dim"))
        return made

    return Section(min(_LEAST, 1 + len(best.layers)), 1 + len(best.layers), draw)


def _dearest(layers: Sequence[LayerChoice], number: int) -> list[LayerChoice]:
    """In forward order."""
    by_macs = sorted(range(len(layers)), key=lambda at: -layers[at].dense.macs)
    return [layers[at] for at in sorted(by_macs[:number])]


def _table(best: Best, layers: Sequence[LayerChoice], width: int, characters: Characters) -> list[Text]:
    shares = [layer.compressed.macs / layer.dense.macs if layer.dense.macs else 1.0 for layer in layers]
    whole = best.macs.compressed or 1
    columns = [
        Column("layer", [printable(layer.name) for layer in layers], least=_LEAST_OF_A_NAME, keep_end=True),
        Column("method", [str(layer.choice.get("method", "dense")) for layer in layers]),
        Column("rank", [_rank(layer.choice) for layer in layers], least=8),
        Column("of dense", [characters.bar(share, _BAR) for share in shares], dispensable=2, style="cyan"),
        Column("", [f"{share:.0%}" for share in shares], right=True),
        Column("macs", [count(layer.compressed.macs) for layer in layers], right=True, dispensable=3),
        Column("of all", [_percent(layer.compressed.macs / whole) for layer in layers], right=True, dispensable=1),
    ]
    return lines(columns, width)


def _percent(share: float) -> str:
    """Of two hundred layers each has less than one per cent."""
    return f"{share:.1%}" if share < _SMALL else f"{share:.0%}"


def _rank(choice: dict[str, Any]) -> str:
    """In words such as "48" or "out 32, in 24"; nothing for a dense layer."""
    if choice.get("rank") is not None:
        return str(choice["rank"])
    return ", ".join(f"{axis} {rank}" for axis, rank in (choice.get("ranks") or {}).items() if rank is not None)
