from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import sign_in

pytestmark = pytest.mark.slow


def test_whoever_has_the_address_and_a_token_arrives_at_the_page_that_was_asked_for(page, seeded, watches):
    page.goto("/studies?state=paused")
    expect(page).to_have_url(re.compile(r"/sign-in\?next=/studies%3Fstate%3Dpaused$"))
    page.get_by_label("Your token").fill(seeded.token)
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies?state=paused")
    expect(page.get_by_role("banner").get_by_text("Signed in as")).to_be_attached()
    expect(page.get_by_role("link", name="paused by hand")).to_be_visible()
    watches[page].quiet()


def test_a_wrong_token_says_what_is_wrong_and_lets_one_try_again(page, seeded, watches, check_page):
    sign_in(page, "rs_wrong")
    problem = page.get_by_role("region", name="Problem")
    expect(problem).to_contain_text("token")
    expect(page.get_by_label("Your token")).to_be_focused()
    watches[page].errors.clear()  # Chromium says of every refused request that it was refused
    check_page(page, "sign-in-refused")
    page.get_by_label("Your token").fill(seeded.token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/studies")


def test_no_token_at_all_is_told_without_asking_the_service(page):
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("region", name="Problem")).to_contain_text("the token is missing")


def test_signing_out_ends_the_session(page, seeded):
    sign_in(page, seeded.token)
    page.wait_for_url("**/studies")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto("/workers")
    expect(page).to_have_url(re.compile("/sign-in"))


def test_a_page_whose_session_has_ended_leads_to_the_sign_in_page_by_itself(page, seeded):
    sign_in(page, seeded.token)
    page.wait_for_url("**/studies")
    page.context.clear_cookies()
    page.wait_for_url("**/sign-in?next=/studies")
