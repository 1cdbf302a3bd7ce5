from __future__ import annotations

import threading

import pytest
from sqlalchemy import update

from service.scheduling.choosing import PATIENCE
from service.scheduling.taking import take_next
from service.storage.tables import JobRow, ModelRow
from tests.service import synthetic
from tests.service.scheduling.simulated import add_user, submit_as, take, worker

GIB = 1 << 30


def other_model(service, salt=5):
    """A second inspected model; its id and sha256."""
    document = synthetic.model_document(salt=salt)
    model = service.upload_model(document).json()["id"]
    agent = service.agent("inspector")
    agent.complete(agent.must_claim("inspect"))
    return model, synthetic.sha256(document)


def mine(service, **request):
    return submit_as(service, "usr_local", **request)


def test_among_a_users_studies_the_larger_priority_goes_first_then_the_older(service):
    old, low, high = mine(service), mine(service, priority=-1), mine(service, priority=5)
    order = [take(service) for _ in range(12)]
    assert order == [high] * 4 + [old] * 4 + [low] * 4


def test_a_priority_does_not_count_against_other_users(service):
    for user in ("ada", "ben"):
        add_user(service, user)
    first = submit_as(service, "ada", priority=100)
    second = submit_as(service, "ben", priority=-100)
    assert [take(service), take(service)] == [first, second]


def test_a_study_runs_no_more_than_its_bound(service):
    bounded, other = mine(service, max_parallel=2), mine(service)
    assert [take(service) for _ in range(4)] == [bounded, bounded, other, other]


@pytest.mark.parametrize(
    ("required", "lacking", "enough"),
    [
        ({"device": "cuda"}, {"device": "cpu"}, {"device": "cuda:1"}),
        ({"memory_bytes": 16 * GIB}, {"memory_bytes": 8 * GIB}, {"memory_bytes": 16 * GIB}),
        ({"memory_bytes": 16 * GIB}, {}, {"memory_bytes": 80 * GIB}),
        ({"labels": {"site": "berlin"}}, {"labels": {"site": "rome"}}, {"labels": {"site": "berlin", "rack": "7"}}),
    ],
)
def test_requirements_must_be_met(service, required, lacking, enough):
    study = mine(service, requirements=required)
    assert take(service, worker(**lacking)) is None
    assert take(service, worker(**enough)) == study


def test_a_worker_that_lacks_something_gets_what_is_next(service):
    needy, easy = mine(service, requirements={"device": "cuda"}), mine(service)
    assert [take(service), take(service, worker(device="cuda:0"))] == [easy, needy]


def test_an_attempt_that_is_not_due_waits(service):
    study, other = mine(service, n_trials=1), mine(service)
    with service.backend.writing() as session:
        session.execute(update(JobRow).where(JobRow.study_id == study).values(not_before=JobRow.queued_at + 1e6))
    assert take(service) == other
    with service.backend.writing() as session:
        session.execute(update(JobRow).where(JobRow.study_id == study).values(not_before=JobRow.queued_at))
    assert take(service) == study


def test_a_worker_gets_jobs_of_the_model_that_it_holds(service):
    older = mine(service)
    model, sha256 = other_model(service)
    younger = mine(service, model=model)
    assert take(service, worker(holds=[sha256])) == younger
    assert take(service, worker()) == older


def test_a_priority_goes_before_what_a_worker_holds(service):
    first = mine(service, priority=1)
    model, sha256 = other_model(service)
    mine(service, model=model)
    assert take(service, worker(holds=[sha256])) == first


def test_who_is_passed_over_goes_first_in_the_end(service):
    older = mine(service, n_trials=3)
    model, sha256 = other_model(service)
    younger = mine(service, model=model, n_trials=30)
    order = [take(service, worker(holds=[sha256])) for _ in range(2 * PATIENCE + 2)]
    assert order == ([younger] * PATIENCE + [older]) * 2


def test_an_inspection_of_the_users_goes_first(service):
    mine(service, priority=100)
    service.upload_model(synthetic.model_document(salt=7))
    assert take(service) is None  # it has no study
    with service.backend.reading() as session:
        assert session.query(JobRow).filter_by(kind="inspect", state="leased").count() == 1


def test_an_inspection_of_somebody_else_waits_for_their_turn(service):
    study = mine(service, n_trials=1)
    add_user(service, "ada", usage_seconds=1e6)
    model = service.upload_model(synthetic.model_document(salt=7)).json()["id"]
    with service.backend.writing() as session:
        session.execute(update(ModelRow).where(ModelRow.id == model).values(user_id="ada"))
    assert [take(service), take(service)] == [study, None]


def test_a_draining_worker_gets_nothing(service):
    mine(service)
    service.agent("w").claim()
    service.http.post("/v1/workers/w/drain")
    assert take(service, worker("w")) is None


def test_quotas_hold_when_many_ask_at_once(service):
    add_user(service, "ada", max_parallel=3)
    for _ in range(3):
        submit_as(service, "ada", n_trials=9, max_parallel=2)
    taken: list[object] = []
    threads = [
        threading.Thread(target=lambda n=number: taken.append(take_next(service.backend, worker(f"w{n}"))))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in taken) == 3
