"""What surrounds every page: colours, keyboard, times, and a page without scripts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.seeding import SMALLEST

pytestmark = pytest.mark.slow


def theme(page):
    return page.evaluate("document.documentElement.dataset.theme ?? 'system'")


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_colours_are_the_systems_until_somebody_chooses(signed_in_page, watches):
    page = signed_in_page
    page.emulate_media(color_scheme="light")
    page.goto("/workers")
    light = background(page)
    page.emulate_media(color_scheme="dark")
    dark = background(page)
    assert light != dark
    switch = page.get_by_role("button", name=re.compile("Colours"))
    switch.click()
    assert (theme(page), background(page)) == ("light", light)
    page.reload()
    assert (theme(page), background(page)) == ("light", light)
    expect(switch).to_have_text(re.compile("light"))
    switch.click()
    assert (theme(page), background(page)) == ("dark", dark)
    switch.click()
    assert theme(page) == "system"
    watches[page].quiet()


def test_the_keyboard_gets_past_the_header_at_once(signed_in_page):
    page = signed_in_page
    page.goto("/studies")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


@pytest.mark.parametrize("label", ["Studies", "Compare", "Workers", "Tokens"])
def test_on_a_phone_the_open_page_is_in_sight_in_the_header(signed_in_page, label):
    page = signed_in_page
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/{label.lower()}")
    entry = page.get_by_role("navigation", name="Pages").get_by_role("link", name=label, exact=True)
    expect(entry).to_have_attribute("aria-current", "page")
    expect(entry).to_be_in_viewport(ratio=1)


def test_on_a_phone_cards_are_sorted_as_tables_are(signed_in_page, seeded):
    page = signed_in_page
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/studies/{seeded.studies[SMALLEST]}/trials")
    sorts = page.get_by_role("navigation", name="Sorted by")
    sorts.get_by_role("link", name="macs").click()
    page.wait_for_url("**sort=macs*")
    shown = [float(text.split("%")[0]) for text in page.locator('td[data-label="Macs"]').all_inner_texts()]
    assert len(shown) == 24
    assert shown == sorted(shown)


def test_times_are_local_with_utc_on_hover(signed_in_page, seeded):
    page = signed_in_page
    study = next(iter(seeded.studies.values()))
    page.goto(f"/studies/{study}")
    time = page.locator("dd time[data-time=date]").first
    hover = time.get_attribute("title")
    hour = int(re.search(r" (\d\d):\d\d:\d\d UTC$", hover)[1])
    assert f"{(hour + 1) % 24:02}:" in time.inner_text()  # Berlin in winter; the tests' clock is the machine's
    assert "UTC" not in time.inner_text()


def test_without_scripts_the_pages_can_be_read_and_sorted(browser, seeded, session_state):
    with browser.new_context(base_url=seeded.url, java_script_enabled=False, storage_state=session_state) as context:
        page = context.new_page()
        page.goto("/workers")
        names = page.locator("tbody th")
        with page.expect_navigation():
            page.get_by_role("link", name="Worker", exact=True).click()
        ascending = [name.split("\n")[0] for name in names.all_inner_texts()]
        with page.expect_navigation():
            page.get_by_role("link", name="Worker", exact=True).click()
        descending = [name.split("\n")[0] for name in names.all_inner_texts()]
        assert ascending == sorted(ascending)
        assert descending == ascending[::-1]
        page.goto("/studies")
        page.get_by_role("link", name="paused by hand").click()
        assert "UTC" in page.locator("dd time").first.inner_text()


def test_reduced_motion_means_no_motion(signed_in_page):
    page = signed_in_page
    page.emulate_media(reduced_motion="reduce")
    page.goto("/studies")
    moving = """() => [...document.querySelectorAll("*")].filter((one) => {
        const style = getComputedStyle(one);
        return parseFloat(style.transitionDuration) > 0 || style.animationName !== "none";
    }).length"""
    assert page.evaluate(moving) == 0
