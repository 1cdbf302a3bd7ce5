"""Where nothing moves, the pages say why: the list of studies and the study's own, the models and the model's own."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from service.scheduling import fleet
from service.storage.tables import UserRow
from tests.service import synthetic
from tests.service.dashboard.conftest import text_of
from tests.service.scheduling.simulated import take, worker


def connect(service, name, **told):
    fleet.saw_worker(service.backend, worker(name, **told))


@pytest.fixture(autouse=True)
def documents(service):
    """A model and images, and no worker any more."""
    service.prepare()
    service.http.delete("/v1/workers/inspector")


def no_worker(service):
    return service.submit()["id"]


def no_worker_that_fits(service):
    connect(service, "cpu")
    return service.submit(requirements={"device": "cuda", "labels": {"site": "berlin"}})["id"]


def paused(service):
    study = service.submit()["id"]
    service.http.post(f"/v1/studies/{study}/pause", json={"reason": "the GPUs are needed elsewhere"})
    return study


def the_owners_quota(service):
    with service.backend.writing() as session:
        session.execute(update(UserRow).values(max_parallel=1))
    service.submit()
    for name in ("w1", "w2"):
        connect(service, name)
    take(service, worker("w1"))
    return service.submit()["id"]


def its_own_limit(service):
    study = service.submit(max_parallel=1)["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    agent.must_claim("trial")
    return study


def all_are_busy(service):
    connect(service, "w1")
    service.submit()
    take(service, worker("w1"))
    return service.submit()["id"]


@pytest.mark.parametrize(
    ("story", "words"),
    [
        (no_worker, "no worker is connected: start one with ranksearch worker --url"),
        (no_worker_that_fits, "no worker that fits is connected: of 1, device=cuda is lacking on 1, site=berlin"),
        (paused, "paused by local: the GPUs are needed elsewhere"),
        (the_owners_quota, "as many jobs run for its owner as may: 1"),
        (its_own_limit, "1 trial running, as many at once as it may"),
        (all_are_busy, "all workers that are connected (1) are busy with other work; 1 earlier"),
    ],
)
def test_a_study_says_why_it_does_not_move(service, browser, story, words):
    study = story(service)
    for page in ("/studies", f"/studies/{study}", f"/studies/{study}/trials", f"/studies/{study}/layers"):
        assert words in text_of(browser.get(page)), page


def test_an_inspection_that_waits_says_so_and_how_to_start_a_worker(service, browser):
    model = service.upload_model(synthetic.model_document(salt=5)).json()["id"]
    data = service.uploaded["dataset"]
    for page in ("/models", f"/models/{model}", f"/submit?model={model}&data={data}"):
        assert "no worker is connected: start one with ranksearch worker --url" in text_of(browser.get(page)), page


def test_an_inspection_that_failed_says_why_and_what_to_do(service, browser):
    model = service.upload_model(synthetic.model_document(salt=5)).json()["id"]
    agent = service.agent()
    agent.fail(agent.must_claim("inspect"), code="evaluation_failed", detail="the graph has an operator of its own")
    data = service.uploaded["dataset"]
    for page in ("/models", f"/models/{model}", f"/submit?model={model}&data={data}"):
        assert "the graph has an operator of its own" in text_of(browser.get(page)).lower(), page
    for page in (f"/models/{model}", f"/submit?model={model}&data={data}"):
        assert "Inspect again" in text_of(browser.get(page)), page
