"""Every page, looked at: no error, no other host, no serious finding of axe, no sideways scrolling; pictures."""

from __future__ import annotations

import re

import pytest

from tests.browser.seeding import FAILED, HOSTILE, PAUSED, RUNNING

pytestmark = pytest.mark.slow

PAGES = {
    "studies": "/studies",
    "studies-paused": "/studies?state=paused",
    "workers": "/workers",
    "not-found": "/nothing-here",
}


@pytest.mark.parametrize("name", list(PAGES))
def test_a_page_is_in_order(signed_in_page, watches, check_page, name):
    signed_in_page.goto(PAGES[name])
    if name == "not-found":
        watches[signed_in_page].errors.clear()  # Chromium says of every 404 that it is one
    check_page(signed_in_page, name)


@pytest.mark.parametrize("name", [RUNNING, PAUSED, FAILED, HOSTILE])
def test_the_page_of_a_study_is_in_order(signed_in_page, seeded, check_page, name):
    signed_in_page.goto(f"/studies/{seeded.studies[name]}")
    assert signed_in_page.get_by_role("heading", level=1).inner_text() == name
    check_page(signed_in_page, f"study-{re.search('[a-z]+', name)[0]}")


def test_the_sign_in_page_is_in_order(page, check_page):
    page.goto("/sign-in")
    check_page(page, "sign-in")
