"""How does our fine-tuning compare with a plain loop: as fast, and to what accuracy?

The plain loop follows the same recipe with what torch has for each part of it: loss, optimizer, learning rates,
clipped gradients, flips and crops, and a moving average by ``AveragedModel``. Beside it a bare one, which gets batches
that were altered before, and neither clips nor averages. All train copies of one compressed network in turns.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable

import torch
from page import Page, device_option, options, shared_data
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import proxy
from proxy.augmentation import altered, epoch_order, step_generator
from proxy.recipe import one_cycle
from ranksearch.contracts.finetuning import RecipeRequest

QUESTION = __doc__.splitlines()[0]
FRACTION = 0.33
CALIBRATION = 512
REPORTED = slice(5000, None)


def main() -> None:
    """Measure and write the page."""
    parser = options(QUESTION)
    shared_data(parser)
    parser.add_argument("--images", type=int, default=10_000, help="trained on (default: %(default)s)")
    parser.add_argument("--epochs", type=float, default=2.0, help="of the training to the end (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="in which the loops take turns (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="of a round (default: %(default)s)")
    device_option(parser)
    chosen = parser.parse_args()
    sys.path.insert(0, str(chosen.data))
    import cifar  # noqa: PLC0415 - lies in the folder that the user named

    page = Page("Fine-tuning against a plain loop", QUESTION)
    if chosen.quick:
        chosen.images, chosen.rounds, chosen.steps = 2_000, 2, 8
    depths, rounds, steps = (20,) if chosen.quick else (20, 56), chosen.rounds, chosen.steps
    images, labels = _loaded(cifar, "train", chosen.images)
    page.text(
        f"CIFAR-10 on {chosen.device}, cp3 at {FRACTION:.0%} of each layer's MACs, calibrated on {CALIBRATION} images"
        f" (reconstruction). Seconds of {steps} steps of {proxy.Recipe().batch_size} images, medians of {rounds}"
        " alternating rounds."
    )
    speeds: list[tuple[str, ...]] = []
    trained = []
    for depth in depths:
        dense = cifar.resnet(depth).to(chosen.device)
        small = compressed(dense, images[:CALIBRATION].to(chosen.device))
        bare, plain, ours = in_turns(small, dense, images, labels, rounds, steps)
        ratios = [statistics.median(other / own for other, own in zip(x, ours, strict=True)) for x in (plain, bare)]
        times = (f"{statistics.median(x):.2f}" for x in (bare, plain, ours))
        speeds.append((f"ResNet-{depth}", *times, *(f"{ratio:.2f}" for ratio in ratios)))
        page.figures[f"resnet{depth}_throughput"], page.figures[f"resnet{depth}_against_bare"] = ratios
        test = [part[REPORTED] for part in _loaded(cifar, "test", None)]
        told = to_the_end(small, dense, images, labels, test, chosen.epochs)
        trained.append((f"ResNet-{depth}", f"{len(images):,}", f"{chosen.epochs:g}", *told))
    headings = ["network", "bare loop, s", "plain loop, s", "ours, s", "**throughput, ours / plain**", "ours / bare"]
    page.table(headings, speeds)
    page.text(
        "Goal: at least 0.9 of the plain loop, which follows the same recipe. The bare one gets images that were"
        " altered before, and neither clips gradients nor averages weights."
    )
    page.table(["network", "images", "epochs", "dense, %", "before, %", "fine-tuned, %", "seconds"], trained)
    page.text("Per cent right on `test[5000:]`; before: after calibration.")
    page.write("finetuning", chosen, ["torch"])


def _loaded(cifar: object, split: str, count: int | None) -> tuple[Tensor, Tensor]:
    pixels, labels = cifar.images(split, count)  # type: ignore[attr-defined]  # a module from a data folder
    return cifar.preprocess(pixels).contiguous(memory_format=torch.channels_last), labels  # type: ignore[attr-defined]  # as above


def compressed(dense: nn.Module, images: Tensor) -> nn.Module:
    """At the same share of MACs in every layer but the first and the last, calibrated."""
    sites = [site for site in proxy.find_sites(dense, images[:2]) if "cp3" in site.grids and site.name != "conv1"]
    nearest = {site.name: min(site.grids["cp3"], key=lambda p: abs(p.macs - FRACTION * site.macs)) for site in sites}
    small = proxy.compress(dense, {name: {"method": "cp3", **point.ranks} for name, point in nearest.items()})
    proxy.calibrate(small, [images], reference=dense, level="reconstruction")
    return small


def in_turns(
    small: nn.Module, dense: nn.Module, images: Tensor, labels: Tensor, rounds: int, steps: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of the bare loop, of the plain one and of ours, round by round, after one that warms them."""
    bare, plain, ours = [], [], []
    recipe = proxy.Recipe()
    for _ in range(1 + rounds):
        given = batches(images, labels, recipe, steps)
        bare.append(_seconds(PlainLoop(copy.deepcopy(small), dense, given, recipe, bare=True).run))
        given = [(images[chosen], labels[chosen]) for chosen in _order(images, recipe, steps)]
        plain.append(_seconds(PlainLoop(copy.deepcopy(small), dense, given, recipe, bare=False).run))
        tuning = proxy.FineTuning(copy.deepcopy(small), images, labels, reference=dense, recipe=recipe)
        ours.append(_seconds(lambda tuning=tuning: list(tuning.run(steps))))
    return bare[1:], plain[1:], ours[1:]


def _order(images: Tensor, recipe: proxy.Recipe, steps: int) -> tuple[Tensor, ...]:
    return epoch_order(len(images), 0, recipe.seed).split(recipe.batch_size)[:steps]


def batches(images: Tensor, labels: Tensor, recipe: proxy.Recipe, steps: int) -> list[tuple[Tensor, Tensor]]:
    """What our fine-tuning makes of the first steps' images."""
    return [
        (altered(images[chosen], recipe.augmentation, step_generator(recipe.seed, step)), labels[chosen])
        for step, chosen in enumerate(_order(images, recipe, steps))
    ]


class PlainLoop:
    """What one writes by hand."""

    def __init__(
        self,
        network: nn.Module,
        dense: nn.Module,
        given: list[tuple[Tensor, Tensor]],
        recipe: proxy.Recipe,
        *,
        bare: bool,
    ) -> None:
        self._bare = bare
        self._network, self._dense, self._batches, self._recipe = network.train(), dense.eval(), given, recipe
        self._device = next(network.parameters()).device

    def run(self) -> None:
        """All the batches."""
        parameters = list(self._network.parameters())
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)
        following = get_ema_multi_avg_fn(self._recipe.ema_decay)  # type: ignore[no-untyped-call]  # untyped in torch
        average = None if self._bare else AveragedModel(self._network, multi_avg_fn=following, use_buffers=True)
        precision = torch.bfloat16 if self._device.type == "cuda" else None
        for step, batch in enumerate(self._batches):
            optimizer.param_groups[0]["lr"] = self._recipe.learning_rate * one_cycle(step, len(self._batches))
            images, labels = (part.to(self._device) for part in batch)
            images = images if self._bare else flipped_and_cropped(images)
            with torch.autocast(self._device.type, precision, enabled=precision is not None):
                with torch.no_grad():
                    aim = self._dense(images).float().log_softmax(1)
                logits = self._network(images).float()
                apart = functional.kl_div(logits.log_softmax(1), aim, reduction="batchmean", log_target=True)
                loss = 0.5 * functional.cross_entropy(logits, labels) + 0.5 * apart
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            if average is not None:
                nn.utils.clip_grad_norm_(parameters, self._recipe.gradient_norm or 1.0)
            optimizer.step()
            if average is not None:
                average.update_parameters(self._network)


def flipped_and_cropped(images: Tensor, frame: int = 4) -> Tensor:
    """Each by itself, as one writes it by hand: a flip in two, and a crop from a frame of zeros."""
    images = torch.where(torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5, images.flip(-1), images)  # noqa: PLR2004 - in two
    framed = functional.pad(images, (frame,) * 4)
    tops, lefts = torch.randint(0, 2 * frame + 1, (2, len(images))).tolist()
    height, width = images.shape[2:]
    crops = [
        image[:, top : top + height, left : left + width] for image, top, left in zip(framed, tops, lefts, strict=True)
    ]
    return torch.stack(crops).contiguous(memory_format=torch.channels_last)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def to_the_end(
    small: nn.Module, dense: nn.Module, images: Tensor, labels: Tensor, test: list[Tensor], epochs: float
) -> tuple[str, ...]:
    """Dense, before, after, in per cent; and seconds."""
    validation = list(zip(*(part.split(250) for part in test), strict=True))
    start = time.perf_counter()
    recipe = proxy.Recipe(**RecipeRequest(epochs=epochs).completed(len(images), labelled=True).model_dump())
    tuning = proxy.FineTuning(copy.deepcopy(small), images, labels, reference=dense, recipe=recipe)
    for told in tuning.run(every=20):
        print(f"{told.steps}/{tuning.total} loss {told.loss:.3f}", file=sys.stderr)
    seconds = time.perf_counter() - start
    networks = (dense, small, tuning.result())
    return (*(f"{100 * proxy.score(network, validation).value:.1f}" for network in networks), f"{seconds:.0f}")


if __name__ == "__main__":
    main()
