"""Prints the requirements of the extra ``worker`` that come from torch's own index: ``torch_requirements.py FILE``."""

import sys
import tomllib
from pathlib import Path

OF_TORCH = ("torch", "torchvision")


def main(project: Path) -> None:
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    wanted = [line for line in extras["worker"] if line.split(">", maxsplit=1)[0].strip() in OF_TORCH]
    if len(wanted) != len(OF_TORCH):
        sys.exit(f"{project}: the extra worker names {wanted}, expected {OF_TORCH}")
    print("\n".join(wanted))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
