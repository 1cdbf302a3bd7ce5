"""How much more stable are corrected CP decompositions than plain ones, and at what error?"""

from __future__ import annotations

import statistics
import warnings
from typing import NamedTuple

import tensorly as tl
import torch
from kernels import cut_rank, resnet_kernels
from page import Page, options, shared_data
from tensorly.decomposition import parafac
from torch import Tensor

import proxy
from proxy.stability import instability

_PLAIN_SWEEPS = 300


class Measured(NamedTuple):
    """One kernel under one solver: relative error, sensitivity and rank-one energy over ‖Y‖²."""

    error: float
    sensitivity: float
    energy: float


def tensorly(weight: Tensor, rank: int) -> Measured:
    """Plain ALS: ``parafac`` from its SVDs."""
    tensor = weight.flatten(2) / weight.norm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (weights, factors), errors = parafac(
            tensor, rank, n_iter_max=_PLAIN_SWEEPS, init="svd", tol=0, random_state=0, return_errors=True
        )
    found = instability(factors[0] * weights, factors[1], factors[2])
    return Measured(float(errors[-1]), found["sensitivity"], found["energy"])


def ours(problems: list[tuple[Tensor, str, int]], **chosen: object) -> list[Measured]:
    """Each kernel under a solver of ours."""
    return [
        Measured(found.relative_error, found.sensitivity or 0.0, found.rank_one_energy or 0.0)
        for found in proxy.decompose_many(problems, **chosen)  # type: ignore[arg-type]  # solver options
    ]


def main() -> None:
    """Measure and write the page."""
    parser = options(__doc__ or "")
    shared_data(parser)
    chosen = parser.parse_args()
    tl.set_backend("pytorch")
    weights = list(resnet_kernels(chosen.data, 56).values())
    weights = weights[::9] if chosen.quick else weights
    problems = [(weight, "cp3", cut_rank(weight, 3)) for weight in weights]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    plain = [tensorly(weight, rank) for weight, _, rank in problems]
    torch.set_num_threads(before)
    runs = {
        f"plain ALS, {_PLAIN_SWEEPS} sweeps (TensorLy)": plain,
        f"plain ALS, extrapolated, {_PLAIN_SWEEPS} sweeps": ours(
            problems, solver="als", max_sweeps=_PLAIN_SWEEPS, tolerance=0.0
        ),
        "**damped ALS and EPC, 1 % slack (default)**": ours(problems),
        f"the same, {_PLAIN_SWEEPS} sweeps": ours(problems, max_sweeps=_PLAIN_SWEEPS, tolerance=0.0),
        "the same as default, 2 % slack": ours(problems, max_error_slack=0.02),
        "the same as default, objective energy": ours(problems, objective="energy"),
    }
    page = Page("Stability of CP decompositions", (__doc__ or "").strip())
    page.text(
        f"{len(problems)} kernels of ResNet-56 (CIFAR-10) at the ranks of a uniform 3× cut. ss: sensitivity, the "
        "expected squared change of the tensor per unit variance of noise on every factor entry, over ‖Y‖². sn: energy "
        "of the rank-one terms, over ‖Y‖²; far above 1 means components that cancel. Goal: the median ss at least 3 "
        "times below that of plain ALS, no sn above 10."
    )
    rows = []
    for name, found in runs.items():
        ratio = statistics.median(one.error / other.error for one, other in zip(found, plain, strict=True))
        figures = {
            "median_error_to_plain": ratio,
            "worst_error_to_plain": max(o.error / p.error for o, p in zip(found, plain, strict=True)),
            "mean_error": statistics.mean(one.error for one in found),
            "median_ss": statistics.median(one.sensitivity for one in found),
            "median_sn": statistics.median(one.energy for one in found),
            "largest_sn": max(one.energy for one in found),
        }
        page.figures[name] = figures
        rows.append(
            [
                name,
                f"{figures['mean_error']:.4f}",
                f"{ratio:.3f}",
                f"{figures['worst_error_to_plain']:.3f}",
                f"{figures['median_ss']:.0f}",
                f"{figures['median_sn']:.2f}",
                f"{figures['largest_sn']:.2f}",
            ]
        )
    page.table(["solver", "mean error", "error / plain, median", "worst", "median ss", "median sn", "largest sn"], rows)
    page.write("stability", chosen, ["torch", "tensorly"])


if __name__ == "__main__":
    main()
