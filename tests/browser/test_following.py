"""Pages follow what happens, without being loaded again and without jumping about."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

_WATCH_SHIFTS = """() => {
    window.untouched = true;
    window.shifts = [];
    const where = (source) => source.node?.outerHTML?.slice(0, 200) ?? source.node?.textContent;
    const told = (one) => ({by: one.value, moved: one.sources.map(where)});
    const observer = new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map(told)));
    observer.observe({type: "layout-shift"});
}"""


@pytest.fixture
def submitted(seeded, request):
    """A study of the test's own, whose jobs are the next to be claimed; it is cancelled in the end."""
    study = seeded.submit(f"follows {request.node.name.removeprefix('test_')[:40]}", n_trials=12, priority=90)
    yield study
    if seeded.http.get(f"/v1/studies/{study}").json()["state"] not in {"completed", "cancelled", "failed"}:
        seeded.post(study, "cancel")


def quiet_and_still(page, watches):
    assert page.evaluate("window.untouched"), "the page was loaded again"
    shifts = page.evaluate("window.shifts")
    assert sum(shift["by"] for shift in shifts) < 0.005, shifts  # 0.1 is what is called good
    watches[page].quiet()


def test_the_list_shows_a_study_that_arrives_and_how_it_goes(signed_in_page, seeded, watches, request):
    page, worker = signed_in_page, seeded.agent("follower-1")
    page.goto("/studies")
    page.evaluate("window.untouched = true")
    study = request.getfixturevalue("submitted")
    row = page.locator(f"#{study}")
    expect(row).to_contain_text("0 / 12", timeout=10_000)
    page.evaluate(_WATCH_SHIFTS)
    worker.work(limit=5)
    expect(row).to_contain_text("4 / 12", timeout=10_000)
    expect(row.get_by_text("running", exact=True)).to_be_visible()
    expect(row).to_contain_text("of 90.00%")
    seeded.post(study, "cancel")
    expect(row.get_by_text("cancelled", exact=True)).to_be_visible(timeout=10_000)
    quiet_and_still(page, watches)


def test_the_page_of_a_study_follows_its_events(signed_in_page, seeded, submitted, watches):
    page, worker = signed_in_page, seeded.agent("follower-2")
    worker.work(limit=4)
    page.goto(f"/studies/{submitted}")
    trials = page.locator(".figure", has_text="Trials")
    expect(trials).to_contain_text("3 of 12")
    page.evaluate(_WATCH_SHIFTS)
    for done in (4, 5):
        worker.complete(worker.must_claim("trial"))
        expect(trials).to_contain_text(f"{done} of 12", timeout=6_000)  # sooner than it would look by itself
    quiet_and_still(page, watches)


def test_a_stream_that_something_else_answers_is_opened_again(signed_in_page, seeded, submitted, watches):
    page, worker = signed_in_page, seeded.agent("follower-3")
    worker.work(limit=2)
    page.route("**/v1/studies/*/events*", lambda route: route.fulfill(status=503))  # as a proxy does meanwhile
    with page.expect_response("**/events*"):
        page.goto(f"/studies/{submitted}")
    chart = page.locator("#history-chart")
    expect(chart).to_have_attribute("aria-label", re.compile("of 1 trials"))
    page.unroute("**/v1/studies/*/events*")
    worker.complete(worker.must_claim("trial"))
    expect(chart).to_have_attribute("aria-label", re.compile("of 2 trials"), timeout=10_000)
    watches[page].errors.clear()  # Chromium says of every 503 that it is one


def test_a_study_is_paused_resumed_and_cancelled(signed_in_page, seeded, submitted, watches):
    page = signed_in_page
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"/studies/{submitted}")
    state = page.locator(".title .state")
    page.get_by_role("button", name="Pause").click()
    expect(state).to_have_text("paused")
    expect(page.locator("#announcer")).to_have_text("The study is paused")
    page.get_by_role("button", name="Resume").click()
    expect(state).to_have_text(re.compile("queued|running"))
    page.get_by_role("button", name="Cancel").click()
    expect(state).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    watches[page].quiet()


def test_what_is_not_confirmed_is_not_done(signed_in_page, seeded, submitted):
    page = signed_in_page
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.goto(f"/studies/{submitted}")
    page.get_by_role("button", name="Cancel").click()
    assert seeded.http.get(f"/v1/studies/{submitted}").json()["state"] == "queued"


def test_a_button_that_comes_too_late_says_so(signed_in_page, seeded, submitted, check_page, watches):
    page = signed_in_page
    page.goto(f"/studies/{submitted}")
    page.route("**/v1/studies/*/events*", lambda route: route.abort())
    page.evaluate("document.querySelector('[data-live]').removeAttribute('data-live')")
    seeded.post(submitted, "cancel")
    page.get_by_role("button", name="Pause").click()
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("study")
    expect(notice).to_contain_text("got")
    page.get_by_role("button", name="Close").click()
    expect(notice).to_be_empty()


def test_a_worker_is_drained_and_taken_back(signed_in_page, seeded, watches):
    page = signed_in_page
    seeded.agent("drained-by-hand").claim()
    page.goto("/workers")
    row = page.get_by_role("row", name="drained-by-hand")
    row.get_by_role("button", name="Drain").click()
    expect(row.locator(".state").first).to_have_text("draining")
    row.get_by_role("button", name="Undrain").click()
    expect(row.locator(".state").first).to_have_text(re.compile("idle|busy"))
    watches[page].quiet()


def test_what_somebody_has_opened_stays_open(signed_in_page, watches):
    page = signed_in_page
    page.goto("/workers")
    box = page.locator("details").first
    box.locator("summary").click()
    expect(box.get_by_text("no network")).to_be_visible()
    for _ in range(2):  # it is fetched again twice
        with page.expect_response("**/workers"):
            pass
    expect(box.get_by_text("no network")).to_be_visible()
    expect(box.get_by_text("cgroups are not delegated to this user")).to_be_visible()
    watches[page].quiet()
