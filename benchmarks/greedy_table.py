"""The independent table as it is usually made: the divergence measured with one layer factorised at a time."""

from __future__ import annotations

from cifar_networks import CifarNetwork

import proxy

__all__ = ["greedy_table"]

_PROBES = 4
"""Positions of each site, spread evenly."""
_CALIBRATED, _SEEN = 128, 256


def greedy_table(network: CifarNetwork) -> dict[str, list[float]]:
    """Site → the divergence at each of its probed positions, that site alone factorised and its last layer refitted."""
    space, images = network.space, list(network.images.calibration[:_CALIBRATED].split(64))
    table: dict[str, list[float]] = {}
    for site in space.sites:
        chain = site.positions[0][:-1]
        count = min(_PROBES, len(chain))
        table[site.name] = []
        for step in range(count):
            ranks = site.options[chain[step * (len(chain) - 1) // max(1, count - 1)]].ranks
            assert ranks is not None  # noqa: S101 - none of the chain is dense
            small = proxy.assemble(network.dense, {site.name: network.factors_of(site.name, ranks)})
            proxy.calibrate(small, images, reference=network.dense, level="reconstruction")
            table[site.name].append(network.score(small, _SEEN).kl or 0.0)
    return table
