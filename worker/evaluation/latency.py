"""How long one forward pass takes here, a batch of one: what trials and profiles tell of a network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ranksearch.contracts.profiles import Latency
from worker.evaluation.timing import medians_ms

__all__ = ["measure_latency", "one_image"]

_SECONDS = 1.5
_ROUNDS = 100


def measure_latency(
    network: nn.Module,
    inputs: Sequence[Tensor],
    *,
    device_name: str,
    dense: nn.Module | None = None,
    seconds: float = _SECONDS,
) -> Latency:
    """The latency of a network in eval mode at a batch of one.

    Args:
        network: dense or compressed.
        inputs: arguments of its forward pass, a batch of one, on its device and in the memory format wanted.
        device_name: as results name it.
        dense: measured in turns with it, if given.
        seconds: how long it may take, about; slow networks are timed once at least.
    """
    calls = [partial(one, *inputs) for one in ([network] if dense is None else [network, dense])]
    own, *others = medians_ms(calls, inputs[0].device, seconds=seconds, rounds=_ROUNDS)
    return Latency(
        latency_ms=own,
        dense_latency_ms=others[0] if others else None,
        device=device_name,
        dtype=str(inputs[0].dtype).removeprefix("torch."),
        batch=1,
        backend="torch",
    )


def one_image(batch: Tensor) -> Tensor:
    """The first of a batch, laid out as the batches of a session are."""
    image = batch[:1].contiguous()
    if image.device.type == "cpu" and image.ndim == 4:  # noqa: PLR2004 - (B, C, H, W)
        return image.contiguous(memory_format=torch.channels_last)
    return image
