"""Altering images for a training, the same way every time it is asked for.

What becomes of a batch depends on the seed and on the step alone, so a training that is taken up again in the middle
sees the images that it would have seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proxy.errors import ShapeMismatch, UnsupportedMethod

__all__ = ["AUGMENTATIONS", "altered", "epoch_order", "step_generator"]

AUGMENTATIONS = ("none", "flip", "flip_crop")
_IMAGE_AXES = 4  # N, C, H, W
_SMALL = 64
"""Up to this side a crop moves by an eighth of it, as is usual for 32×32; larger images by a sixteenth."""


def epoch_order(count: int, epoch: int, seed: int) -> Tensor:
    """The order ``(count,)`` in which an epoch sees the images."""
    return torch.randperm(count, generator=_generator(seed, 0, epoch))


def step_generator(seed: int, step: int) -> torch.Generator:
    """Of the random numbers of one step."""
    return _generator(seed, 1, step)


def altered(images: Tensor, augmentation: str, generator: torch.Generator) -> Tensor:
    """Images, each altered by itself.

    Args:
        images: ``(N, C, H, W)`` of any type; for ``none`` of any shape.
        augmentation: ``none``; ``flip``: every second one mirrored left to right; ``flip_crop``: that, and a crop of
            the image's own size from a frame of zeros around it.
        generator: on the CPU, whatever device the images are on.

    Raises:
        ShapeMismatch: these are no images.
        UnsupportedMethod: there is no such augmentation.
    """
    if augmentation not in AUGMENTATIONS:
        raise UnsupportedMethod("there is no such augmentation", got=repr(augmentation), expected=str(AUGMENTATIONS))
    if augmentation == "none":
        return images
    if images.ndim != _IMAGE_AXES:
        raise ShapeMismatch(
            "only images can be flipped and cropped",
            got=tuple(images.shape),
            expected="(N, C, H, W)",
            mend='augmentation="none"',
        )
    flips = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)  # noqa: PLR2004 - every second one
    images = torch.where(flips[:, None, None, None], images.flip(-1), images)
    return _cropped(images, generator) if augmentation == "flip_crop" else images


def _cropped(images: Tensor, generator: torch.Generator) -> Tensor:
    """One gather for all: row ``i`` of a crop is row ``i + top`` of the frame, or zero where that is outside."""
    height, width = images.shape[2:]
    down, right = _reach(height), _reach(width)
    corners = torch.stack(
        [torch.randint(-reach, reach + 1, (len(images),), generator=generator) for reach in (down, right)]
    ).to(images.device)
    rows = corners[0, :, None] + torch.arange(height, device=images.device)
    columns = corners[1, :, None] + torch.arange(width, device=images.device)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    which = torch.arange(len(images), device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[
        which, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    return (moved * inside[..., None]).permute(0, 3, 1, 2)


def _reach(side: int) -> int:
    return max(1, side // 8) if side <= _SMALL else side // 16


def _generator(seed: int, stream: int, at: int) -> torch.Generator:
    """Its own for every (seed, stream, at): mixed by SplitMix64, whose outputs for neighbours are unrelated."""
    mixed = (seed * 2 + stream) & _MASK
    for number in (mixed, at):
        mixed = _split_mix(mixed ^ _split_mix(number))
    return torch.Generator().manual_seed(mixed >> 1)


_MASK = 0xFFFF_FFFF_FFFF_FFFF


def _split_mix(number: int) -> int:
    """Steele, Lea & Flood, Fast splittable pseudorandom number generators, OOPSLA 2014, figure 17."""
    number = (number + 0x9E37_79B9_7F4A_7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return number ^ (number >> 31)
