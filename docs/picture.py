"""Draws ``docs/demo.svg``, the README's picture, from a real run of the demonstration: ``python docs/picture.py``."""

from pathlib import Path

from rich.console import Console

from ranksearch.demo import run

if __name__ == "__main__":
    console = Console(record=True, width=100, force_terminal=True)
    run(console=console)
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="make demo")
