"""A trial's network timed beside the dense one: the report, and the button that asks for one."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.seeding import FINISHED, SMALLEST


@pytest.mark.slow
def test_the_report_is_in_order(signed_in_page, seeded, check_page):
    page = signed_in_page
    page.goto(f"/studies/{seeded.studies[FINISHED]}/latency")
    expect(page.get_by_text("better left dense here")).to_be_visible()
    check_page(page, "study-latency-report")


@pytest.mark.slow
def test_the_page_before_anything_was_timed_is_in_order(signed_in_page, seeded, check_page):
    page = signed_in_page
    page.goto(f"/studies/{seeded.studies[SMALLEST]}/latency")
    expect(page.get_by_role("button", name="Measure trial")).to_be_visible()
    check_page(page, "study-latency-untimed")


def test_a_report_is_asked_for_by_a_click_and_comes_by_itself(signed_in_page, seeded):
    page, name = signed_in_page, "timed after a click"
    study = seeded.submit(name, n_trials=2, priority=50)
    worker = seeded.agent()
    worker.work(limit=4)
    assert seeded.http.get(f"/v1/studies/{study}").json()["state"] == "completed"
    page.goto(f"/studies/{study}/latency")
    page.get_by_role("button", name="Measure trial").click()
    expect(page.get_by_text("It waits for a worker")).to_be_visible()
    seen = []
    for _ in range(5):  # what other tests have asked for may come first
        job = worker.must_claim()
        worker.complete(job)
        seen.append(job["task"]["kind"])
        if job["study"] == study and seen[-1] == "latency":
            break
    expect(page.get_by_text("Faster (")).to_be_visible()
    expect(page.get_by_role("button", name="Measure again")).to_be_visible()
    assert seen[-1] == "latency"
