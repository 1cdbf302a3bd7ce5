from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from ranksearch.contracts.errors import UnavailableError
from ranksearch.contracts.resources import Health
from service.api.dependencies import TheBackend
from service.api.problems import PROBLEMS
from service.storage.tables import StudyRow
from service.version import VERSION

__all__ = ["router"]

router = APIRouter(tags=["health"], responses=PROBLEMS)


@router.get("/healthz")
async def healthz() -> Health:
    """The process is alive."""
    return Health(version=VERSION)


@router.get("/readyz")
def readyz(backend: TheBackend) -> Health:
    """The database answers, too."""
    try:
        with backend.reading() as session:
            session.execute(select(StudyRow.id).limit(1))
    except SQLAlchemyError as problem:
        raise UnavailableError(
            "service_busy", "the database does not answer", mend="look into the service's log"
        ) from problem
    return Health(version=VERSION)
