from __future__ import annotations

import pytest
from sqlalchemy import func, select, update

from service.storage.tables import BlobRow, FactorRow
from tests.service import synthetic
from tests.service.conftest import on_both

pytestmark = [on_both, pytest.mark.usefixtures("dialect")]

KEY, OTHER = "ab" * 32, "cd" * 32
BYTES = bytes(range(200))


@pytest.fixture
def put(service):
    return lambda key=KEY, data=BYTES: service.http.put(f"/v1/factors/{key}", content=data)


def used_at(service):
    with service.backend.reading() as session:
        return session.get_one(FactorRow, KEY).used_at


def test_what_one_worker_puts_another_gets(service, put):
    answer = put()
    assert (answer.status_code, answer.json()) == (201, {"sha256": synthetic.sha256(BYTES), "size": len(BYTES)})
    got = service.http.get(f"/v1/factors/{KEY}")
    assert (got.status_code, got.content) == (200, BYTES)
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["etag"] == f'"{synthetic.sha256(BYTES)}"'


def test_the_first_factors_of_a_key_stay(service, put):
    put()
    again = put(data=b"later ones")
    assert (again.status_code, again.json()["sha256"]) == (200, synthetic.sha256(BYTES))
    assert service.http.get(f"/v1/factors/{KEY}").content == BYTES
    assert not service.backend.blobs.holds(synthetic.sha256(b"later ones"))


def test_two_keys_may_have_the_same_factors(service, put):
    assert [put(KEY).status_code, put(OTHER).status_code] == [201, 201]
    with service.backend.reading() as session:
        assert session.scalar(select(func.count()).select_from(BlobRow)) == 1


def test_a_part_of_them_can_be_had(service, put):
    put()
    got = service.http.get(f"/v1/factors/{KEY}", headers={"range": "bytes=100-"})
    assert (got.status_code, got.content, got.headers["content-range"]) == (206, BYTES[100:], "bytes 100-199/200")


def test_factors_that_nobody_has_put_are_not_found(service):
    answer = service.http.get(f"/v1/factors/{KEY}")
    assert (answer.status_code, answer.json()["code"]) == (404, "factors_not_found")


@pytest.mark.parametrize("key", ["short", "AB" * 32, "ab" * 33])
def test_a_key_that_is_none_is_refused(service, put, key):
    assert {put(key).status_code, service.http.get(f"/v1/factors/{key}").status_code} == {422}


def test_a_digest_that_does_not_hold_leaves_nothing(service):
    headers = {"content-digest": "sha-256=:" + "A" * 43 + "=:"}
    answer = service.http.put(f"/v1/factors/{KEY}", content=BYTES, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "upload_digest_mismatch")
    assert service.http.get(f"/v1/factors/{KEY}").status_code == 404


def test_they_may_be_larger_than_the_limit_for_json_but_not_than_that_for_uploads(start):
    service = start(max_json_bytes=100, max_upload_bytes=1000)
    assert service.http.put(f"/v1/factors/{KEY}", content=b"x" * 1000).status_code == 201
    assert service.http.put(f"/v1/factors/{OTHER}", content=b"x" * 1001).status_code == 413


def test_their_use_is_noted_once_an_hour(service, put):
    put()
    first = used_at(service)
    service.http.get(f"/v1/factors/{KEY}")
    assert used_at(service) == first
    with service.backend.writing() as session:
        session.execute(update(FactorRow).values(used_at=first - 3700))
    service.http.get(f"/v1/factors/{KEY}")
    assert used_at(service) >= first


def test_without_a_token_there_is_nothing(service):
    anonymous = {"authorization": ""}
    assert service.http.get(f"/v1/factors/{KEY}", headers=anonymous).status_code == 401
