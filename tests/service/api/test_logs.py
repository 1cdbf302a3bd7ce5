from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import pytest

from ranksearch.contracts.loglines import JsonLines
from service.storage.tables import DEFAULT_PROJECT, LOCAL_USER
from tests.service import synthetic
from tests.service.api.test_events import prepared

NAMED = {"x-request-id": "asked-for-1"}


@pytest.fixture
def lines():
    """What is logged while a test runs, as JSON lines."""
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda **fields: [
        line for line in map(json.loads, stream.getvalue().splitlines()) if fields.items() <= line.items()
    ]
    root.removeHandler(handler)
    root.setLevel(level)


def test_a_request_is_one_line_with_its_route_status_and_duration(service, lines):
    service.http.get("/v1/models/mdl_none?cursor=1", headers=NAMED)
    (line,) = lines(logger="service.requests")
    assert (line["event"], line["method"], line["path"]) == ("request", "GET", "/v1/models/mdl_none")
    assert (line["route"], line["status"], line["request_id"]) == ("/v1/models/{model}", 404, "asked-for-1")
    assert line["duration_ms"] >= 0


def test_a_well_formed_request_id_comes_back_and_another_is_replaced(service):
    assert service.http.get("/healthz", headers=NAMED).headers["x-request-id"] == "asked-for-1"
    made = service.http.get("/healthz", headers={"x-request-id": "no id\tat all"}).headers["x-request-id"]
    assert len(made) == 16


def test_even_a_refused_request_has_an_id(service):
    assert service.http.get("/v1/models", headers={**NAMED, "authorization": ""}).headers["x-request-id"]


def test_lines_written_in_a_thread_have_the_requests_id(service, lines):
    service.submit()
    agent = service.agent()
    job = agent.must_claim()
    problem = synthetic.problem("evaluation_failed")
    failed = {"lease_token": job["lease"]["token"], "problem": problem, "retry": True}
    assert service.http.post(f"/v1/jobs/{job['id']}/fail", json=failed, headers=NAMED).status_code == 204
    (failed,) = [line for line in lines(request_id="asked-for-1") if line["logger"].startswith("service.scheduling")]
    assert (failed["job"], failed["study"], failed["worker"]) == (job["id"], job["study"], "w1")


def test_a_claim_says_what_was_claimed(service, lines):
    study = service.submit()["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    job = agent.must_claim("trial")
    claimed, completed = lines(route="/v1/jobs/claim")[-1], lines(route="/v1/jobs/{job}/complete")[-1]
    assert (claimed["job"], claimed["study"], claimed["trial"], claimed["worker"]) == (job["id"], study, 0, "w1")
    assert completed["study"] == study


def test_probes_are_no_news_while_all_is_well(service, lines):
    for path in ("/healthz", "/readyz", "/metrics"):
        service.http.get(path)
    assert lines(logger="service.requests") == []


def test_no_secret_is_logged(launched):
    service = launched("--log-level", "debug", "--log-format", "json")
    _, agent = prepared(service, salt=1)
    job = agent.must_claim()
    agent.post(job, "renew")
    agent.complete(job)
    service.http.post("/v1/jobs/none/renew", json={"lease_token": "a-lease-token-that-is-wrong"})
    service.http.get("/v1/models", headers={"authorization": "Bearer a-wrong-token-of-somebody"})
    service.http.get("/v1/models", params={"cursor": "x", "token": service.token})
    service.stop()
    written = service.log
    told = [json.loads(line) for line in written.splitlines()]
    assert {line["logger"] for line in told} >= {"service.requests", "uvicorn.error", "alembic.runtime.migration"}
    secrets = [service.token, job["lease"]["token"], "a-wrong-token-of-somebody", "a-lease-token-that-is-wrong"]
    assert [secret for secret in secrets if secret in written] == []


def test_what_a_database_refuses_is_logged_without_its_values():
    code = (
        "from service.storage.engine import Database; from sqlalchemy import text\n"
        "import sys, tempfile\n"
        "database = Database(f'sqlite:///{tempfile.mkdtemp()}/db')\n"
        "try:\n"
        "    with database.writing() as session:\n"
        "        session.execute(text('SELECT * FROM missing WHERE token = :t'), {'t': 'hush-hush'})\n"
        "except Exception as problem: print(problem)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no such table" in done.stdout
    assert "hush-hush" not in done.stdout


def test_a_line_says_who_asked(service, lines):
    service.http.get("/v1/models")
    (line,) = lines(route="/v1/models")
    assert (line["user"], line["project"]) == (LOCAL_USER, DEFAULT_PROJECT)
    assert line["token_id"].startswith("tok_")
