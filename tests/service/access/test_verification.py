from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import delete, event, select, update

from ranksearch.contracts.errors import AccessError, ConflictError
from service.access import verification
from service.access.bootstrap import BOOTSTRAP_TOKEN, admit_bootstrap_token
from service.access.verification import Verifier
from service.storage.clock import database_now
from service.storage.tables import MemberRow, TokenRow, UserRow
from tests.service.access_stories import bearer, token_for
from tests.service.conftest import TOKEN


@pytest.fixture
def verifier(service):
    return Verifier(service.backend.database)


@pytest.fixture
def queries(service):
    """The statements that the database was asked to execute."""
    seen = []
    event.listen(service.backend.database.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    return seen


def code(refused):
    with pytest.raises(AccessError) as caught:
        refused()
    return caught.value.code


def change(service, table, **values):
    with service.backend.writing() as session:
        session.execute(update(table).values(**values))


def test_a_token_opens_for_its_user_and_project(service, verifier):
    caller = verifier.token(token_for(service, "ada", "vision", "read")).caller
    assert (caller.user, caller.project, caller.scopes) == ("usr_ada", "prj_vision", {"read"})


def test_the_services_own_token_is_the_local_users_with_all_scopes(verifier):
    caller = verifier.token(TOKEN).caller
    assert (caller.user, caller.project, caller.token) == ("usr_local", "prj_default", BOOTSTRAP_TOKEN)
    assert caller.scopes == {"read", "submit", "work", "admin"}


def test_an_unknown_token_opens_nothing(verifier):
    assert code(lambda: verifier.token("rs_nothing")) == "token_invalid"


def test_a_hash_is_no_token(service, verifier):
    token_for(service, "ada", "vision", token="tok_a")  # noqa: S106 - an id
    with service.backend.reading() as session:
        kept = session.scalars(select(TokenRow.hash).where(TokenRow.id == "tok_a")).one()
    assert code(lambda: verifier.token(kept)) == "token_invalid"


def test_an_expired_token_opens_nothing(service, verifier):
    assert code(lambda: verifier.token(token_for(service, "ada", "vision", lives=-1))) == "token_expired"


@pytest.mark.parametrize(("later", "remembered"), [(20, True), (31, False)])
def test_a_token_is_not_remembered_beyond_its_expiry(service, monkeypatch, later, remembered):
    verifier = Verifier(service.backend.database, fresh_seconds=3600)
    secret = token_for(service, "ada", "vision", lives=30)
    verifier.token(secret)
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + later)
    assert (verifier.remembered(secret) is not None) is remembered


def test_a_token_is_looked_up_once_a_second_at_most(service, queries):
    verifier = Verifier(service.backend.database, fresh_seconds=3600)
    secret = token_for(service, "ada", "vision")
    queries.clear()
    for _ in range(50):
        verifier.token(secret)
    assert len(queries) <= 2  # one SELECT, and on SQLite its BEGIN


@pytest.mark.parametrize(
    ("table", "values"), [(TokenRow, {"revoked_at": database_now()}), (UserRow, {"disabled": True})]
)
def test_what_is_revoked_is_closed_at_once_where_it_was_revoked(service, table, values):
    verifier = Verifier(service.backend.database, fresh_seconds=3600)
    secret = token_for(service, "ada", "vision")
    verifier.token(secret)
    change(service, table, **values)
    verifier.forget()
    assert code(lambda: verifier.token(secret)) == "token_revoked"


def test_what_is_revoked_is_closed_soon_elsewhere(service):
    elsewhere = Verifier(service.backend.database, fresh_seconds=0.02)
    secret = token_for(service, "ada", "vision")
    elsewhere.token(secret)
    change(service, TokenRow, revoked_at=database_now())
    threading.Event().wait(0.03)
    assert code(lambda: elsewhere.token(secret)) == "token_revoked"


def test_an_answer_from_before_a_revocation_is_not_remembered_after_it(service, monkeypatch):
    verifier = Verifier(service.backend.database, fresh_seconds=3600)
    secret = token_for(service, "ada", "vision")
    look_up = verification.credential_of_token

    def revoked_meanwhile(session, shown):
        found = look_up(session, shown)
        verifier.forget()
        return found

    monkeypatch.setattr(verification, "credential_of_token", revoked_meanwhile)
    verifier.token(secret)
    assert verifier.remembered(secret) is None


def test_who_left_a_project_has_no_token_there(service, verifier):
    secret = token_for(service, "ada", "vision")
    with service.backend.writing() as session:
        session.execute(delete(MemberRow).where(MemberRow.user_id == "usr_ada"))
    assert code(lambda: verifier.token(secret)) == "token_revoked"


def last_used(service, token):
    with service.backend.reading() as session:
        return session.scalars(select(TokenRow.last_used_at).where(TokenRow.id == token)).one()


def test_use_is_written_down_at_most_once_a_minute_and_not_by_requests(service, verifier, queries):
    secret = token_for(service, "ada", "vision", token="tok_a")  # noqa: S106 - an id
    verifier.token(secret)
    assert last_used(service, "tok_a") is None
    verifier.note_uses()
    first = last_used(service, "tok_a")
    assert first is not None
    verifier.forget()
    verifier.token(secret)
    queries.clear()
    verifier.note_uses()
    assert queries == []
    assert last_used(service, "tok_a") == first


def test_another_token_for_the_service_closes_the_one_before(service, verifier):
    admit_bootstrap_token(service.backend.database, "another-token-for-it")
    assert verifier.token("another-token-for-it").caller.token == BOOTSTRAP_TOKEN
    assert code(lambda: verifier.token(TOKEN)) == "token_invalid"


def test_the_same_token_for_the_service_again_changes_nothing(service):
    for _ in range(2):
        admit_bootstrap_token(service.backend.database, TOKEN)
    with service.backend.reading() as session:
        assert session.scalars(select(TokenRow.name)).all() == ["bootstrap"]


def test_a_users_token_is_refused_as_the_services(service):
    secret = token_for(service, "ada", "vision")
    with pytest.raises(ConflictError, match="made for a user"):
        admit_bootstrap_token(service.backend.database, secret)


@pytest.mark.parametrize(("lives", "expected"), [(-1, "token_expired"), (None, None)])
def test_the_gate_says_why(service, lives, expected):
    answer = service.http.get("/v1/models", headers=bearer(token_for(service, "ada", "vision", lives=lives)))
    assert (answer.status_code, answer.json().get("code")) == (200 if expected is None else 401, expected)


def test_whether_a_caller_may_stay_is_looked_up_once_a_second_at_most(service, queries):
    verifier = Verifier(service.backend.database, fresh_seconds=3600)
    caller = verifier.token(token_for(service, "ada", "vision")).caller
    queries.clear()
    for _ in range(50):
        verifier.check(caller)
    assert len(queries) <= 2  # one SELECT, and on SQLite its BEGIN


@pytest.mark.parametrize(
    ("table", "values"), [(TokenRow, {"revoked_at": database_now()}), (UserRow, {"disabled": True})]
)
def test_a_caller_may_not_stay_once_its_token_was_revoked_here(service, table, values):
    verifier = Verifier(service.backend.database, fresh_seconds=3600)
    caller = verifier.token(token_for(service, "ada", "vision")).caller
    verifier.check(caller)
    change(service, table, **values)
    verifier.forget()
    assert code(lambda: verifier.check(caller)) == "token_revoked"


@pytest.mark.parametrize(("later", "asked"), [(20, False), (31, True)])
def test_a_caller_stays_until_its_token_expires(service, monkeypatch, queries, later, asked):
    verifier = Verifier(service.backend.database, fresh_seconds=3600)
    caller = verifier.token(token_for(service, "ada", "vision", lives=30)).caller
    verifier.check(caller)
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + later)
    queries.clear()
    verifier.check(caller)
    assert bool(queries) is asked


def test_a_check_from_before_a_revocation_is_not_remembered_after_it(service, monkeypatch):
    verifier = Verifier(service.backend.database, fresh_seconds=3600)
    caller = verifier.token(token_for(service, "ada", "vision")).caller
    look_up = verification.check_alive

    def revoked_meanwhile(session, token):
        found = look_up(session, token)
        change(service, TokenRow, revoked_at=database_now())
        verifier.forget()
        return found

    monkeypatch.setattr(verification, "check_alive", revoked_meanwhile)
    verifier.check(caller)
    monkeypatch.setattr(verification, "check_alive", look_up)
    assert code(lambda: verifier.check(caller)) == "token_revoked"


def test_which_of_many_tokens_open_nothing_is_one_question(service, queries):
    verifier = Verifier(service.backend.database)
    token_for(service, "ada", "vision", token="tok_a")  # noqa: S106 - an id
    token_for(service, "ada", "vision", token="tok_b", lives=-1)  # noqa: S106 - an id
    queries.clear()
    assert verifier.closed({"tok_a", "tok_b", "tok_gone"}) == {"tok_b", "tok_gone"}
    assert len(queries) <= 2  # one SELECT, and on SQLite its BEGIN
