"""The procedure of docs/operations.md for PostgreSQL and a bucket, with the real programs."""

from __future__ import annotations

import subprocess

import pytest
from obstore.store import S3Store

from tests.postgres import find_binaries


@pytest.fixture
def dialect():
    return "postgresql"


@pytest.fixture
def tool(postgres):
    """Runs one of PostgreSQL's own programs."""
    binaries = find_binaries()

    def run(name, *words):
        subprocess.run([binaries / name, *words], check=True, capture_output=True)

    return run


def copy_bucket(s3, source, target):
    stores = [
        S3Store(
            url.removeprefix("s3://").partition("/")[0],
            endpoint=s3.endpoint,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        for url in (source, target)
    ]
    for key in s3.keys(source):
        stores[1].put(key, stores[0].get(key).bytes())


def test_a_dump_and_a_copy_of_the_bucket_are_a_service_again(start, postgres, s3, tool, tmp_path):
    bucket, other_bucket = s3.bucket(), s3.bucket()
    first = start(blobs_url=bucket)
    study = first.submit(n_trials=5)["id"]
    agent = first.agent()
    agent.work(3)
    held = agent.must_claim("trial")
    tool("pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", first.settings.url.replace("+psycopg", ""))
    copy_bucket(s3, bucket, other_bucket)
    agent.complete(held)
    agent.work()

    with postgres.database() as name:
        tool("pg_restore", "--exit-on-error", f"--dbname={postgres.address(name)}", str(tmp_path / "dump"))
        again = start(
            data_dir=tmp_path / "again", database_url=postgres.url(name), blobs_url=other_bucket, lease_seconds=0.05
        )
        assert again.study(study)["progress"]["complete"] == 2
        assert again.study(study)["progress"]["running"] == 1
        handed = again.http.post(f"/v1/jobs/{held['id']}/release", json={"lease_token": held["lease"]["token"]})
        assert handed.status_code == 204
        again.agent("w2").work()
        assert again.study(study)["state"] == "completed"
        assert [trial["state"] for trial in again.trials(study)] == ["COMPLETE"] * 5
        assert {trial["number"] for trial in again.trials(study)} == set(range(5))
        again.http.close()
        again.backend.records.close()
        again.backend.database.close()
