"""What the ranks cost that rules on singular values choose, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

import proxy
from ranksearch.contracts.profiles import Rule

__all__ = ["macs_by_rule"]


def macs_by_rule(network: nn.Module, sites: Sequence[proxy.Site]) -> dict[str, dict[Rule, list[int]]]:
    """Site → rule → macs at each step, never falling and never above the dense layer's; only sites with grids."""
    return {site.name: _steps(network.get_submodule(site.name), site) for site in sites if site.grids}


def _steps(layer: nn.Module, site: proxy.Site) -> dict[Rule, list[int]]:
    weight = layer.weight
    assert isinstance(weight, Tensor)  # noqa: S101 - sites are convolutions and linear layers
    method, rules = proxy.rank_rules(weight, layout=site.layout)
    ranks = cast("Mapping[Rule, list[dict[str, object]]]", rules)
    return {rule: [min(site.point(method, step).macs, site.macs) for step in steps] for rule, steps in ranks.items()}
