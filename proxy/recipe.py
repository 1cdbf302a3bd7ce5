"""How a compressed network is fine-tuned: the numbers, and the learning rate's one cycle."""

from __future__ import annotations

import math
from dataclasses import dataclass

from proxy.augmentation import AUGMENTATIONS
from proxy.errors import ProxyError, UnsupportedMethod

__all__ = ["Recipe", "one_cycle"]


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned. The defaults suit some hundred to some thousand steps from a calibrated network.

    Args:
        epochs: passes over the images; may be a fraction.
        batch_size: images a step.
        learning_rate: the highest of the one cycle, reached after a quarter of the steps.
        momentum: of SGD.
        weight_decay: of SGD, on all weights.
        distillation: α, the share of the dense network's answers in the loss; 1 where there are no labels.
        temperature: T, by which logits are divided before they are compared.
        ema_decay: of the moving average that is the result; 0: the last weights are. It grows to this from 0.1, as
            ``(1 + step) / (10 + step)``, so that a short training forgets where it began.
        augmentation: ``none``, ``flip`` or ``flip_crop``.
        gradient_norm: gradients are scaled down to at most this; None: never. Seen on a small network: at rates of 0.02
            and above, a chain of thin layers leaves the ground that it stands on without it.
        seed: of the order of the images and how they are altered.
    """

    epochs: float = 2.0
    batch_size: int = 128
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    distillation: float = 0.5
    temperature: float = 1.0
    ema_decay: float = 0.99
    augmentation: str = "flip_crop"
    gradient_norm: float | None = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        bounds: dict[str, tuple[float, float]] = {
            "epochs": (0, math.inf),
            "batch_size": (0, math.inf),
            "learning_rate": (0, math.inf),
            "temperature": (0, math.inf),
        }
        for name, (above, below) in bounds.items():
            if not above < getattr(self, name) < below:
                raise ProxyError(f"{name} must be positive", got=getattr(self, name))
        for name in ("distillation", "ema_decay", "momentum"):
            most = 1.0 if name == "distillation" else math.nextafter(1.0, 0.0)
            if not 0 <= getattr(self, name) <= most:
                raise ProxyError(f"{name} is a share", got=getattr(self, name), expected=f"0 to {most:.0f}")
        if self.augmentation not in AUGMENTATIONS:
            raise UnsupportedMethod(
                "there is no such augmentation", got=repr(self.augmentation), expected=str(AUGMENTATIONS)
            )

    def steps(self, images: int) -> int:
        """So many steps a training on so many images takes; at least one."""
        return max(1, round(self.epochs * images / min(self.batch_size, images)))


def one_cycle(step: int, total: int) -> float:
    """The share of the highest learning rate at ``step`` (from 0) of ``total``: up and down by half cosines.

    From 1/25 up to 1 in the first quarter, then down to 1/10,000 of where it began.
    """
    start, end, rise = 1 / 25, 1 / 250_000, max(1.0, 0.25 * total)
    if step < rise:
        return start + (1 - start) * (1 - math.cos(math.pi * step / rise)) / 2
    left = (step - rise) / max(1.0, total - 1 - rise)
    return end + (1 - end) * (1 + math.cos(math.pi * min(1.0, left))) / 2
