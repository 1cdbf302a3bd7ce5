"""A compressed network calibrated on a session's images, whether or not a batch fits into memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

import proxy
from ranksearch.contracts.goals import Level
from worker.evaluation.images import Images

__all__ = ["Reference", "calibrate"]

Reference = nn.Module | proxy.OutputMoments | proxy.DenseFeatures


def calibrate(
    small: nn.Module, images: Images, reference: Reference, level: Level, device: torch.device, *, sweeps: int = 0
) -> None:
    """Calibrate in place; see :func:`proxy.calibrate`.

    Args:
        small: the compressed network, on its device.
        images: of the calibration.
        reference: what :meth:`Session.calibration_reference` gives for them.
        level: of the calibration.
        device: of the network.
        sweeps: of the calibration.
    """
    if not images.are_cut:
        proxy.calibrate(small, images.only(), reference=reference, level=level, sweeps=sweeps)
    elif level == "reconstruction":
        # The refit sums over images, so it takes them in pieces, and none of the dense network's features at once.
        proxy.calibrate(small, images.pieces(), reference=reference, level=level, memory=0, sweeps=sweeps)
    else:
        _on_the_cpu(small, images, reference, level)
        small.to(device)


def _on_the_cpu(small: nn.Module, images: Images, reference: Reference, level: Level) -> None:
    """A BatchNorm in training mode normalises by the whole batch: that cannot be cut into pieces."""
    if isinstance(reference, Mapping):
        reference = {name: (mean.cpu(), deviation.cpu()) for name, (mean, deviation) in reference.items()}
    proxy.calibrate(small.cpu(), (batch.to("cpu") for batch in images.only()), reference=reference, level=level)
