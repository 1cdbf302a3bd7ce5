"""What a terminal can show: braille and bars where its encoding has them, ASCII where it has not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.console import Console

__all__ = ["ASCII", "UNICODE", "Characters", "characters_of"]

_ALL_ASCII: Final = 128
_SPELLED: Final[Mapping[str, str]] = {
    "≤": "<=",
    "×": "x",
    "→": "->",
    "–": "-",
    "’": "'",
    "…": "~",
    "·": "|",
    "↑": "^",
    "↓": "v",
}
"""What this product's words are made of, besides ASCII."""


@dataclass(frozen=True)
class Characters:
    """What things are drawn with.

    Args:
        braille: whether lines are made of braille dots.
        full: of a bar, what is there.
        empty: of a bar, what is not.
        level: of a dashed line across, to compare with.
    """

    braille: bool
    full: str
    empty: str
    level: str

    def bar(self, share: float, width: int) -> str:
        """A share of 0 to 1 as so many characters; what is more than nothing shows, what is less than all does not."""
        filled = round(share * width)
        if 0 < share < 1 and width > 1:
            filled = min(width - 1, max(1, filled))
        return self.full * filled + self.empty * (width - filled)

    def spelled(self, text: str) -> str:
        """The text as this terminal shows it: for one of ASCII alone, words in its letters and a ? for what is left."""
        if self.braille or text.isascii():
            return text
        letters = (_SPELLED.get(letter, letter) for letter in text)
        return "".join(letter if ord(letter[0]) < _ALL_ASCII else "?" for letter in letters)


UNICODE: Final = Characters(braille=True, full="━", empty="─", level="┈")
ASCII: Final = Characters(braille=False, full="#", empty=".", level=".")


def characters_of(console: Console) -> Characters:
    """What the terminal behind a console shows: by its encoding, and by what the Linux console's font lacks."""
    try:
        "⣿━─┈≤×→–…·↑↓".encode(console.encoding)
    except (LookupError, UnicodeEncodeError):
        return ASCII
    return ASCII if console.legacy_windows or os.environ.get("TERM") == "linux" else UNICODE
