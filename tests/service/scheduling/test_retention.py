from __future__ import annotations

import json

import optuna
from sqlalchemy import func, select, update

from service.scheduling.retention import Retention, drop_factors, drop_optuna_studies, trim_events
from service.storage.tables import EventRow, FactorRow, StudyRow
from tests.service import synthetic

DAY = 86_400.0


def put_factors(service, *sizes):
    """Factors of these sizes, each used a minute before the next."""
    keys = [synthetic.sha256(str(number).encode()) for number in range(len(sizes))]
    for number, (key, size) in enumerate(zip(keys, sizes, strict=True)):
        assert service.http.put(f"/v1/factors/{key}", content=bytes([number]) * size).status_code == 201
        unused(service, key, 60.0 * (len(sizes) - number))
    return keys


def unused(service, key, seconds):
    with service.backend.writing() as session:
        row = update(FactorRow).where(FactorRow.key == key)
        session.execute(row.values(used_at=FactorRow.used_at - seconds))


def factors(service):
    with service.backend.reading() as session:
        return set(session.scalars(select(FactorRow.key)))


def test_factors_that_nobody_asked_for_in_time_are_dropped(start):
    service = start(factor_days=30)
    old, young = put_factors(service, 10, 10)
    unused(service, old, 31 * DAY)
    assert drop_factors(service.backend) == 1
    assert factors(service) == {young}
    assert service.http.get(f"/v1/factors/{old}").status_code == 404


def test_of_too_many_factors_the_least_recently_used_are_dropped(start):
    service = start(factor_bytes=100)
    keys = put_factors(service, 50, 60, 30, 10)
    assert drop_factors(service.backend) == 1
    assert factors(service) == set(keys[1:])


def test_factors_that_fit_exactly_stay(start):
    service = start(factor_bytes=100)
    put_factors(service, 40, 60)
    assert drop_factors(service.backend) == 0


def test_the_bytes_of_dropped_factors_go_in_the_same_collection_once_they_are_old(start):
    service = start(factor_bytes=0, blob_grace_seconds=0)
    put_factors(service, 10, 20)
    Retention(service.backend).collect()
    assert (factors(service), list(service.backend.blobs.listing())) == (set(), [])


def finished(service, **options):
    study = service.submit(n_trials=2, **options)["id"]
    service.agent().work()
    return study


def ended_ago(service, study, seconds):
    with service.backend.writing() as session:
        row = update(StudyRow).where(StudyRow.id == study)
        session.execute(row.values(finished_at=StudyRow.finished_at - seconds))


def events(service, study, after=0):
    with service.http.stream("GET", f"/v1/studies/{study}/events?after={after}") as answer:
        return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


def test_the_events_of_a_study_that_ended_long_ago_go_up_to_its_end(start):
    service = start(event_days=7)
    study = finished(service)
    before = events(service, study)
    ended_ago(service, study, 8 * DAY)
    assert trim_events(service.backend) == 1
    left = events(service, study)  # the stream ends by itself
    assert 0 < len(left) < len(before)
    assert left == before[-len(left) :]
    assert (left[0]["kind"], left[0]["data"]["state"]) == ("study", "completed")
    assert events(service, study, after=left[-1]["id"]) == []
    assert trim_events(service.backend) == 0


def test_the_events_of_others_stay(start):
    service = start(event_days=7)
    young, running = finished(service), service.submit(n_trials=2)["id"]
    before = {study: count(service, study) for study in (young, running)}
    ended_ago(service, young, 6 * DAY)
    assert trim_events(service.backend) == 0
    assert {study: count(service, study) for study in (young, running)} == before


def count(service, study):
    with service.backend.reading() as session:
        return session.scalar(select(func.count()).where(EventRow.study_id == study))


def test_optuna_forgets_a_study_that_has_no_row_and_keeps_all_others(service):
    storage = service.backend.records._storage
    kept = finished(service)
    optuna.create_study(study_name="somebody's own", storage=storage)
    gone = optuna.create_study(study_name="sty_0123456789abcdef", storage=storage, directions=["minimize", "maximize"])
    gone.set_user_attr("a", 1)
    trial = gone.ask({"x": optuna.distributions.IntDistribution(0, 3)})
    trial.set_user_attr("b", 2)
    gone.tell(trial, [1.0, 2.0])
    assert drop_optuna_studies(service.backend) == 1
    assert set(optuna.get_all_study_names(storage)) == {kept, "somebody's own"}
    assert len(service.optuna(kept).trials) == 2
    assert drop_optuna_studies(service.backend) == 0


def test_a_service_collects_by_itself(start):
    service = start(collect_seconds=0.05, blob_grace_seconds=0)
    sha256 = synthetic.sha256(b"bytes")
    service.http.put(f"/v1/blobs/{sha256}", content=b"bytes")
    for _ in range(200):
        if not service.backend.blobs.holds(sha256):
            break
        service.http.get("/readyz")
    assert service.http.get(f"/v1/blobs/{sha256}").status_code == 404
