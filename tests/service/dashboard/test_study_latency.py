"""The page of a study's latency reports, as the service renders it."""

from __future__ import annotations

import re

import pytest

from tests.service import synthetic
from tests.service.dashboard.conftest import HOSTILE, text_of


@pytest.fixture
def study(service):
    made = service.submit(n_trials=2)["id"]
    service.agent().work()
    return made


def measured(service, study, **body):
    answer = service.http.post(f"/v1/studies/{study}/latency", json=body)
    assert answer.status_code == 202, answer.text
    service.agent().work()
    return service.get(answer.headers["location"])


def buttons(page):
    return re.findall(r'data-measure-latency="([^"]+)" data-trial="(\d+)"( data-again)?>([^<]+)<', page.text)


def test_before_anything_is_timed_it_offers_the_best_trial(service, browser, study):
    page = browser.get(f"/studies/{study}/latency")
    best = service.study(study)["best_trial"]
    assert "Nothing is timed yet" in text_of(page)
    assert buttons(page) == [(f"/v1/studies/{study}/latency", str(best), "", f"Measure trial {best}")]


def test_before_the_first_trial_there_is_nothing_to_ask_for(service, browser):
    page = browser.get(f"/studies/{service.submit()['id']}/latency")
    assert "No trial is complete yet" in text_of(page)
    assert buttons(page) == []


def test_a_report_says_its_verdict_every_way_and_each_layer(service, browser, study):
    told = measured(service, study)
    page = browser.get(f"/studies/{study}/latency")
    text = text_of(page)
    assert told["verdict"] in text
    assert "torch, contiguous cpu, float32, 2 threads 1 3 ms ± 0.03 2 ms ± 0.02 1.50× 1.47–1.53 faster" in text
    assert "not measured the worker may not start a compiler" in text
    assert f"{len(told['leave_dense'])} of {len(told['report']['layers'])} better left dense here" in text
    for layer in told["report"]["layers"]:
        assert f"{layer['name']} {layer['choice']['method']}, rank {layer['choice']['rank']}" in text
    assert text.count("leave dense") == len(told["leave_dense"])
    assert [again for *_, again, _ in buttons(page)] == [" data-again"]


def test_a_report_that_is_being_made_says_how_far_it_is_and_follows_events(service, browser, study):
    service.http.post(f"/v1/studies/{study}/latency", json={})
    page = browser.get(f"/studies/{study}/latency")
    assert "It waits for a worker" in text_of(page)
    assert f'data-events="/v1/studies/{study}/events' in page.text
    service.agent().must_claim("latency")
    assert "A worker is timing it" in text_of(browser.get(f"/studies/{study}/latency"))


def test_one_that_failed_says_why_and_can_be_measured_again(service, browser, study):
    service.http.post(f"/v1/studies/{study}/latency", json={})
    agent = service.agent()
    agent.fail(agent.must_claim("latency"), detail="no memory")
    page = browser.get(f"/studies/{study}/latency")
    assert "no memory" in text_of(page)
    assert [label for *_, label in buttons(page)] == ["Measure again"]


def test_reasons_of_a_worker_are_text(service, browser, study):
    service.http.post(f"/v1/studies/{study}/latency", json={"batches": [1]})
    agent = service.agent()
    job = agent.must_claim("latency")
    report = synthetic.latency_report(job["task"])
    report["rows"] = [synthetic.latency_row(measured=None, why_not=HOSTILE, device=HOSTILE)]
    assert agent.post(job, "complete", outcome={"kind": "latency", "report": report}).status_code == 204
    page = browser.get(f"/studies/{study}/latency")
    assert HOSTILE in text_of(page)
    assert HOSTILE not in page.text


def test_a_reader_sees_reports_and_no_buttons(service, stranger, study):
    measured(service, study)
    token = service.http.post("/v1/tokens", json={"name": "reader", "scopes": ["read"]}).json()["secret"]
    assert stranger.post("/v1/session", json={"token": token}).status_code == 201
    page = stranger.get(f"/studies/{study}/latency")
    assert "Faster (" in text_of(page)
    assert buttons(page) == []


def test_the_page_of_a_complete_trial_offers_its_latency(service, browser, study):
    other = 1 - service.study(study)["best_trial"]
    page = browser.get(f"/studies/{study}/trials/{other}")
    assert buttons(page) == [(f"/v1/studies/{study}/latency", str(other), "", "Measure its latency")]
