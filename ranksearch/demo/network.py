"""The demonstration's network, images and training: small, but a real convolutional network on real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Digits", "DigitsNet", "accuracy", "load_digits", "train"]

_TRAINING, _VALIDATION = 900, 500


class Block(nn.Module):
    """Two 3×3 convolutions with BatchNorm around a residual sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: ``(N, C, H, W)`` to the same."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + x)


class DigitsNet(nn.Module):
    """A small residual network for 8×8 grey images in ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.stage1 = Block(32)
        self.down = nn.Sequential(nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.stage2 = nn.Sequential(Block(64), Block(64))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: images ``(N, 1, 8, 8)`` to logits ``(N, 10)``."""
        y = self.stage2(self.down(self.stage1(self.stem(x))))
        return cast("Tensor", self.head(y.mean((2, 3))))


@dataclass(frozen=True)
class Digits:
    """Images uint8 ``(N, 8, 8, 1)`` and labels int64 ``(N,)``, in three parts that share no image."""

    training: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    mean: tuple[float] = (0.3,)
    std: tuple[float] = (0.37,)

    def normalised(self, images: Tensor) -> Tensor:
        """Images as the network takes them: float32 ``(N, 1, 8, 8)``."""
        return (images.permute(0, 3, 1, 2).float() / 255 - self.mean[0]) / self.std[0]


def load_digits(seed: int = 0) -> Digits:
    """scikit-learn's handwritten digits (Alpaydin and Kaynak 1998): 1,797 images that the package ships."""
    from sklearn.datasets import load_digits as read  # noqa: PLC0415 - an extra, needed here only

    bunch = read()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8)[..., None]
    labels = torch.from_numpy(bunch.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    images, labels = images[order], labels[order]
    end = _TRAINING + _VALIDATION
    return Digits(
        training=(images[:_TRAINING], labels[:_TRAINING]),
        validation=(images[_TRAINING:end], labels[_TRAINING:end]),
        held_out=(images[end:], labels[end:]),
    )


def train(digits: Digits, epochs: int = 10, seed: int = 0, network: nn.Module | None = None) -> nn.Module:
    """A trained network in eval mode: SGD with one cycle, images shifted by up to a pixel.

    Args:
        digits: whose training part is learnt.
        epochs: passes over it.
        seed: of weights, order and shifts.
        network: another one than :class:`DigitsNet`.
    """
    torch.manual_seed(seed)
    net = (network or DigitsNet()).train()
    images, labels = digits.normalised(digits.training[0]), digits.training[1]
    batch = 64
    steps = epochs * (len(labels) // batch)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.1, total_steps=steps)
    for _ in range(epochs):
        for index in torch.randperm(len(labels))[: len(labels) // batch * batch].split(batch):  # type: ignore[no-untyped-call]  # torch leaves it untyped
            shifted = functional.pad(images[index], (1, 1, 1, 1), value=float(images.min()))
            top, left = (int(offset) for offset in torch.randint(0, 3, (2,)))
            loss = functional.cross_entropy(net(shifted[..., top : top + 8, left : left + 8]), labels[index])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, digits: Digits, part: tuple[Tensor, Tensor]) -> float:
    """Share of images that the network classifies correctly."""
    return float((net(digits.normalised(part[0])).argmax(1) == part[1]).float().mean())
