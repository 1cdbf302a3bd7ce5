"""How much memory does a CP decomposition take at its peak?"""

from __future__ import annotations

import subprocess
import sys

from page import Page, options

_SIZES = ((256, 1.0), (256, 3.0), (512, 3.0), (512, 1.0))
_CODE = """
import resource, sys, torch, proxy
channels, rank = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
proxy.decompose(torch.randn(64, 64, 3, 3), "cp3", 32)
weight = torch.randn(channels, channels, 3, 3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
proxy.decompose(weight, "cp3", rank, max_sweeps=3)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def peak(channels: int, rank: int) -> float:
    """Bytes that one decomposition in a fresh process adds to its peak, the kernel itself apart."""
    command = [sys.executable, "-c", _CODE, str(channels), str(rank)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return float(done.stdout)


def main() -> None:
    """Measure and write the page."""
    chosen = options(__doc__ or "").parse_args()
    page = Page("Peak memory of a CP decomposition", (__doc__ or "").strip())
    page.text(
        "What one decomposition adds to a fresh process's peak (resident set, one thread), over the bytes of the "
        "kernel and of its factors. Goal: below 3 at the largest rank. Any ALS needs the Gram matrix of the rank and "
        "its Cholesky factor, R² entries each: the third column says how large one of them is next to the kernel. "
        "Besides them there are the kernel of unit norm, four sets of factors (the best, the last, the next start, the "
        "one in the making), and the libraries' own buffers, which weigh most on small kernels."
    )
    rows = []
    for channels, cut in sorted(_SIZES[:2] if chosen.quick else _SIZES):
        entries = channels * channels * 9
        rank = round(entries / (cut * (2 * channels + 9)))
        both = 4 * (entries + rank * (2 * channels + 9))
        ratio = peak(channels, rank) / both
        page.figures[f"{channels}, cut {cut:g}"] = ratio
        name = "break-even" if cut == 1 else f"{cut:g}× cut"
        row = [f"{channels}×{channels}×9", f"{name}, R = {rank}", f"{rank * rank / entries:.1f}"]
        rows.append([*row, f"{both / 2**20:.0f}", f"**{ratio:.1f}**"])
    page.table(["kernel", "rank", "R² / kernel", "kernel + factors, MiB", "added at the peak / these"], rows)
    page.write("decompose_memory", chosen, ["torch"])


if __name__ == "__main__":
    main()
