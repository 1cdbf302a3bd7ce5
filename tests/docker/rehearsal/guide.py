"""The guide's commands, by the section in which they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Guide"]


class Guide:
    """A Markdown file's shell blocks.

    Args:
        path: the file.
        said: what a reader would write in place of the guide's words, such as a name of one's own. Each must occur.
    """

    def __init__(self, path: Path, said: Mapping[str, str]) -> None:
        text = path.read_text()
        for word, own in said.items():
            if word not in text:
                raise LookupError(f"{path.name} does not say {word!r} any more")
            text = text.replace(word, own)
        parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
        self._sections = dict(zip(parts[1::2], parts[2::2], strict=True))

    def blocks(self, section: str) -> list[str]:
        """The shell blocks of a section, in order.

        Raises:
            LookupError: there is no such section, or it has none.
        """
        found = re.findall(r"^```sh\n(.*?)^```", self._sections.get(section, ""), flags=re.MULTILINE | re.DOTALL)
        if not found:
            raise LookupError(f"no commands in a section {section!r}; there are {sorted(self._sections)}")
        return found
