from __future__ import annotations

import threading

import optuna
import pytest
from sqlalchemy import func, select

from ranksearch.contracts.errors import ConflictError, NotFoundError
from ranksearch.contracts.study_requests import StudyRequest
from service.access.principal import LOCAL
from service.scheduling import submission
from service.scheduling.deletion import delete_dataset, delete_model, delete_study
from service.scheduling.retention import Retention
from service.scheduling.submission import submit
from service.search.optuna_records import OptunaRecords
from service.storage.tables import AuditRow, EventRow, FineTuneRow, IdempotencyRow, JobRow, StudyRow, Table
from tests.service import synthetic


def finished(service, **options):
    study = service.submit(n_trials=2, **options)["id"]
    service.agent().work()
    assert service.study(study)["state"] == "completed"
    return study


def rows_of(service, study):
    with service.backend.reading() as session:
        tables = (JobRow, EventRow, IdempotencyRow)
        return [session.scalar(select(func.count()).where(table.study_id == study)) for table in tables]


def code(answer):
    return answer.status_code, answer.json()["code"]


def test_a_study_goes_with_all_that_it_has(service):
    request = service.request(n_trials=2)
    study = service.http.post("/v1/studies", json=request, headers={"idempotency-key": "k"}).json()["id"]
    service.agent().work()
    assert service.http.delete(f"/v1/studies/{study}").status_code == 204
    for path in ("", "/trials", "/artifacts", "/best", "/events"):
        assert code(service.http.get(f"/v1/studies/{study}{path}")) == (404, "study_not_found")
    assert rows_of(service, study) == [0, 0, 0]
    assert study not in optuna.get_all_study_names(service.backend.records._storage)


def test_its_key_can_be_used_again(service):
    request, key = service.request(n_trials=1), {"idempotency-key": "k"}
    first = service.http.post("/v1/studies", json=request, headers=key).json()["id"]
    service.agent().work()
    service.http.delete(f"/v1/studies/{first}")
    again = service.http.post("/v1/studies", json=request, headers=key)
    assert (again.status_code, again.json()["id"] != first) == (202, True)


def test_what_is_not_there_is_not_found(service):
    for what, expected in (("studies", "study"), ("models", "model"), ("datasets", "dataset")):
        assert code(service.http.delete(f"/v1/{what}/nothing")) == (404, f"{expected}_not_found")


@pytest.mark.parametrize("jobs", [0, 1, 2])
def test_a_study_that_has_not_ended_stays(service, jobs):
    study = service.submit(n_trials=2)["id"]
    service.agent().work(jobs)
    assert code(service.http.delete(f"/v1/studies/{study}")) == (409, "in_use")
    assert service.study(study)["id"] == study


def test_a_cancelled_study_can_be_deleted(service):
    study = service.submit(n_trials=2)["id"]
    service.agent().work(2)
    service.http.post(f"/v1/studies/{study}/cancel")
    assert service.http.delete(f"/v1/studies/{study}").status_code == 204


def test_a_study_whose_artifact_is_being_made_stays_until_it_is_made(service):
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.work(2)
    job = agent.must_claim("compress")
    assert code(service.http.delete(f"/v1/studies/{study}")) == (409, "in_use")
    agent.complete(job)
    assert service.http.delete(f"/v1/studies/{study}").status_code == 204


def test_a_study_whose_artifact_nobody_has_begun_goes_with_its_job(service):
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.work(2)
    assert service.http.delete(f"/v1/studies/{study}").status_code == 204
    assert agent.claim() is None


def test_a_study_that_a_running_one_learns_from_stays_until_that_has_ended(service):
    earlier = finished(service)
    later = service.submit(n_trials=1, from_studies=[earlier])["id"]
    answer = service.http.delete(f"/v1/studies/{earlier}")
    assert (code(answer), answer.json()["extra"]["studies"]) == ((409, "in_use"), [later])
    service.agent().work()
    assert service.http.delete(f"/v1/studies/{earlier}").status_code == 204
    assert service.study(later)["request"]["from_studies"] == [earlier]


def test_a_model_that_a_study_searched_stays_and_the_study_is_named(service):
    study, ids = finished(service), service.uploaded
    answer = service.http.delete(f"/v1/models/{ids['model']}")
    assert (code(answer), answer.json()["extra"]["studies"]) == ((409, "in_use"), [study])
    assert study in answer.json()["got"]


@pytest.mark.parametrize("role", ["calibration", "validation"])
def test_a_data_set_that_a_study_uses_in_any_role_stays(service, role):
    service.prepare()
    data = service.upload_dataset(synthetic.dataset_document(salt=7)).json()["id"]
    study = service.submit(n_trials=1, **{role: {"dataset": data, "start": 0, "stop": 20}})["id"]
    answer = service.http.delete(f"/v1/datasets/{data}")
    assert (code(answer), answer.json()["extra"]["studies"]) == ((409, "in_use"), [study])


def test_once_its_studies_are_gone_all_of_it_can_go_and_its_bytes_follow(start):
    service = start(blob_grace_seconds=0)
    study, ids = finished(service), service.uploaded
    for path in (f"studies/{study}", f"models/{ids['model']}", f"datasets/{ids['dataset']}"):
        assert service.http.delete(f"/v1/{path}").status_code == 204
    Retention(service.backend).collect()
    assert list(service.backend.blobs.listing()) == []
    assert service.get("/v1/models")["items"] == service.get("/v1/datasets")["items"] == []


def test_a_model_that_waits_for_its_inspection_goes_with_it(service):
    model = service.upload_model().json()["id"]
    assert service.http.delete(f"/v1/models/{model}").status_code == 204
    assert service.agent().claim() is None


def test_a_model_that_is_being_inspected_stays(service):
    model = service.upload_model().json()["id"]
    agent = service.agent()
    job = agent.must_claim("inspect")
    assert code(service.http.delete(f"/v1/models/{model}")) == (409, "in_use")
    agent.complete(job)
    assert service.http.delete(f"/v1/models/{model}").status_code == 204


def test_the_same_document_can_be_uploaded_again(service):
    model = service.upload_model().json()["id"]
    service.http.delete(f"/v1/models/{model}")
    again = service.upload_model()
    assert (again.status_code, again.json()["id"] != model) == (201, True)
    service.agent().complete(service.agent().must_claim("inspect"))


def test_deletions_are_in_the_audit(service):
    study, ids = finished(service), service.uploaded
    for path in (f"studies/{study}", f"models/{ids['model']}", f"datasets/{ids['dataset']}"):
        service.http.delete(f"/v1/{path}")
    with service.backend.reading() as session:
        told = session.execute(select(AuditRow.action, AuditRow.subject).where(AuditRow.action.endswith(".delete")))
        assert {tuple(row) for row in told} == {
            ("study.delete", study),
            ("model.delete", ids["model"]),
            ("dataset.delete", ids["dataset"]),
        }


def test_a_process_that_dies_before_optuna_is_told_is_made_good_for(service, monkeypatch):
    class Crash(BaseException):
        pass

    def dies(*_args):
        raise Crash

    study = finished(service)
    with monkeypatch.context() as crashing:
        crashing.setattr(OptunaRecords, "forget", dies)
        with pytest.raises(Crash):
            delete_study(service.backend, LOCAL, study)
    storage = service.backend.records._storage
    assert study in optuna.get_all_study_names(storage)
    Retention(service.backend).collect()
    assert study not in optuna.get_all_study_names(storage)


def test_a_study_that_is_submitted_meanwhile_keeps_what_it_refers_to(service, monkeypatch):
    """The submission has looked at its model and data; now they are deleted; then it goes on."""
    request = StudyRequest.model_validate(service.request(n_trials=1))
    ids, looked, go_on = service.uploaded, threading.Event(), threading.Event()
    check, made = submission.checked_request, []

    def checked(*args, **options):
        found = check(*args, **options)
        looked.set()
        go_on.wait(30)
        return found

    monkeypatch.setattr(submission, "checked_request", checked)
    submitting = threading.Thread(target=lambda: made.append(submit(service.backend, LOCAL, request)[0].id))
    submitting.start()
    assert looked.wait(30)
    refused = []

    def delete(what, one):
        try:
            what(service.backend, LOCAL, one)
        except ConflictError as problem:
            refused.append(problem.code)

    deleting = [
        threading.Thread(target=delete, args=(delete_model, ids["model"])),
        threading.Thread(target=delete, args=(delete_dataset, ids["dataset"])),
    ]
    for thread in deleting:
        thread.start()
    go_on.set()
    for thread in (submitting, *deleting):
        thread.join()
    assert (len(made), refused) == (1, ["in_use"] * 2)
    service.agent().work()
    assert service.study(made[0])["state"] == "completed"


def test_two_who_delete_the_same_study_delete_it_once(service):
    study, ends = finished(service), []

    def delete():
        try:
            delete_study(service.backend, LOCAL, study)
            ends.append("deleted")
        except NotFoundError:
            ends.append("not found")

    threads = [threading.Thread(target=delete) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["deleted", "not found"]


def test_every_table_that_refers_to_studies_is_emptied():
    """A new table that refers to studies must be known to their deletion."""
    referring = {
        table.name
        for table in Table.metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name == StudyRow.__tablename__
    }
    assert referring == {table.__tablename__ for table in (JobRow, EventRow, FineTuneRow, IdempotencyRow)}
