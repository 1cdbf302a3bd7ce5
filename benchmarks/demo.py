"""How long does ``make demo`` take once its packages are installed?

The demonstration from its first to its last line in a process of its own: training, packing, service and worker
started, inspection, search, the compressed network pulled and evaluated, everything stopped.
"""

from __future__ import annotations

import subprocess
import sys
import time

from page import Page, options

QUESTION = __doc__.splitlines()[0]
GOAL_SECONDS = 300


def main() -> None:
    """Measure and write the page."""
    chosen = options(QUESTION).parse_args()
    rounds = 1 if chosen.quick else 3
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ranksearch", "demo"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    page = Page("The demonstration, start to end", QUESTION)
    page.text("40 trials under 40 % of the MACs, as `make demo` runs it.")
    page.table(["run", "seconds"], [(index, f"{value:.0f}") for index, value in enumerate(seconds, 1)])
    page.text(f"Goal: at most {GOAL_SECONDS} s on two cores.")
    page.figures = {"seconds": seconds}
    page.write("demo", chosen, ["torch", "optuna", "fastapi", "scikit-learn"])


if __name__ == "__main__":
    main()
