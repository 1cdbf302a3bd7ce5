"""Every page of a study, for every kind of study that there is, before its first trial, in between and at its end."""

from __future__ import annotations

import pytest

from tests.service import synthetic
from tests.service.dashboard.conftest import text_of

KINDS = {
    "macs": {"constraints": {"macs": "50%"}},
    "params": {"constraints": {"params": "50%"}},
    "latency": {"constraints": {"latency_ms": "70%"}},
    "everything": {"constraints": {"macs": "60%", "params": 1_000, "latency_ms": 9.0}},
    "smallest": {"constraints": {}, "objectives": ["macs"], "max_drop": 0.3},
    "front": {"constraints": {}, "objectives": ["proxy", "macs", "latency_ms"]},
    "greedy": {"warm_starts": ["greedy", "uniform"]},
    "nothing is feasible": {"constraints": {}, "objectives": ["params"], "max_drop": 0.0},
}
PAGES = ["", "/summary", "/best", "/trials", "/trials/0", "/layers"]


@pytest.fixture(params=list(KINDS))
def study(service, request):
    service.prepare(profile=synthetic.timed(synthetic.profile()))
    return service.submit(n_trials=3, finalists=1, **KINDS[request.param])["id"]


@pytest.fixture
def agent(service):
    return service.agent(measure=lambda _job: {"latency": synthetic.latency(6.5, 10.0), "dense_value": 0.9})


def test_its_pages_are_there_from_its_beginning_to_its_end(service, browser, study, agent):
    for wanted in ("queued", "running", "completed"):
        if wanted == "running":
            agent.work(limit=4)
        elif wanted == "completed":
            agent.work()
        for page in PAGES:
            answer = browser.get(f"/studies/{study}{page}")
            there = page != "/trials/0" or service.trials(study)
            assert answer.status_code == (200 if there else 404), (wanted, page, text_of(answer))
        assert browser.get("/compare", params={"a": study, "b": study}).status_code == 200
        assert browser.get("/studies").status_code == 200
    assert service.study(study)["state"] in {"completed", "failed"}
