from __future__ import annotations

import pytest

from service.search.derivation import space_of
from service.search.space import SearchSpace
from tests.service import synthetic


@pytest.fixture
def space() -> SearchSpace:
    return space_of(synthetic.profile(), ["cp3"])


@pytest.fixture
def wide() -> SearchSpace:
    """Twenty sites of fifteen ranks."""
    sites = [
        synthetic.site(f"layer{i}", 10_000 * (i + 1), 100 * (i + 1), points=15, steepness=0.5 + 0.4 * i)
        for i in range(20)
    ]
    return space_of(synthetic.profile(sites), ["cp3"])


@pytest.fixture
def mixed() -> SearchSpace:
    """Nine layers, all but the last with three methods, each of which is the best one for some layers.

    Tucker-2 is the dearest at the bottom of its grid, cp3 has the fewest macs there and svd the fewest params.
    """
    sites = []
    for i in range(9):
        name, macs, params = f"layer{i}", 10_000 * (i + 1), 900 * (i + 1)
        tucker2 = synthetic.site(name, macs, params, points=6, steepness=0.5 + 0.4 * i, method="tucker2")
        cp3 = synthetic.site(name, macs, params, points=11, steepness=1.2 + 0.2 * i)
        svd = synthetic.site(name, macs, params, points=8, steepness=3.5 - 0.2 * i, method="svd")
        for point in svd["grids"]["svd"]:
            point["params"] //= 4
        sites.append(synthetic.with_methods(tucker2, cp3, svd) if i < 8 else cp3)
    return space_of(synthetic.profile(sites), ["tucker2", "cp3", "svd"])
