"""A service that nobody has used: its pages say what to do. And one that goes away and comes back."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import expect

from ranksearch.local import LocalDeployment
from tests.browser.conftest import sign_in
from tests.browser.seeding import Seeded, prepared
from tests.browser.watching import Watch, screenshots_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fresh(browser, tmp_path_factory):
    with LocalDeployment(tmp_path_factory.mktemp("fresh") / "data", workers=0) as local:
        yield local


@pytest.fixture
def fresh_page(browser, fresh):
    with browser.new_context(base_url=fresh.url) as context:
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        watch = Watch(page, fresh.url)
        sign_in(page, fresh.token)
        page.wait_for_url("**/studies")
        yield page, watch


def test_without_studies_it_says_how_to_submit_one(fresh_page, fresh, tmp_path):
    page, watch = fresh_page
    expect(page.get_by_role("heading", name="No study yet")).to_be_visible()
    page.get_by_role("button", name="Copy the command").click()
    expect(page.locator("#announcer")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("pre").inner_text()
    assert f"RANKSEARCH_URL={fresh.url}" in copied
    watch.check("studies-empty", screenshots_folder(tmp_path))


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("Models", "No model yet"),
        ("Data sets", "No data set yet"),
        ("Compare", "There is nothing to compare yet"),
    ],
)
def test_without_anything_the_other_pages_say_what_to_do(fresh_page, tmp_path, label, words):
    page, watch = fresh_page
    page.get_by_role("link", name=label, exact=True).click()
    expect(page.get_by_role("heading", name=words)).to_be_visible()
    watch.check(f"{label.lower().replace(' ', '')}-empty", screenshots_folder(tmp_path))


def test_without_workers_it_says_how_to_start_one(fresh_page, fresh, tmp_path):
    page, watch = fresh_page
    page.get_by_role("link", name="Workers").click()
    expect(page.get_by_role("heading", name="No worker is connected")).to_be_visible()
    expect(page.locator("pre")).to_contain_text(f"ranksearch worker --url {fresh.url}")
    watch.check("workers-empty", screenshots_folder(tmp_path))


def test_a_page_says_that_the_service_is_away_and_goes_on_when_it_is_back(fresh_page, fresh):
    page, _ = fresh_page
    page.evaluate("window.untouched = true")
    fresh.service.ask_to_stop()
    fresh.service.wait(15)
    banner = page.get_by_text("The service cannot be reached.")
    expect(banner).to_be_visible(timeout=15_000)
    fresh.start_service()
    expect(banner).to_be_hidden(timeout=15_000)
    expect(page.get_by_role("heading", name="No study yet")).to_be_visible()
    assert page.evaluate("window.untouched")


def test_a_study_is_followed_across_a_restart_of_the_service(fresh_page, fresh):
    page, _ = fresh_page
    made = prepared(fresh.url, fresh.token)
    study = made.submit("goes on", n_trials=6)
    made.agent().work(limit=3)
    page.goto(f"/studies/{study}")
    chart = page.locator("#history-chart")
    expect(chart).to_have_attribute("aria-label", re.compile("of 2 trials"))
    page.evaluate("window.untouched = true")
    fresh.service.ask_to_stop()
    fresh.service.wait(15)
    fresh.start_service()
    after = Seeded(fresh.url, fresh.token, httpx.Client(base_url=fresh.url, headers=made.http.headers))
    agent = after.agent()
    agent.complete(agent.must_claim("trial"))
    expect(chart).to_have_attribute("aria-label", re.compile("of 3 trials"), timeout=20_000)
    expect(page.locator(".figure", has_text="Trials")).to_contain_text("3 of 6", timeout=20_000)
    assert page.evaluate("window.untouched")
