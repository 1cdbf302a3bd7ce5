"""Which factors are worth having from the fleet, and worth giving to it.

A factor is fetched in one round trip of a few milliseconds; decomposing takes longer the larger the weight is. Seen
on one core (cp3, tucker2 and spatial_svd at half the channels, 3×3): 64² channels 10 to 50 ms, 128² 20 to 90 ms, 256²
180 to 250 ms, 512² 1.6 to 2.0 s. So only factors of weights of 2¹⁸ numbers and more travel; those of smaller ones are
computed at once and together.

What travels is what trials use. An inspection computes hundreds of factors, of which a search will look at some: they
stay on the disk of the machine that made them, which offers each one to the fleet when it first uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

import proxy
from proxy.layout import Layout
from worker.evaluation.profile import SOLVER
from worker.evaluation.session import Session

__all__ = ["fetch_shared"]

_NUMBERS = 1 << 18

Choice = Mapping[str, Any]
"""A layer's method and ranks, as :func:`proxy.factorize` takes them."""


def fetch_shared(
    session: Session, network: nn.Module, choices: Iterable[tuple[str, Choice]], hashes: Mapping[str, str]
) -> None:
    """Look elsewhere for the factors of these layers, where that pays and they are not here; and note their use.

    Args:
        session: whose factor cache they are for.
        network: the dense network.
        choices: layer name and choice, as often as wanted. What cannot be right is left to the decomposition to refuse.
        hashes: layer name → weight hash.
    """
    keys = list(dict.fromkeys(_keys(network, choices, hashes)))
    session.factors.fetch_missing(keys)
    session.used.extend(key for key in keys if key not in session.used)


def _keys(network: nn.Module, choices: Iterable[tuple[str, Choice]], hashes: Mapping[str, str]) -> Iterator[str]:
    for name, choice in choices:
        with suppress(AttributeError, KeyError, proxy.ProxyError):
            layer = network.get_submodule(name)
            weight = layer.weight
            if not isinstance(weight, Tensor) or weight.numel() < _NUMBERS or choice["method"] == "dense":
                continue
            ranks = {word: value for word, value in choice.items() if word != "method"}
            yield proxy.factor_key(
                hashes[name], choice["method"], ranks, tuple(weight.shape), layout=Layout.of(layer), solver=SOLVER
            )
