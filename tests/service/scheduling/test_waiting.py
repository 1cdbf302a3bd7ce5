from __future__ import annotations

import pytest
from sqlalchemy import update

from service.scheduling import fleet
from service.storage.tables import StudyRow, UserRow
from tests.service.scheduling.simulated import add_user, submit_as, take, worker
from tests.service.scheduling.test_pausing import fail, started

GIB = 1 << 30


def waiting_for(service, study):
    return service.study(study)["waiting_for"]


def connect(service, name, **told):
    fleet.saw_worker(service.backend, worker(name, **told))


@pytest.fixture
def service(start):
    """Without the worker that inspected the model."""
    service = start(retry_base_seconds=1000)
    service.prepare()
    service.http.delete("/v1/workers/inspector")
    return service


def test_no_worker(service):
    study = service.submit()["id"]
    assert "no worker is connected" in waiting_for(service, study)


def test_a_worker_is_told_the_service_s_public_address(start):
    service = start(public_url="https://ranksearch.example.org/")
    service.prepare()
    service.http.delete("/v1/workers/inspector")
    assert "ranksearch worker --url https://ranksearch.example.org --token" in waiting_for(
        service, service.submit()["id"]
    )


def test_a_draining_worker_is_none(service):
    study = service.submit()["id"]
    connect(service, "w")
    service.http.post("/v1/workers/w/drain")
    assert "no worker is connected" in waiting_for(service, study)


def test_no_worker_that_fits_and_what_how_many_lack(service):
    required = {"device": "cuda", "memory_bytes": 16 * GIB, "labels": {"site": "berlin"}}
    study = service.submit(requirements=required)["id"]
    connect(service, "small", device="cuda:0", memory_bytes=8 * GIB, labels={"site": "berlin"})
    connect(service, "cpu")
    assert waiting_for(service, study) == (
        "no worker that fits is connected: of 2, memory=16GiB is lacking on 2, device=cuda is lacking on 1, "
        "site=berlin is lacking on 1"
    )
    connect(service, "large", device="cuda:0", memory_bytes=80 * GIB, labels={"site": "berlin"})
    assert waiting_for(service, study) is None


def test_a_quota_that_is_reached(service):
    with service.backend.writing() as session:
        session.execute(update(UserRow).values(max_parallel=1))
    service.submit()
    connect(service, "w1")
    connect(service, "w2")
    take(service, worker("w1"))
    other = service.submit()["id"]
    assert waiting_for(service, other) == "as many jobs run for its owner as may: 1"


def test_an_attempt_that_is_not_due(service):
    study, agent = started(service, n_trials=1)
    agent.fail(agent.must_claim("trial"), retry=True, code="evaluation_failed", detail="the disk is full")
    assert "its next attempt is due in" in waiting_for(service, study)
    assert waiting_for(service, study).endswith("s, after: the disk is full")


def test_all_that_fit_are_busy(service):
    first = submit_as(service, "usr_local", requirements={"device": "cuda"})
    connect(service, "gpu", device="cuda:0")
    connect(service, "cpu")
    assert take(service, worker("gpu", device="cuda:0")) == first
    study = service.submit(requirements={"device": "cuda"})["id"]
    assert waiting_for(service, study) == (
        "all workers that fit (1) are busy with other work; 1 earlier or more urgent study of its owner first"
    )


def test_the_turn_of_others_by_fair_share(service):
    for user, used in {"ada": 0.0, "ben": 500.0}.items():
        add_user(service, user, usage_seconds=used)
    submit_as(service, "ada")
    study = submit_as(service, "ben")
    connect(service, "w")
    take(service, worker("w"))
    assert waiting_for(service, study) == (
        "all workers that are connected (1) are busy with other work; by fair share 1 other user goes first"
    )


def test_trials_that_fail(service):
    study, agent = started(service, n_trials=9)
    fail(agent, 2, detail="no such operator")
    service.http.delete(f"/v1/workers/{agent.name}")
    assert waiting_for(service, study).endswith("; its last 2 trials failed, with: no such operator")


def test_a_pause(service):
    study = service.submit()["id"]
    service.http.post(f"/v1/studies/{study}/pause")
    assert waiting_for(service, study) == f"paused by local; to go on: `ranksearch resume {study}`"


def test_an_inspection_waits_for_a_worker_and_for_nothing_special(service):
    with service.backend.writing() as session:
        session.execute(update(StudyRow).values(requirements={"device": "cuda"}))
    model = service.http.post(f"/v1/models/{service.uploaded['model']}/inspect").json()
    assert "no worker is connected" in model["waiting_for"]
    connect(service, "cpu")
    assert service.get(f"/v1/models/{model['id']}")["waiting_for"] is None
