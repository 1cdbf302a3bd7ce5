"""Which label-free proxy orders compressed segmentation networks as their accuracy does, and what does a study find?"""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from page import Page, options
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional

import proxy
import ranksearch
from ranksearch.local import LocalDeployment

CLASSES = 4
_SIZE, _SHAPE = 48, 14
_CALIBRATION, _VALIDATION, _TEST = 128, 192, 384
_BUDGET = 0.33
_SHARES = (0.05, 0.3)
"""Down to where a network is of no use any more: between good ones there is little to tell."""


class UNet(nn.Module):
    """Two steps down and up, with a second, coarse answer beside the fine one."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.one, self.two, self.three = _block(3, width), _block(width, 2 * width), _block(2 * width, 4 * width)
        self.up_two = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.back_two = _block(4 * width, 2 * width)
        self.up_one = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.back_one = _block(2 * width, width)
        self.out, self.aux = nn.Conv2d(width, CLASSES, 1), nn.Conv2d(4 * width, CLASSES, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Scores of the classes at every pixel, and at every sixteenth."""
        one = self.one(image)
        two = self.two(functional.max_pool2d(one, 2))
        three = self.three(functional.max_pool2d(two, 2))
        two = self.back_two(torch.cat([two, self.up_two(three)], 1))
        return {
            "out": self.out(self.back_one(torch.cat([one, self.up_one(two)], 1))),
            "aux": self.aux(three),
        }


def _block(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for given in (inside, outside):
        layers += [nn.Conv2d(given, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy images of a square, a disc and a striped square, which hide each other; and what is where."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.5 * torch.randn(count, 3, _SIZE, _SIZE, generator=generator)
    places = torch.zeros(count, _SIZE, _SIZE, dtype=torch.int64)
    rows, columns = torch.meshgrid(torch.arange(_SIZE), torch.arange(_SIZE), indexing="ij")
    for at in range(count):
        for kind in (torch.randperm(CLASSES - 1, generator=generator) + 1).tolist():
            top, left = torch.randint(0, _SIZE - _SHAPE, (2,), generator=generator).tolist()
            inside = (rows - top).clamp(0, _SHAPE) == rows - top
            inside &= (columns - left).clamp(0, _SHAPE) == columns - left
            if kind == 2:  # noqa: PLR2004 - the disc
                inside = (rows - top - _SHAPE / 2).square() + (columns - left - _SHAPE / 2).square() < _SHAPE**2 / 4
            shade = torch.randn(3, generator=generator).view(3, 1, 1)
            pattern = torch.where((rows + columns) % 4 < 2, 1.0, -1.0) if kind == 3 else torch.ones(_SIZE, _SIZE)  # noqa: PLR2004 - stripes
            images[at] = torch.where(inside, images[at] + shade * pattern, images[at])
            places[at][inside] = kind
    return images, places


def trained(steps: int) -> UNet:
    """On as many scenes as it sees, by Adam."""
    torch.manual_seed(0)
    network = UNet()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    images, places = scenes(2048, seed=1)
    for step in range(steps):
        chosen = torch.randint(0, len(images), (32,), generator=torch.Generator().manual_seed(step))
        answer, wanted = network(images[chosen]), places[chosen]
        coarse = wanted[:, 2::4, 2::4]
        loss = functional.cross_entropy(answer["out"], wanted) + 0.4 * functional.cross_entropy(answer["aux"], coarse)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def quality(network: nn.Module, images: Tensor, places: Tensor) -> tuple[float, float]:
    """The share of right pixels, and the mean over the classes of intersection over union."""
    found = torch.cat([network(batch)["out"].argmax(1) for batch in images.split(64)])
    unions = [((found == kind) | (places == kind)).sum() for kind in range(CLASSES)]
    both = [((found == kind) & (places == kind)).sum() for kind in range(CLASSES)]
    shares = [float(one / union) for one, union in zip(both, unions, strict=True)]
    return float((found == places).double().mean()), sum(shares) / len(shares)


@dataclass(frozen=True)
class Measured:
    """One rank vector: its proxies, and what it does to the task."""

    proxies: dict[str, float]
    accuracy: float
    iou: float


def measured(
    dense: UNet, ranks: dict[str, dict[str, Any]], calibration: Tensor, validation: Tensor, test: tuple[Tensor, Tensor]
) -> Measured:
    """Compress, calibrate as studies do, and measure."""
    small = proxy.compress(dense, ranks)
    proxy.calibrate(small, calibration.split(64), reference=dense, level="reconstruction")
    proxies = {
        metric: proxy.score(small, validation.split(64), reference=dense, metric=metric).value
        for metric in ("outputs", "kl", "features")
    }
    return Measured(proxies, *quality(small, *test))


def random_ranks(sites: list[proxy.Site], seed: int) -> dict[str, dict[str, Any]]:
    """A share of the macs within ``_SHARES`` for all layers, which each misses by a factor of two at most."""
    chance = random.Random(seed)  # noqa: S311 - a search, no secret
    share = chance.uniform(*_SHARES)
    chosen: dict[str, dict[str, Any]] = {}
    for site in sites:
        method = "cp3" if "cp3" in site.grids else "svd"
        wanted = share * 2 ** chance.uniform(-1, 1) * site.macs
        points = [point for point in site.grids[method] if point.macs <= wanted] or site.grids[method][:1]
        chosen[site.name] = {"method": method, **points[-1].ranks}
    return chosen


def main() -> None:
    """Measure and write the page."""
    chosen = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    dense = trained(100 if chosen.quick else 240)
    calibration, _ = scenes(_CALIBRATION, seed=2)
    validation, _ = scenes(_VALIDATION, seed=3)
    test = scenes(_TEST, seed=4)
    accuracy, iou = quality(dense, *test)
    total = proxy.cost(dense, calibration[:1]).macs
    sites = [site for site in proxy.find_sites(dense, calibration[:1]) if site.grids.keys() & {"cp3", "svd"}]
    drawn = [
        measured(dense, random_ranks(sites, seed), calibration, validation, test)
        for seed in range(4 if chosen.quick else 24)
    ]
    least, most = min(one.iou for one in drawn), max(one.iou for one in drawn)
    page = Page("Segmentation without labels", (__doc__ or "").strip())
    page.text(
        f"A U-Net of {total:,} macs that answers a dict of two maps of scores ({CLASSES} classes), trained on synthetic"
        f" scenes of {_SIZE} × {_SIZE} pixels to {accuracy:.2%} of right pixels and a mean intersection over union"
        f" (IoU) of {iou:.3f} on {_TEST} scenes. {len(drawn)} random rank vectors, of {_SHARES[0]:.0%} to"
        f" {_SHARES[1]:.0%} of every layer's macs and up to twice or half of that, refitted on {_CALIBRATION} scenes,"
        f" measured by each proxy on {_VALIDATION} others, without labels; their IoU is {least:.3f}"
        f" to {most:.3f}. Kendall's τ with the loss of IoU and of right pixels on the test"
        " scenes. 1: the same order; 0: none."
    )
    rows = []
    for metric in ("outputs", "kl", "features"):
        values = [one.proxies[metric] for one in drawn]
        taus = [
            float(kendalltau(values, [-getattr(one, word) for one in drawn]).statistic) for word in ("iou", "accuracy")
        ]
        page.figures[metric] = {"tau_iou": taus[0], "tau_accuracy": taus[1]}
        rows.append([f"`{metric}`", f"{taus[0]:.2f}", f"{taus[1]:.2f}"])
    page.table(["proxy", "τ with IoU", "τ with right pixels"], rows)
    _study(page, dense, calibration, validation, test, trials=4 if chosen.quick else 12)
    page.text(
        "One network and one kind of synthetic scene, on a machine that did other things as well: times are left out."
    )
    page.write("segmentation", chosen, ["torch", "optuna"])


def _study(
    page: Page, dense: UNet, calibration: Tensor, validation: Tensor, test: tuple[Tensor, Tensor], *, trials: int
) -> None:
    """A whole study at a real service, by its own choice of a metric."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = ranksearch.pack(dense, calibration[:2], folder / "model.safetensors")
        images = torch.cat([calibration, validation])
        data = ranksearch.pack_data(images, None, folder / "data.safetensors", mean=0, std=1, layout="NCHW")
        with LocalDeployment(folder / "service", workers=1) as local, local.client() as client:
            study = client.submit(model, data, budget=f"{_BUDGET:.0%}", n_trials=trials)
            study.wait(timeout=3600)
            best, told = study.best(), study.status()
            small = ranksearch.load(study.pull(folder / "small.safetensors", timeout=600))
    accuracy, iou = quality(small, *test)
    page.text(
        f"A study of {told.progress.n_trials} trials ({told.progress.pruned} stopped early) at {_BUDGET:.0%} of the "
        f"macs, `{best.metric}` by default, no labels:"
    )
    dense_accuracy, dense_iou = quality(dense, *test)
    page.table(
        ["network", "macs", "params", "outputs", "right pixels", "mean IoU"],
        [
            ["dense", "100 %", "100 %", "0", f"{dense_accuracy:.2%}", f"{dense_iou:.3f}"],
            [
                "the study's best",
                f"{best.macs.fraction:.1%}",
                f"{best.params.fraction:.1%}",
                f"{best.value:.4f}",
                f"{accuracy:.2%}",
                f"{iou:.3f}",
            ],
        ],
    )
    page.figures["study"] = {"outputs": best.value, "accuracy": accuracy, "iou": iou, "macs": best.macs.fraction}


if __name__ == "__main__":
    main()
