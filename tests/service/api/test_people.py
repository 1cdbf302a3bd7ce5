"""Users, projects, tokens and the audit over HTTP."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect, text

from service.access.secret import is_well_formed
from tests.service.access_stories import bearer, token_for
from tests.service.conftest import on_both

pytestmark = [on_both, pytest.mark.usefixtures("dialect")]


@pytest.fixture
def admin(service):
    return service.http


@pytest.fixture
def team(admin):
    """A project and two users of it."""
    assert admin.post("/v1/projects", json={"name": "vision"}).status_code == 201
    for name in ("ada", "bob"):
        assert admin.post("/v1/users", json={"name": name, "projects": ["vision"]}).status_code == 201


def make_token(http, headers=None, /, **members):
    answer = http.post("/v1/tokens", json={"name": "t", **members}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


def ends(answer):
    return answer.status_code, answer.json()["code"]


def test_whoami_of_the_services_own_token(service):
    who = service.get("/v1/whoami")
    assert (who["user"], who["project"], who["token"]) == ("local", "default", "tok_bootstrap")
    assert who["scopes"] == ["admin", "read", "submit", "work"]


def test_a_token_that_was_made_opens_what_it_says(service, admin, team):
    made = make_token(admin, user="ada", project="vision", scopes=["read"])
    assert is_well_formed(made["secret"])
    who = admin.get("/v1/whoami", headers=bearer(made["secret"])).json()
    assert (who["user"], who["project"], who["scopes"], who["token"]) == ("ada", "vision", ["read"], made["id"])
    assert who["expires_at"] == made["expires_at"]


def test_a_secret_is_kept_nowhere_and_shown_once(service, admin, team):
    made = make_token(admin, user="ada", project="vision")
    with service.backend.database.engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        rows = [str(row) for table in tables for row in connection.execute(text(f'SELECT * FROM "{table}"'))]  # noqa: S608 - the database's own names
    assert any(made["id"] in row for row in rows)
    assert not any(made["secret"] in row for row in rows)
    assert "secret" not in admin.get("/v1/tokens?user=ada").json()["items"][0]


def test_a_token_lives_ninety_days_where_nothing_else_is_asked(admin, team):
    made = make_token(admin, user="ada", project="vision")
    (row,) = admin.get("/v1/tokens?user=ada").json()["items"]
    assert row["expires_at"] == made["expires_at"] > row["created_at"]
    assert make_token(admin, user="ada", project="vision", expires_in_days=None)["expires_at"] is None


def test_a_revoked_token_opens_nothing_at_once(admin, team):
    made = make_token(admin, user="ada", project="vision")
    headers = bearer(made["secret"])
    assert admin.get("/v1/models", headers=headers).status_code == 200
    assert admin.delete(f"/v1/tokens/{made['id']}", headers=headers).status_code == 204
    assert ends(admin.get("/v1/models", headers=headers)) == (401, "token_revoked")
    assert admin.delete(f"/v1/tokens/{made['id']}").status_code == 204
    assert admin.get("/v1/tokens?user=ada").json()["items"][0]["revoked_at"] is not None


@pytest.mark.parametrize(
    "asked",
    [{"scopes": ["admin"]}, {"scopes": ["work"]}, {"user": "bob"}, {"project": "default"}, {"project": "other"}],
)
def test_nobody_gives_more_away_than_they_have(admin, team, asked):
    admin.post("/v1/projects", json={"name": "other"})
    admin.patch("/v1/users/ada", json={"projects": ["vision", "other"]})
    mine = bearer(make_token(admin, user="ada", project="vision")["secret"])
    assert ends(admin.post("/v1/tokens", json={"name": "t", **asked}, headers=mine)) == (403, "token_scope")


def test_a_user_makes_lists_and_revokes_own_tokens(admin, team):
    mine = bearer(make_token(admin, user="ada", project="vision")["secret"])
    second = make_token(admin, mine, name="ci", scopes=["read"])
    assert [one["name"] for one in admin.get("/v1/tokens", headers=mine).json()["items"]] == ["ci", "t"]
    assert admin.delete(f"/v1/tokens/{second['id']}", headers=mine).status_code == 204


def test_another_users_token_is_as_none(admin, team):
    his = make_token(admin, user="bob", project="vision")
    mine = bearer(make_token(admin, user="ada", project="vision")["secret"])
    assert ends(admin.delete(f"/v1/tokens/{his['id']}", headers=mine)) == (404, "token_not_found")
    assert ends(admin.delete("/v1/tokens/tok_nobody", headers=mine)) == (404, "token_not_found")
    assert ends(admin.get("/v1/tokens?user=bob", headers=mine)) == (403, "token_scope")


def test_the_services_own_token_cannot_be_revoked(admin):
    assert ends(admin.delete("/v1/tokens/tok_bootstrap")) == (409, "in_use")


def test_a_token_for_a_project_the_user_is_not_of_is_refused(admin, team):
    answer = admin.post("/v1/tokens", json={"name": "t", "user": "ada", "project": "default"})
    assert ends(answer) == (422, "invalid_request")


def test_a_user_that_is_disabled_is_locked_out_at_once_and_let_in_again(admin, team):
    headers = bearer(make_token(admin, user="ada", project="vision")["secret"])
    admin.get("/v1/models", headers=headers)
    for disabled, status in ((True, 401), (False, 200)):
        assert admin.patch("/v1/users/ada", json={"disabled": disabled}).json()["disabled"] is disabled
        assert admin.get("/v1/models", headers=headers).status_code == status


def test_who_leaves_a_project_is_locked_out_of_it_at_once(admin, team):
    headers = bearer(make_token(admin, user="ada", project="vision")["secret"])
    admin.get("/v1/models", headers=headers)
    assert admin.patch("/v1/projects/vision", json={"members": ["bob"]}).json()["members"] == ["bob"]
    assert ends(admin.get("/v1/models", headers=headers)) == (401, "token_revoked")


def test_a_change_changes_what_it_names_alone(admin, team):
    admin.patch("/v1/users/ada", json={"weight": 3, "max_parallel": 2})
    changed = admin.patch("/v1/users/ada", json={"max_parallel": None}).json()
    assert (changed["weight"], changed["max_parallel"], changed["projects"]) == (3, None, ["vision"])


def test_a_projects_limit_and_use(service, admin, team):
    project = admin.patch("/v1/projects/vision", json={"max_bytes": 1000}).json()
    assert (project["max_bytes"], project["used_bytes"], project["members"]) == (1000, 0, ["ada", "bob"])
    headers = bearer(make_token(admin, user="ada", project="vision")["secret"])
    for _ in range(2):
        uploaded = admin.post("/v1/models?name=m", content=b"", headers=headers)
    assert uploaded.status_code == 422
    size = service.upload_model().json()["blob"]["size"]
    used = {one["name"]: one["used_bytes"] for one in admin.get("/v1/projects").json()["items"]}
    assert used == {"vision": 0, "default": size}


@pytest.mark.parametrize(("path", "name"), [("/v1/users", "ada"), ("/v1/projects", "vision")])
def test_a_name_is_given_once(admin, team, path, name):
    assert ends(admin.post(path, json={"name": name})) == (409, "name_taken")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a\nb", " a", "x" * 201])
@pytest.mark.parametrize("path", ["/v1/users", "/v1/projects"])
def test_a_name_that_is_none(admin, path, name):
    assert ends(admin.post(path, json={"name": name})) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("PATCH", "/v1/users/nobody", {"weight": 2}, "user_not_found"),
        ("PATCH", "/v1/projects/nobody", {"max_bytes": 2}, "project_not_found"),
        ("POST", "/v1/users", {"name": "eve", "projects": ["nobody"]}, "project_not_found"),
        ("PATCH", "/v1/projects/vision", {"members": ["nobody"]}, "user_not_found"),
        ("POST", "/v1/tokens", {"name": "t", "user": "nobody"}, "user_not_found"),
        ("GET", "/v1/audit?user=nobody", None, "user_not_found"),
    ],
)
def test_who_does_not_exist(admin, team, method, path, body, code):
    assert ends(admin.request(method, path, json=body)) == (404, code)


def test_the_local_user_cannot_be_locked_out(admin):
    assert ends(admin.patch("/v1/users/local", json={"disabled": True})) == (409, "in_use")
    assert ends(admin.patch("/v1/projects/default", json={"members": []})) == (409, "in_use")


def test_a_subject_needs_single_sign_on(admin):
    assert ends(admin.post("/v1/users", json={"name": "ada", "subject": "1234"})) == (422, "invalid_request")


def actions(http, **filters):
    return [one["action"] for one in http.get("/v1/audit", params=filters).json()["items"]]


def test_the_audit_tells_who_did_what_to_what(service, admin, team):
    made = make_token(admin, user="ada", project="vision")
    model = admin.post("/v1/models?name=m", content=b"x", headers=bearer(made["secret"]))
    assert model.status_code == 422  # what is refused leaves no event
    answer = admin.delete(f"/v1/tokens/{made['id']}")
    assert actions(admin) == ["token.revoke", "token.create", "user.create", "user.create", "project.create"]
    event = admin.get("/v1/audit").json()["items"][0]
    assert (event["user"], event["project"], event["token"]) == ("local", "default", "tok_bootstrap")
    assert (event["subject"], event["request_id"]) == (made["id"], answer.headers["x-request-id"])


def test_the_audit_tells_of_uploads_studies_and_workers(service):
    study = service.submit(n_trials=2)["id"]
    service.http.post(f"/v1/studies/{study}/pause", json={"reason": "lunch"})
    service.http.post(f"/v1/studies/{study}/resume")
    service.http.post(f"/v1/studies/{study}/cancel")
    service.http.post(f"/v1/studies/{study}/cancel")
    service.http.post("/v1/workers/inspector/drain")
    assert actions(service.http) == [
        "worker.drain",
        "study.cancel",
        "study.resume",
        "study.pause",
        "study.submit",
        "dataset.upload",
        "model.upload",
    ]


def test_the_audit_is_filtered_and_paged(service, admin, team):
    token = make_token(admin, user="ada", project="vision")["secret"]
    for at in range(3):
        make_token(admin, bearer(token), name=f"t{at}")
    assert actions(admin, user="ada") == ["token.create"] * 3
    assert actions(admin, action="user.create") == ["user.create"] * 2
    assert actions(admin, action="user.") == ["user.create"] * 2
    first = admin.get("/v1/audit", params={"limit": 5}).json()
    second = admin.get("/v1/audit", params={"limit": 5, "cursor": first["next"]}).json()
    ids = [one["id"] for one in [*first["items"], *second["items"]]]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), second["next"]) == (7, None)


def test_what_is_not_committed_leaves_no_event(service, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError

    body = service.request()
    before = actions(service.http)
    monkeypatch.setattr("service.scheduling.submission.study_views", fail)
    assert service.http.post("/v1/studies", json=body).status_code == 500
    assert actions(service.http) == before


def test_no_answer_of_the_api_description_holds_a_secret_but_the_one(service):
    schemas = service.http.get("/openapi.json").json()["components"]["schemas"]
    holding = {name for name, schema in schemas.items() if "secret" in schema.get("properties", {})}
    assert holding == {"NewToken"}


def test_a_stream_ends_when_its_token_is_revoked(service):
    study = service.submit(n_trials=1)["id"]
    secret = token_for(service, "ada", "default", token="tok_a")  # noqa: S106 - an id
    other = TestClient(service.app, headers=bearer(secret))
    lines = []
    with other.stream("GET", f"/v1/studies/{study}/events?after=1000") as stream:
        for line in stream.iter_lines():
            if line and not lines:
                assert service.http.delete("/v1/tokens/tok_a").status_code == 204
            lines.append(line)
    assert re.match(": connected", lines[0])
