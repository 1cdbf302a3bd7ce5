"""The guide's commands, by the section in which they stand."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docker.dockerfile import ROOT

__all__ = ["BLOCKS", "GUIDE", "NAME", "SAID", "Guide"]

GUIDE = ROOT / "docker" / "README.md"
NAME = "ranksearch.internal"
SAID = {
    "ranksearch.example.com": NAME,
    " --gpus all": "",
    "  ranksearch-worker:cuda --url": "  --env SSL_CERT_FILE=/etc/ranksearch/root.crt --add-host {host} \\\n"
    "  ranksearch-worker:cuda --url",
}
"""What a reader with a name of their own network, and without a GPU, writes in place of the guide's words."""
BLOCKS = {
    "Machine A: the service": 1,
    "Machine A: a name and HTTPS": 2,
    "Users and tokens": 2,
    "Machine B: a worker with a GPU": 1,
    "The laptop: submit": 1,
    "Back-ups": 1,
    "Without containers": 3,
}
"""The sections that are followed, and how many blocks of commands each has."""


class Guide:
    """A Markdown file's shell blocks.

    Args:
        path: the file.
        host: ``NAME:ADDRESS`` of the service, for containers that have no name server to ask.

    Raises:
        LookupError: it does not say any more what a reader would write something else for.
    """

    def __init__(self, path: Path, host: str) -> None:
        text = path.read_text()
        for word, own in SAID.items():
            if word not in text:
                raise LookupError(f"{path.name} does not say {word!r} any more")
            text = text.replace(word, own.replace("{host}", host))
        parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
        self._sections = dict(zip(parts[1::2], parts[2::2], strict=True))

    def blocks(self, section: str) -> list[str]:
        """The shell blocks of a section, in order.

        Raises:
            LookupError: there is no such section, or it has another number of them than :data:`BLOCKS` says.
        """
        found = re.findall(r"^```sh\n(.*?)^```", self._sections.get(section, ""), flags=re.MULTILINE | re.DOTALL)
        if len(found) != BLOCKS[section]:
            raise LookupError(f"{len(found)} blocks in {section!r} of {sorted(self._sections)}, not {BLOCKS[section]}")
        return found
