"""A Python process in which some distributions can be imported, with what they depend on, and no others."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

ROOT = Path(__file__).parents[1]

_GUARD = """
import sys
REFUSED = frozenset({refused!r})
class Guarded:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in REFUSED else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Guarded(finder) for finder in sys.meta_path]
"""


def run_with_only(distributions: set[str], code: str, *arguments: object) -> str:
    """Run code in a process of its own; what it prints.

    Args:
        distributions: that may be imported, with what they require. With ``ranksearch`` among them this checkout's
            may, but nothing that only its extras bring.
        code: to run; ``sys.argv[1:]`` are the arguments.
        arguments: paths and the like.
    """
    allowed = _closure(distributions)
    ours = {"ranksearch", "proxy", "service", "worker", "tests"}
    refused = {name for name, of in packages_distributions().items() if not allowed & {_plain(one) for one in of}}
    refused |= ours - ({"ranksearch"} if "ranksearch" in distributions else set())
    refused -= {"ranksearch"} if "ranksearch" in distributions else set()
    guard = _GUARD.format(refused=sorted(refused))
    done = subprocess.run(
        [sys.executable, "-c", guard + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd="/",
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _closure(names: set[str]) -> set[str]:
    found: set[str] = set()
    left = {_plain(name) for name in names}
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        left |= {_plain(one) for one in needed if "extra ==" not in one}
    return found


def _plain(requirement: str) -> str:
    name = requirement
    for end in " ;<>=!~[(":
        name = name.partition(end)[0]
    return name.strip().lower().replace("_", "-").replace(".", "-")
