"""How fast may a factorised network be fine-tuned, from plain CP factors and from corrected ones of the same error?"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorly as tl
import torch
from kernels import cut_rank, shared_module
from page import PAGES, Page, options, shared_data
from plot import line_plot
from tensorly.decomposition import parafac
from torch import Tensor, nn

import proxy
from proxy.cp3 import CP
from proxy.kernel import Kernel
from proxy.solvers import cp3_factors
from proxy.stability import balanced

_BATCH = 64
_CUT = 3.0
_RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)
_MOST_SWEEPS = 3000
_WINDOW = 20


def plain_factors(weight: Tensor, rank: int, error: float) -> proxy.Factors:
    """Plain ALS (TensorLy) until the error is reached, its components balanced; the best of its sweeps if it is not."""
    kernel = Kernel(weight)
    seen: dict[str, Any] = {"error": math.inf, "sweeps": 0}

    def stop(found: Any, now: object) -> bool:  # noqa: ANN401 - TensorLy's CP tensor
        seen["sweeps"] += 1
        if float(now) < seen["error"]:  # type: ignore[arg-type]  # a tensor of one entry
            seen["error"] = float(now)  # type: ignore[arg-type]  # as above
            seen["factors"] = [factor.clone() for factor in found.factors]
            seen["factors"][0] *= found.weights
        return bool(seen["error"] <= error)

    with warnings.catch_warnings():  # it warns of ranks above a mode's length, which are meant
        warnings.simplefilter("ignore")
        parafac(kernel.tensor, rank, n_iter_max=_MOST_SWEEPS, tol=1e-14, init="svd", random_state=0, callback=stop)
    stack = tuple(factor[None] for factor in seen["factors"])
    scales, _ = balanced(stack)  # type: ignore[arg-type]  # three of them
    out, inn, space = ((factor * scale)[0] for factor, scale in zip(stack, scales, strict=True))
    found = CP(out, inn, space, seen["error"], seen["sweeps"], converged=seen["error"] <= error)
    return cp3_factors(kernel, found, "tensorly")


def networks(dense: nn.Module) -> dict[str, tuple[nn.Module, list[proxy.Factors]]]:
    """Name → the network factorised at a uniform cut, and the factors in it."""
    layers = {
        name: module
        for name, module in dense.named_modules()
        if isinstance(module, nn.Conv2d) and name.startswith("layer")
    }
    problems = [(module.weight, "cp3", cut_rank(module.weight, _CUT)) for module in layers.values()]
    corrected = proxy.decompose_many(problems)
    plain = [
        plain_factors(module.weight.detach(), cut_rank(module.weight, _CUT), factors.relative_error)
        for module, factors in zip(layers.values(), corrected, strict=True)
    ]
    return {
        name: (proxy.assemble(dense, dict(zip(layers, factors, strict=True))), factors)
        for name, factors in (("plain CP", plain), ("EPC", corrected))
    }


def batches(images: Tensor, labels: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches for every run: shuffled once, flipped at random."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(images), generator=generator)
    for step in range(steps):
        chosen = order[torch.arange(step * _BATCH, (step + 1) * _BATCH) % len(order)]
        batch = images[chosen]
        flipped = torch.rand(len(batch), generator=generator) < 0.5  # noqa: PLR2004 - every second one
        batch[flipped] = batch[flipped].flip(-1)
        yield batch.contiguous(memory_format=torch.channels_last), labels[chosen]


def train(start: nn.Module, data: tuple[Tensor, Tensor], rate: float, steps: int) -> list[float]:
    """Training loss of every step of plain SGD at a constant rate; stops where it is no number."""
    network = proxy.assemble(start, {})  # a copy
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    losses = []
    for images, labels in batches(*data, steps):
        loss = nn.functional.cross_entropy(network(images), labels)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimizer.step()
    return losses


def smoothed(losses: list[float]) -> list[float]:
    """Moving mean over the last steps."""
    return [float(np.mean(losses[max(0, at + 1 - _WINDOW) : at + 1])) for at in range(len(losses))]


@torch.no_grad()
def untouched(network: nn.Module, data: tuple[Tensor, Tensor], steps: int) -> float:
    """Mean loss over the batches of the last steps without a step made, BatchNorm on the batch's own statistics."""
    network = proxy.assemble(network, {})
    network.train()
    losses = [
        float(nn.functional.cross_entropy(network(images), labels))
        for step, (images, labels) in enumerate(batches(*data, steps))
        if step >= steps - _WINDOW
    ]
    return float(np.mean(losses))


def trained(losses: list[float], steps: int, before: float) -> bool:
    """Whether the run kept its numbers and ended at most a tenth above the loss without fine-tuning."""
    return len(losses) == steps and math.isfinite(losses[-1]) and smoothed(losses)[-1] <= 1.1 * before


def main() -> None:
    """Measure and write the page."""
    parser = options(__doc__ or "")
    shared_data(parser)
    parser.add_argument("--steps", type=int, default=200, help="SGD steps of a run (default: %(default)s)")
    chosen = parser.parse_args()
    tl.set_backend("pytorch")
    steps, rates = (40, (0.001, 0.01, 0.1)) if chosen.quick else (chosen.steps, _RATES)
    cifar = shared_module(chosen.data)
    images, labels = cifar.images("train", min(50_000, steps * _BATCH))
    data = (cifar.preprocess(images), labels)
    dense = cifar.resnet(20)
    found = networks(dense)
    page = Page("Fine-tuning from plain and from corrected CP factors", (__doc__ or "").strip())
    page.text(
        f"ResNet-20 (CIFAR-10, JPEG), all 18 block convolutions cp3 at a uniform {_CUT:g}× cut. EPC: the default "
        "solver. Plain CP: TensorLy's `parafac` from its SVDs until it reaches the same relative error in every layer, "
        f"its components balanced. SGD, momentum 0.9, constant rate, no warm-up, {steps} steps of {_BATCH} images, the "
        "same images in the same order."
    )
    describe(page, found)
    sweep(page, chosen, dense, found, data, rates, steps)
    page.write("finetune_stability", chosen, ["torch", "tensorly"])


def describe(page: Page, found: dict[str, tuple[nn.Module, list[proxy.Factors]]]) -> None:
    """The factors that the runs start from."""
    rows = []
    for name, (_, factors) in found.items():
        column = lambda attribute, own=factors: sorted(getattr(one, attribute) for one in own)  # noqa: E731 - read three times below
        errors, sensitivities, terms = column("relative_error"), column("sensitivity"), column("rank_one_energy")
        rows.append(
            [
                name,
                f"{np.mean(errors):.4f}",
                f"{np.median(sensitivities):.0f}",
                f"{np.median(terms):.2f}",
                f"{terms[-1]:.1f}",
            ]
        )
    page.table(["start", "mean error", "median ss", "median sn", "largest sn"], rows)


def sweep(
    page: Page,
    chosen: argparse.Namespace,
    dense: nn.Module,
    found: dict[str, tuple[nn.Module, list[proxy.Factors]]],
    data: tuple[Tensor, Tensor],
    rates: tuple[float, ...],
    steps: int,
) -> None:
    """Every start at every rate: a table, the curves, the largest rate that trains."""
    starts = {"dense": dense, **{name: network for name, (network, _) in found.items()}}
    before = {name: untouched(network, data, steps) for name, network in starts.items()}
    page.figures["without fine-tuning"] = before
    rows: list[list[str]] = [["none", *(f"{loss:.3f}" for loss in before.values())]]
    lines = {}
    largest: dict[str, float] = {}
    for rate in rates:
        row = [f"{rate:g}"]
        for name, network in starts.items():
            losses = train(network, data, rate, steps)
            page.figures[f"{name}, rate {rate:g}"] = losses
            lines[f"{name}, {rate:g}"] = list(enumerate(smoothed(losses), 1))
            fine = trained(losses, steps, before[name])
            largest[name] = rate if fine else largest.get(name, 0.0)
            row.append(f"{smoothed(losses)[-1]:.3f}" + ("" if fine else " **does not train**"))
        rows.append(row)
        print(row, flush=True)
    page.text(
        f"Mean training loss of the last {_WINDOW} steps. A rate trains if that is at most a tenth above the loss of "
        "the network without fine-tuning on the same batches."
    )
    page.table(["learning rate", *starts], rows)
    page.text(
        "Largest rate that trains: "
        + ", ".join(f"{name} **{rate:g}**" if rate else f"{name} **none of these**" for name, rate in largest.items())
        + "."
    )
    target = (chosen.page.parent if chosen.page else PAGES) / "finetune_stability.svg"
    shown = {
        name: points
        for name, points in lines.items()
        if name.rpartition(" ")[2] in _SHOWN and not name.startswith("dense")
    }
    line_plot(
        target,
        shown,
        x_label="step",
        y_label=f"training loss, mean of {_WINDOW} steps",
        log_y=True,
        legend="center right",
    )
    page.text(f"![Training loss]({target.name})")


_SHOWN = ("0.0003", "0.003", "0.03")
"""Rates whose curves are drawn: all of them would not be read."""


if __name__ == "__main__":
    Path(PAGES).mkdir(exist_ok=True)
    main()
