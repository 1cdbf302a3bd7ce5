from __future__ import annotations

import pytest

from service.storage.tables import StudyRow
from tests.service.scheduling.simulated import Fleet, add_user, pass_time, submit_as, take, usage, worker


@pytest.fixture
def service(start):
    return start(lease_seconds=1e6)


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))


def test_three_users_with_unequal_queues_get_equal_worker_seconds(service):
    for user, studies in {"ada": 1, "ben": 2, "cleo": 4}.items():
        add_user(service, user)
        for _ in range(studies):
            submit_as(service, user, n_trials=60)
    lengths = {"ada": 5.0, "ben": 10.0, "cleo": 20.0}
    fleet = Fleet(service, 4, lengths.__getitem__)
    fleet.run(300)
    assert jain([fleet.served[user] for user in lengths]) >= 0.95
    assert sum(fleet.served.values()) >= 0.9 * 4 * 300  # and nobody idled for it


def test_weights_are_shares(service):
    for user, weight in {"ada": 2, "ben": 1, "cleo": 1}.items():
        add_user(service, user, weight=weight)
        submit_as(service, user, n_trials=90)
    fleet = Fleet(service, 4)
    fleet.run(300)
    served = [fleet.served[user] / 1200 for user in ("ada", "ben", "cleo")]
    assert served == pytest.approx([0.5, 0.25, 0.25], abs=0.04)


def test_eight_workers_that_come_at_once_are_shared_out(service):
    for user in ("ada", "ben"):
        add_user(service, user)
        submit_as(service, user, n_trials=9)
    fleet = Fleet(service, 8)
    fleet.run(5)
    assert sorted(fleet.started) == ["ada"] * 4 + ["ben"] * 4


def test_who_was_away_gets_no_hoarded_credit(service):
    for user in ("ada", "ben"):
        add_user(service, user)
    away = submit_as(service, "ada", n_trials=90)
    service.http.post(f"/v1/studies/{away}/pause")
    submit_as(service, "ben", n_trials=140)
    fleet = Fleet(service, 2)
    fleet.run(400)
    assert fleet.served == {"ben": 800}
    service.http.post(f"/v1/studies/{away}/resume")
    fleet.run(600)
    assert fleet.served["ada"] == pytest.approx(200, abs=20)


def test_who_comes_when_nobody_is_there_starts_level_with_who_was_served_most(service):
    add_user(service, "ada")
    add_user(service, "ben", usage_seconds=10_000.0)
    study = submit_as(service, "ada", n_trials=9)
    service.http.post(f"/v1/studies/{study}/pause")
    service.http.post(f"/v1/studies/{study}/resume")
    assert usage(service, "ada") == pytest.approx(10_000, abs=5)


def test_who_is_there_already_is_not_lifted(service):
    add_user(service, "ada")
    add_user(service, "ben", usage_seconds=10_000.0)
    submit_as(service, "ben", n_trials=9)
    submit_as(service, "ada", n_trials=9)
    second = submit_as(service, "ada", n_trials=9)
    service.http.post(f"/v1/studies/{second}/pause")
    service.http.post(f"/v1/studies/{second}/resume")
    assert usage(service, "ada") == 0


@pytest.mark.parametrize("end", ["complete", "fail", "release", "leave", "cancel"])
def test_however_a_lease_ends_it_is_charged_once(service, end):
    study = service.submit()["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    job = agent.must_claim("trial")
    pass_time(service, 100)
    before = usage(service, "usr_local")
    for _ in range(2):
        if end == "complete":
            agent.complete(job)
        elif end == "fail":
            agent.fail(job)
        elif end == "release":
            agent.post(job, "release")
        elif end == "leave":
            service.http.delete(f"/v1/workers/{agent.name}")
        else:
            service.http.post(f"/v1/studies/{study}/cancel")
    assert usage(service, "usr_local") - before == pytest.approx(100, abs=5)


def test_an_expired_lease_is_charged_for_as_long_as_it_lasted(start, let_leases_expire):
    service = start()
    service.submit()
    service.agent().must_claim("baseline")
    pass_time(service, 40)
    let_leases_expire()
    service.agent("other").must_claim("baseline")
    assert 0 < usage(service, "usr_local") < 100


def test_an_inspection_is_charged_to_who_brought_the_model(service):
    service.upload_model()
    agent = service.agent()
    job = agent.must_claim("inspect")
    pass_time(service, 50)
    agent.complete(job)
    assert usage(service, "usr_local") == pytest.approx(50, abs=5)


def test_a_user_runs_no_more_than_the_quota(service):
    add_user(service, "ada", max_parallel=2)
    add_user(service, "ben")
    submit_as(service, "ada", n_trials=9)
    submit_as(service, "ben", n_trials=1)
    users = []
    for number in range(5):
        study = take(service, worker(f"w{number}"))
        with service.backend.reading() as session:
            users.append(None if study is None else session.get_one(StudyRow, study).user_id)
    assert sorted(users[:3]) == ["ada", "ada", "ben"]
    assert users[3:] == [None, None]
