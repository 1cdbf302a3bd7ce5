"""Reads Dockerfiles, as far as ours go: continued lines, exec forms, several stages."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "docker" / "service.Dockerfile"
WORKER = ROOT / "docker" / "worker.Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """Such as ``COPY`` and its words."""

    name: str
    text: str

    @property
    def exec_form(self) -> list[str]:
        """The words of ``["python", "-m", "service"]``."""
        return json.loads(self.text[self.text.index("[") :])

    @property
    def sources(self) -> list[str]:
        """What a ``COPY`` takes from the build context; nothing where it takes from another stage."""
        words = self.text.split()
        return [] if any(word.startswith("--from") for word in words) else words[:-1]


@dataclass
class Stage:
    """From one ``FROM`` to the next."""

    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        return [one for one in self.instructions if one.name == name]

    def the(self, name: str) -> Instruction:
        (one,) = self.all(name)
        return one

    @property
    def environment(self) -> dict[str, str]:
        pairs = [word for one in self.all("ENV") for word in shlex.split(one.text)]
        return dict(pair.split("=", maxsplit=1) for pair in pairs)


def stages(path: Path) -> list[Stage]:
    """The stages of a Dockerfile, in order."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            found.append(Stage(rest.split()[0]))
        elif name and found:
            found[-1].instructions.append(Instruction(name, rest.strip()))
    return found
