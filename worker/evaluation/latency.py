"""How long one forward pass takes here: medians of many, taken in turns, so that other load hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor, nn

from ranksearch.contracts.profiles import Latency

__all__ = ["measure_latency", "medians_ms", "one_image"]

_SECONDS = 1.5
_ROUNDS = 100
_WARM_UP = 3


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
    timed = [network] if dense is None else [network, dense]
    own, *others = medians_ms([_pass(one, inputs) for one in timed], inputs[0].device, seconds=seconds)
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


def _pass(network: nn.Module, inputs: Sequence[Tensor]) -> Callable[[], object]:
    return lambda: network(*inputs)


@torch.inference_mode()
def medians_ms(
    calls: Sequence[Callable[[], object]], device: torch.device, *, seconds: float, rounds: int = _ROUNDS
) -> list[float]:
    """The median time of each call in milliseconds, taken in turns after a warm-up.

    Args:
        calls: what to time.
        device: whose queue is drained before and after each.
        seconds: no round begins after so long; the first one always runs.
        rounds: most rounds.
    """
    start = time.perf_counter()
    for call in calls:
        for _ in range(_WARM_UP):
            _timed(call, device)
            if time.perf_counter() - start > seconds / 2:
                break
    times: list[list[float]] = [[] for _ in calls]
    for number in range(rounds):
        if number and time.perf_counter() - start > seconds:
            break
        for call, own in zip(calls, times, strict=True):
            own.append(_timed(call, device))
    return [1000 * median(own) for own in times]


def _timed(call: Callable[[], object], device: torch.device) -> float:
    _drain(device)
    start = time.perf_counter()
    call()
    _drain(device)
    return time.perf_counter() - start


def _drain(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
