from __future__ import annotations

import pytest

from service.search.space import SearchSpace, space_of
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
