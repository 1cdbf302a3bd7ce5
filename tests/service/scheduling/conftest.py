from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import update

from service.storage.tables import JobRow
from tests.service.conftest import DIALECTS, Running


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Everything here is to hold on both."""
    return request.param


@pytest.fixture
def let_leases_expire(service: Running) -> Callable[[], None]:
    """Every lease that is held expired a second ago."""

    def expired() -> None:
        with service.backend.writing() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.state == "leased")
                .values(lease_expires_at=JobRow.lease_expires_at - service.settings.lease_seconds - 1)
            )

    return expired
