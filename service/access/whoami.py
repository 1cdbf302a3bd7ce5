"""Who the caller is, in words."""

from __future__ import annotations

from ranksearch.contracts.access import WhoAmI
from service.access.principal import Principal
from service.storage.clock import moment
from service.storage.engine import Database
from service.storage.tables import ProjectRow, TokenRow, UserRow

__all__ = ["who_is"]


def who_is(database: Database, caller: Principal) -> WhoAmI:
    """The names of the caller and its project, and what its token allows."""
    with database.reading() as session:
        token = None if caller.token is None else session.get(TokenRow, caller.token)
        return WhoAmI(
            user=session.get_one(UserRow, caller.user).name,
            project=session.get_one(ProjectRow, caller.project).name,
            scopes=sorted(caller.scopes),
            token=caller.token,
            expires_at=None if token is None else moment(token.expires_at),
        )
