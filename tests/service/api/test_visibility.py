"""Two projects with everything in each: neither learns anything of the other."""

from __future__ import annotations

import dataclasses
import re

import pytest
from fastapi.testclient import TestClient

from service.api.access import operations
from tests.service import synthetic
from tests.service.access_stories import bearer, token_for
from tests.service.api.test_scopes import PROGRAMS
from tests.service.conftest import on_both

pytestmark = [on_both, pytest.mark.usefixtures("dialect")]

GLOBAL = {"/healthz", "/readyz", "/metrics", "/v1/workers", "/v1/whoami", "/v1/session", "/v1/tokens"}
"""GET addresses that carry no id of anybody's, and are no list of what projects have."""


def as_user(service, name, project):
    """The service as somebody reaches it."""
    http = TestClient(service.app, headers=bearer(token_for(service, name, project)))
    return dataclasses.replace(service, http=http, uploaded={})


def furnished(service, name, project, salt):
    """Everything that there can be in a project, and what its addresses are made of."""
    mine = as_user(service, name, project)
    documents = synthetic.model_document(salt=salt), synthetic.dataset_document(salt=salt)
    model, data = mine.upload_model(documents[0]).json(), mine.upload_dataset(documents[1]).json()
    service.agent("w").work()
    mine.uploaded.update(model=model["id"], dataset=data["id"])
    study = mine.submit(n_trials=2)
    service.agent("w").work()
    (artifact,) = mine.get(f"/v1/studies/{study['id']}/artifacts")["items"]
    ids = {"model": model["id"], "dataset": data["id"], "study": study["id"], "number": "0", "name": artifact["name"]}
    return mine, ids, [model["blob"]["sha256"], data["blob"]["sha256"]]


@pytest.fixture
def two(service):
    return furnished(service, "ada", "vision", 1), furnished(service, "bob", "sound", 2)


def addresses(service, ids, blobs):
    """Every GET address that names something."""
    for method, path, _ in operations(service.app):
        if method != "GET" or "{" not in path:
            continue
        if "{sha256}" in path:
            yield from (path.replace("{sha256}", blob) for blob in blobs)
        elif set(re.findall(r"\{(\w+)\}", path)) <= set(ids):
            yield path.format(**ids)


def test_what_belongs_to_another_project_is_answered_as_what_does_not_exist(service, two):
    (ada, hers, her_blobs), (bob, his, his_blobs) = two
    for me, ids, blobs, them in ((ada, hers, her_blobs, bob), (bob, his, his_blobs, ada)):
        walked = list(addresses(service, ids, blobs))
        assert len(walked) >= 11
        for path in walked:
            assert me.http.get(path).status_code == 200, path
            absent = re.sub(r"(mdl|dts|sty)_\w+", r"\1_nobody", path)
            absent = re.sub(r"blobs/\w+", f"blobs/{'0' * 64}", absent)
            answer, nobodys = them.http.get(path), them.http.get(absent)
            assert (answer.status_code, nobodys.status_code) == (404, 404), path
            told, expected = answer.json(), nobodys.json()
            assert {**told, "got": ""} == {**expected, "got": ""}, path


def test_lists_are_disjoint(service, two):
    (ada, hers, _), (bob, his, _) = two
    for path, word in (("/v1/models", "model"), ("/v1/datasets", "dataset"), ("/v1/studies", "study")):
        assert [one["id"] for one in ada.get(path)["items"]] == [hers[word]]
        assert [one["id"] for one in bob.get(path)["items"]] == [his[word]]
        assert {one["id"] for one in service.get(path)["items"]} >= {hers[word], his[word]}


def test_there_is_no_list_that_nobody_has_thought_of(service):
    asked = [path for method, path, _ in operations(service.app) if method == "GET" and path.startswith(PROGRAMS)]
    lists = {path for path in asked if "{" not in path}  # pages show what these answer
    administrators = {"/v1/users", "/v1/projects", "/v1/audit"}
    opened = {"/v1/oidc/login", "/v1/oidc/callback"}
    assert lists <= GLOBAL | administrators | opened | {"/v1/models", "/v1/datasets", "/v1/studies"}


def test_nobody_changes_what_belongs_to_another_project(service, two):
    (_, hers, _), (bob, _, _) = two
    for path in (f"/v1/models/{hers['model']}/inspect", f"/v1/studies/{hers['study']}/cancel"):
        assert bob.http.post(path).status_code == 404, path


def test_a_study_is_made_of_what_its_project_has(service, two):
    (ada, hers, _), (bob, his, _) = two
    for word, change in (
        ("model", {"model": hers["model"]}),
        ("dataset", {"validation": {"dataset": hers["dataset"], "start": 20, "stop": 40}}),
        ("study", {"from_studies": [hers["study"]]}),
    ):
        answer = bob.http.post("/v1/studies", json=bob.request(**change))
        assert (answer.status_code, answer.json()["code"]) == (404, f"{word}_not_found")
        administrators = service.http.post("/v1/studies", json={**bob.request(), "model": hers["model"]})
        assert administrators.status_code == 404
    assert his["study"] != hers["study"]
    assert ada.get(f"/v1/studies/{hers['study']}")["state"] == "completed"


def test_the_same_document_is_two_models_of_two_projects(service):
    ada, bob = as_user(service, "ada", "vision"), as_user(service, "bob", "sound")
    first, again, other = (who.upload_model() for who in (ada, ada, bob))
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    assert first.json()["blob"] == other.json()["blob"]


def test_an_idempotency_key_is_a_projects_own(service, two):
    (ada, hers, _), (bob, _, _) = two
    for who in (ada, bob):
        answer = who.http.post("/v1/studies", json=who.request(), headers={"idempotency-key": "k"})
        assert answer.status_code == 202
        again = who.http.post("/v1/studies", json=who.request(), headers={"idempotency-key": "k"})
        assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    assert hers["study"]


def test_things_tell_whose_they_are(service, two):
    (ada, hers, _), _ = two
    for path in (f"/v1/models/{hers['model']}", f"/v1/datasets/{hers['dataset']}", f"/v1/studies/{hers['study']}"):
        told = ada.get(path)
        assert (told["owner"], told["project"]) == ("ada", "vision")


def test_a_worker_is_seen_by_all_and_its_job_by_its_project_alone(service, two):
    (ada, hers, _), (bob, _, _) = two
    study = ada.submit(n_trials=1)["id"]
    job = service.agent("busy-one").must_claim("baseline")

    def seen_by(who):
        (worker,) = [one for one in who.get("/v1/workers")["items"] if one["id"] == "busy-one"]
        return worker["state"], worker["job"], worker["study"]

    assert seen_by(ada) == ("busy", job["id"], study)
    assert seen_by(bob) == ("busy", None, None)
    assert hers["study"] != study


def test_a_member_of_the_same_project_sees_all_of_it(service, two):
    (_, hers, her_blobs), _ = two
    eve = as_user(service, "eve", "vision")
    for path in addresses(service, hers, her_blobs):
        assert eve.http.get(path).status_code == 200, path
