"""Running a model in a mode that is not its own, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating", "training"]


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Every module of the models in eval mode inside, in its own former mode after.

    The flags are set directly: ``eval()`` is refused by exported modules and overridden by some models.
    """
    with _in_mode(models, mode=False):
        yield


@contextmanager
def training(*models: nn.Module) -> Iterator[None]:
    """As :func:`evaluating`, in training mode."""
    with _in_mode(models, mode=True):
        yield


@contextmanager
def _in_mode(models: tuple[nn.Module, ...], *, mode: bool) -> Iterator[None]:
    before = [(module, module.training) for model in models for module in model.modules()]
    for module, _ in before:
        module.training = mode
    try:
        yield
    finally:
        for module, former in before:
            module.training = former
