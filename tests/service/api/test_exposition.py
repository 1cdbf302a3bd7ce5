from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from service.scheduling import gauges
from service.scheduling.gauges import DatabaseGauges
from service.scheduling.leases import expire
from service.version import VERSION
from tests.service import synthetic

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def every_scrape_looks(monkeypatch):
    monkeypatch.setattr(gauges, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(DatabaseGauges.__init__, "__defaults__", (0.0,))


class Scrape:
    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, sample: str, **labels: str) -> float:
        """The sum of a name's samples that have these labels."""
        found = [s.value for s in self.samples if s.name == sample and labels.items() <= s.labels.items()]
        assert found, f"no sample {sample} {labels}"
        return sum(found)

    def has(self, sample: str, **labels: str) -> bool:
        return any(s.name == sample and labels.items() <= s.labels.items() for s in self.samples)


def scrape(service) -> Scrape:
    answer = service.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Scrape(answer.text)


def measured(job):
    return {"seconds": {"decomposition": 1, "assembly": 0.5, "calibration": 2, "validation": 3, "total": 6.5}}


def test_figures_of_a_whole_study(service):
    study = service.submit(n_trials=4)
    before = scrape(service)
    assert before("ranksearch_jobs_waiting", kind="trial") == 4
    assert before("ranksearch_jobs_waiting", kind="baseline") == 1
    assert before("ranksearch_jobs_waiting") == 5
    assert before("ranksearch_studies", state="queued") == 1
    assert before("ranksearch_jobs_oldest_waiting_seconds") >= 0

    service.agent(measure=measured).work()
    assert service.study(study["id"])["state"] == "completed"
    told = scrape(service)
    assert told("ranksearch_jobs_waiting") == told("ranksearch_jobs_leased") == 0
    assert told("ranksearch_studies", state="completed") == 1
    assert told("ranksearch_jobs_claimed_total", kind="trial") == 4
    assert told("ranksearch_jobs_completed_total", kind="trial") == 4
    assert told("ranksearch_job_wait_seconds_count", kind="trial") == 4
    assert told("ranksearch_sampling_seconds_count") == 4
    for part, seconds in measured(None)["seconds"].items():
        assert told("ranksearch_trial_seconds_count", part=part) == 4
        assert told("ranksearch_trial_seconds_sum", part=part) == 4 * seconds
    documents = [synthetic.model_document(), synthetic.dataset_document(), synthetic.model_document(salt=99)]
    assert told("ranksearch_blobs") == 3
    assert told("ranksearch_blob_bytes") == sum(map(len, documents))
    assert told("ranksearch_workers", state="idle") == 2
    assert told("ranksearch_database_up") == 1
    route = {"method": "POST", "route": "/v1/jobs/{job}/complete", "status": "204"}
    assert told("ranksearch_http_requests_total", **route) == 7
    assert told("ranksearch_http_request_duration_seconds_count", route="/v1/jobs/{job}/complete") == 7
    assert told("process_resident_memory_bytes") > 1e6


def test_a_leased_job_and_its_worker(service):
    service.submit()
    service.agent().must_claim()
    told = scrape(service)
    assert (told("ranksearch_jobs_leased", kind="baseline"), told("ranksearch_jobs_waiting", kind="baseline")) == (1, 0)
    assert (told("ranksearch_workers", state="busy"), told("ranksearch_workers", state="idle")) == (1, 1)


def test_retries_and_failures_are_counted_by_code(service):
    service.submit()
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    job = agent.must_claim("trial")
    agent.fail(job, code="evaluation_out_of_memory")
    told = scrape(service)
    assert told("ranksearch_job_failures_total", kind="trial", code="evaluation_out_of_memory") == 1


def test_codes_that_a_worker_makes_up_are_one_label(service):
    service.submit()
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    for number in range(2):
        agent.fail(agent.must_claim("trial"), code=f"evaluation_{number}")
    assert scrape(service)("ranksearch_job_failures_total", kind="trial", code="other") == 2


def test_an_expired_lease_and_the_late_result(start):
    service = start(lease_seconds=0.05)
    service.submit()
    agent = service.agent()
    job = agent.must_claim()
    threading.Event().wait(0.1)
    assert expire(service.backend) == 1
    assert agent.post(job, "complete", outcome=agent.outcome(job)).json()["code"] == "lease_lost"
    told = scrape(service)
    assert told("ranksearch_leases_expired_total", kind="baseline") == 1
    assert told("ranksearch_job_retries_total", kind="baseline", code="evaluation_crashed") == 1
    assert told("ranksearch_leases_lost_total") == 1


def test_what_is_rolled_back_is_not_counted(service, monkeypatch):
    service.submit()
    agent = service.agent()
    job = agent.must_claim()
    monkeypatch.setattr("service.scheduling.outcomes.after_baseline", lambda *_: 1 / 0)
    assert agent.post(job, "complete", outcome=agent.outcome(job)).status_code == 500
    assert not scrape(service).has("ranksearch_jobs_completed_total", kind="baseline")


def test_unknown_addresses_and_methods_make_no_labels_of_their_own(service):
    for path in ("/a", "/b"):
        service.http.request("BREW", path)
    told = scrape(service)
    assert told("ranksearch_http_requests_total", method="other", route="none", status="404") == 2


def test_two_applications_in_one_process_count_for_themselves(start, tmp_path):
    one, other = start(), start(data_dir=tmp_path / "other")
    one.get("/v1/models")
    assert scrape(one).has("ranksearch_http_requests_total", route="/v1/models")
    assert not scrape(other).has("ranksearch_http_requests_total", route="/v1/models")


def test_scrapes_within_two_seconds_share_a_look_into_the_database(service, monkeypatch):
    collector = DatabaseGauges(service.backend, fresh_seconds=60)
    looks, look = [], gauges._look
    monkeypatch.setattr(gauges, "_look", lambda *a: looks.append(1) or look(*a))
    for _ in range(3):
        list(collector.collect())
    assert len(looks) == 1


def test_without_its_database_the_scrape_still_answers(service, monkeypatch):
    def away(*_):
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr(gauges, "_look", away)
    told = scrape(service)
    assert told("ranksearch_database_up") == 0
    assert not told.has("ranksearch_jobs_waiting")


def test_a_token_is_needed_unless_it_is_said_that_none_is(start, tmp_path):
    closed, opened = start(), start(data_dir=tmp_path / "other", metrics_open=True)
    answers = [service.http.get("/metrics", headers={"authorization": ""}) for service in (closed, opened)]
    assert [answer.status_code for answer in answers] == [401, 200]


def test_an_open_stream_and_a_waiting_claim_are_seen(process):
    def value(name):
        return Scrape(process.http.get("/metrics").text)(name)

    about = {"worker": "idle", "name": "w", "device": "cpu", "version": VERSION, "wait_seconds": 5}
    thread = threading.Thread(target=process.http.post, args=("/v1/jobs/claim",), kwargs={"json": about})
    thread.start()
    process.wait_for(lambda: value("ranksearch_claims_waiting") == 1)
    process.http.delete("/v1/workers/idle")
    thread.join()
    process.wait_for(lambda: value("ranksearch_claims_waiting") == 0)


def test_every_metric_has_a_help_text_and_is_documented(service):
    documented = set(re.findall(r"`(ranksearch_\w+)`", (ROOT / "docs" / "operations.md").read_text()))
    ours = {name: family for name, family in scrape(service).families.items() if name.startswith("ranksearch_")}
    ours = {name: family for name, family in ours.items() if not name.endswith("_created")}  # beside each counter
    assert [name for name, family in ours.items() if not family.documentation] == []
    told = {f"{name}_total" if family.type == "counter" else name for name, family in ours.items()}
    assert sorted(documented) == sorted(told)
