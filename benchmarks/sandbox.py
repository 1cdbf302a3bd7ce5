"""What does confining the evaluating process cost, at its start and in its arithmetic?

Processes with and without the sandbox, in turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from page import Page, options

from worker.sandbox import SandboxOptions

QUESTION = __doc__.splitlines()[0]
PARTS = ("confining itself and trying each measure", "loading torch", "one convolution")
CHILD = """
import json, sys, time
from worker.sandbox import Policy, confine
policy = Policy.model_validate_json(sys.argv[1])
start = time.perf_counter()
measures = confine(policy) if sys.argv[2] == "on" else []
confined = time.perf_counter()
import torch
loaded = time.perf_counter()
torch.set_num_threads(1)
images, weight = torch.randn(16, 64, 28, 28), torch.randn(64, 64, 3, 3)
seconds = []
for _ in range(60):
    begun = time.perf_counter()
    torch.conv2d(images, weight, padding=1)
    seconds.append(time.perf_counter() - begun)
in_force = sum(measure.in_force for measure in measures)
print(json.dumps([confined - start, loaded - confined, min(seconds), in_force, len(measures)]))
"""


def main() -> None:
    """Measure and write the page."""
    chosen = options(QUESTION).parse_args()
    rounds = 5 if chosen.quick else 15
    seen: dict[str, list[list[float]]] = {"off": [], "on": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for state, figures in seen.items():
                figures.append(run(Path(folder), state))
    *_, in_force, measures = seen["on"][0]
    page = Page("The cost of the sandbox", QUESTION)
    page.text(
        f"{rounds} processes each, in turns; {in_force:.0f} of {measures:.0f} measures in force, on Linux"
        f" {os.uname().release.split('-')[0]}. The convolution is the fastest of 60: 16 images of 28×28, 64 to 64"
        f" channels, 3×3, one thread. Others were at work on the machine (load {os.getloadavg()[0]:.1f}): the least"
        " values say more than the medians."
    )
    rows, figures_of_page = [], {}
    for index, part in enumerate(PARTS):
        values = {state: [1e3 * figures[index] for figures in runs] for state, runs in seen.items()}
        rows.append((part, *(f"{statistics.median(values[state]):.1f} ({min(values[state]):.1f})" for state in values)))
        figures_of_page[part] = {state: statistics.median(values[state]) for state in values}
    page.table(["milliseconds, median (least)", "without", "with the sandbox"], rows)
    page.figures = {"rounds": rounds, "milliseconds": figures_of_page}
    page.write("sandbox", chosen, ["torch"])


def run(folder: Path, state: str) -> list[float]:
    """One process: seconds of each part, measures in force, measures in all."""
    for part in ("own", "shared"):
        (folder / part).mkdir(exist_ok=True)
    witness = folder / "own" / "witness"
    witness.write_text("only the agent reads this")
    policy = SandboxOptions().policy(device="cpu", reads=[], writes=[folder / "shared"], witness=witness)
    done = subprocess.run(  # noqa: S603 - the code above
        [sys.executable, "-P", "-c", CHILD, policy.model_dump_json(), state],
        env={**os.environ, "TMPDIR": str(folder / "shared"), "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        check=True,
        text=True,
    )
    figures: list[float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    main()
