import json

import httpx
import pytest

from ranksearch.cli.exit_codes import ExitCode
from tests.ranksearch import wire


@pytest.fixture
def fleet(service):
    """Two workers of one machine, one that is away, and one elsewhere; where they can be drained."""
    workers = [
        wire.worker(id="wrk_1", name="box#0", labels={"site": "berlin"}, memory_bytes=80 << 30, job="job_1"),
        wire.worker(id="wrk_2", name="box#1", sandbox=[{"name": "no network", "in_force": False}], study="sty_1"),
        wire.worker(id="wrk_3", name="box#0", state="away"),
        wire.worker(id="wrk_4", name="boxes"),
    ]
    service.answers["GET", "/v1/workers"] = wire.page(*workers)
    for worker in workers:
        for how in ("drain", "undrain"):
            service.answers["POST", f"/v1/workers/{worker['id']}/{how}"] = httpx.Response(204)
    return service


def drained(service, how="drain"):
    posts = [request.url.path for request in service.requests if request.method == "POST"]
    return {path.split("/")[3] for path in posts if path.endswith(f"/{how}")}


@pytest.mark.parametrize("shown", ["site=berlin", "80.0 GiB", "0/1, not: no network", "job_1", "sty_1"])
def test_the_list_shows(ranksearch, fleet, shown):
    assert shown in ranksearch("workers").stdout


@pytest.mark.parametrize("how", ["drain", "undrain"])
@pytest.mark.parametrize(
    ("reference", "meant"),
    [("wrk_2", {"wrk_2"}), ("box#1", {"wrk_2"}), ("box", {"wrk_1", "wrk_2"}), ("wrk_3", {"wrk_3"})],
)
def test_drains_the_worker_that_is_meant(ranksearch, fleet, how, reference, meant):
    done = ranksearch("workers", how, reference, "--json")
    assert drained(fleet, how) == meant
    assert {worker["id"] for worker in json.loads(done.stdout)} == meant


def test_shows_whom_it_drained(ranksearch, fleet):
    assert "wrk_2" in ranksearch("workers", "drain", "wrk_2").stdout


def test_an_unknown_worker(ranksearch, fleet):
    done = ranksearch("workers", "drain", "nobody")
    assert done.exit_code == ExitCode.NOT_FOUND
    assert "ranksearch workers" in done.stderr
    assert not drained(fleet)
