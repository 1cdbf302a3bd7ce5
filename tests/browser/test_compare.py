"""Two studies, and two trials, beside each other in a browser."""

from __future__ import annotations

from tests.browser.seeding import FINISHED, RUNNING


def test_studies_are_chosen_and_compared(signed_in_page, seeded, check_page):
    page = signed_in_page
    page.goto("/compare")
    page.get_by_label("A", exact=True).select_option(seeded.studies[FINISHED])
    page.get_by_label("B", exact=True).select_option(seeded.studies[RUNNING])
    page.get_by_role("form", name="Two studies").get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Layers").wait_for()
    assert page.get_by_role("img", name="The best value so far over the trials").is_visible()
    check_page(page, "compare-studies")


def test_trials_of_a_study_are_compared(signed_in_page, seeded, check_page):
    page = signed_in_page
    page.goto("/studies")
    page.get_by_role("link", name="Compare").click()
    check_page(page, "compare")
    page.get_by_label("Study", exact=True).select_option(seeded.studies[FINISHED])
    page.get_by_label("A: trial").fill("0")
    page.get_by_label("B: trial").fill("1")
    page.get_by_role("form", name="Two trials of a study").get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Layers").wait_for()
    check_page(page, "compare-trials")
