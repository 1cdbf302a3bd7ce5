"""Draws ``docs/demo.svg``, the README's picture, from a real run of the demonstration: ``python docs/picture.py``."""

import re
from pathlib import Path

from rich.console import Console

from ranksearch.demo import run

if __name__ == "__main__":
    console = Console(record=True, width=100, force_terminal=True, highlight=False)
    run(console=console)
    drawn = console.export_svg(title="make demo")
    # Rich links a font on somebody else's server; the reader's own monospaced one will do.
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    Path(__file__).with_name("demo.svg").write_text(drawn)
