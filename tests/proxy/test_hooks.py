"""Hooks that a block needs are gone after it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from proxy.hooks import removed_after


def test_hooks_run_inside_and_are_gone_after():
    layer, seen = nn.Linear(2, 2), []
    with removed_after([layer.register_forward_hook(lambda *_: seen.append(1))]):
        layer(torch.zeros(1, 2))
    layer(torch.zeros(1, 2))
    assert seen == [1]
    assert not layer._forward_hooks


def test_hooks_are_gone_after_an_error():
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="stop"), removed_after([layer.register_forward_pre_hook(lambda *_: None)]):
        raise ValueError("stop")
    assert not layer._forward_pre_hooks
