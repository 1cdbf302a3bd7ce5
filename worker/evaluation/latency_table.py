"""How long each layer takes alone, dense and at the ranks of its grids, at the input that it has in its network.

Layers of one geometry are timed once, and of a grid a few points, between which the times are interpolated in macs.
The factors have the right shapes and random entries: a product takes its time whatever it multiplies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import proxy
from proxy.factors import factor_shapes
from proxy.layers import factorized_layer
from proxy.ranks import parse_ranks
from worker.evaluation.layer_inputs import inputs_of, like
from worker.evaluation.timing import medians_ms

__all__ = ["LayerTimes", "layer_times"]

_TIMED = 5
"""Points of a grid that are timed."""
_ROUNDS = 15
_SECONDS = 0.15
"""A grid may take, about."""


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds of all calls of one layer in a forward pass of one image.

    Args:
        dense: as it is.
        grids: method → one time a grid point.
    """

    dense: float
    grids: Mapping[str, list[float]]


def layer_times(network: nn.Module, sites: Sequence[proxy.Site], inputs: Sequence[Tensor]) -> dict[str, LayerTimes]:
    """Site → its times; sites that are not called are left out.

    Args:
        network: in eval mode; run once.
        sites: its layers.
        inputs: arguments of its forward pass, a batch of one.
    """
    entering = inputs_of(network, [site.name for site in sites], inputs)
    alike: dict[object, LayerTimes] = {}
    found = {}
    for site in sites:
        if site.name in entering:
            layer, entered = network.get_submodule(site.name), entering[site.name].first
            key = _geometry(layer, site, entered)
            if key not in alike:
                alike[key] = _times(layer, site, like(entered, inputs[0].device))
            found[site.name] = alike[key]
    return found


def _geometry(layer: Any, site: proxy.Site, entering: Tensor) -> tuple[object, ...]:  # noqa: ANN401 - a convolution or linear layer
    """Whatever the time of a layer depends on; layers that stay dense have no grids to share."""
    told = ("stride", "padding", "dilation", "output_padding", "padding_mode")
    walk = tuple(getattr(layer, name, None) for name in told)
    grids = tuple((method, tuple(point.macs for point in points)) for method, points in site.grids.items())
    shapes = (site.kind, site.weight_shape, site.layout, layer.bias is None, tuple(entering.shape), entering.stride())
    return (*shapes, *walk, site.calls, grids)


def _times(layer: nn.Module, site: proxy.Site, entering: Tensor) -> LayerTimes:
    """Every grid in turns with the dense layer, so that grids timed one after the other compare."""
    dense = _medians([layer], entering)[0]
    grids = {}
    for method, points in site.grids.items():
        numbers = _chosen(len(points))
        chains = [_chain(layer, site, method, points[number].ranks) for number in numbers]
        beside, *timed = _medians([layer, *chains], entering)
        costs = [point.macs for point in points]
        times = _interpolated(costs, [costs[number] for number in numbers], [dense * own / beside for own in timed])
        grids[method] = [site.calls * time for time in times]
    return LayerTimes(site.calls * dense, grids)


def _medians(layers: Sequence[nn.Module], entering: Tensor) -> list[float]:
    calls = [partial(layer, entering) for layer in layers]
    return medians_ms(calls, entering.device, seconds=_SECONDS, rounds=_ROUNDS)


def _chosen(points: int) -> list[int]:
    """Numbers of the points to time: both ends, and evenly between."""
    steps = min(_TIMED, points) - 1
    return sorted({round(step * (points - 1) / max(steps, 1)) for step in range(steps + 1)})


def _chain(layer: Any, site: proxy.Site, method: str, ranks: Mapping[str, Any]) -> nn.Module:  # noqa: ANN401 - as above
    """The layer at these ranks, with random entries."""
    shape = site.layout.kernel_shape(site.weight_shape)
    parsed = parse_ranks(method, ranks, shape)
    generator = torch.Generator(layer.weight.device).manual_seed(0)
    drawn = {
        name: torch.rand(site.layout.groups * first, *rest, generator=generator, device=layer.weight.device)
        for name, (first, *rest) in factor_shapes(method, parsed, shape).items()
    }
    factors = proxy.Factors(method, parsed, site.weight_shape, drawn, 0.0, layout=site.layout)
    return factorized_layer(layer, factors)


def _interpolated(costs: Sequence[int], known: Sequence[int], times: Sequence[float]) -> list[float]:
    """Times at all costs, linear between the known ones; both ascending, with the same ends."""
    found = []
    right = 1
    for cost in costs:
        while right < len(known) - 1 and cost > known[right]:
            right += 1
        if len(known) == 1 or known[right] == known[right - 1]:
            found.append(times[0] if len(known) == 1 else times[right])
            continue
        share = (cost - known[right - 1]) / (known[right] - known[right - 1])
        found.append(times[right - 1] + share * (times[right] - times[right - 1]))
    return found
