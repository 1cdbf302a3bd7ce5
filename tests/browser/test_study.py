"""The pages of one study in a real browser: what is drawn, what is live, what can be done."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.seeding import FINISHED, FRONT, LATENCY, PAUSED, SMALLEST
from tests.browser.watching import settled

DRAWN = "() => performance.getEntriesByName('charts-drawn').length > 0"
SHIFTS = """() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
        for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifts.push(one.value);
    }).observe({type: "layout-shift", buffered: false});
}"""
INKED = """(selector) => {
    const canvas = document.querySelector(selector);
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(data.buffer)).size;
}"""
"""How many colours a canvas has."""
CANVASES = [f'[data-chart="{name}"] canvas' for name in ("history", "front", "rank-map", "macs", "importance")]


@pytest.fixture
def drawn(signed_in_page, seeded):
    """Opens a study's overview and waits until its charts are drawn."""

    def opened(name):
        signed_in_page.goto(f"/studies/{seeded.studies[name]}")
        signed_in_page.wait_for_function(DRAWN)
        settled(signed_in_page)
        return signed_in_page

    return opened


@pytest.mark.parametrize("name", [FINISHED, LATENCY, FRONT, SMALLEST])
def test_every_chart_shows_something(drawn, check_page, name):
    page = drawn(name)
    for canvas in CANVASES:
        assert page.evaluate(INKED, canvas) > 5, canvas
    assert page.locator(".chart__empty").count() == 0
    check_page(page, f"study-{name.partition(':')[0]}")


def test_a_study_that_bounds_the_latency_shows_it_and_its_budget(drawn, seeded):
    page = drawn(LATENCY)
    assert page.get_by_label("latency", exact=True).is_checked()
    assert "latency, ms against kl" in page.locator("#front-chart").get_attribute("aria-label")
    best = seeded.http.get(f"/v1/studies/{seeded.studies[LATENCY]}/best").json()
    figure = page.locator(".figure", has_text="Latency")
    expect(figure).to_contain_text(f"{best['result']['latency']['latency_ms']:.3g} ms")
    expect(figure).to_contain_text("dense 10 ms")
    expect(page.get_by_text("outside the bounds")).to_be_visible()


def test_a_front_is_shown_trial_by_trial(drawn, seeded):
    page = drawn(FRONT)
    points = seeded.http.get(f"/v1/studies/{seeded.studies[FRONT]}/pareto").json()["points"]
    trials = page.get_by_role("region", name="The front", exact=True).get_by_role("rowheader")
    assert trials.all_inner_texts() == [str(point["trial"]) for point in points]
    assert page.locator('[data-chart="sensitivity"] canvas').is_visible()
    assert page.evaluate(INKED, '[data-chart="sensitivity"] canvas') > 5
    trials.nth(4).get_by_role("link").click()
    page.wait_for_url(f"**/trials/{points[4]['trial']}")
    expect(page.get_by_role("button", name="Copy its ranks as Python")).to_be_visible()


def test_where_the_macs_went_is_shown_of_any_trial_of_the_front(drawn, seeded):
    page = drawn(FRONT)
    choice = page.get_by_label("Trial", exact=True)
    first = page.locator("#macs-sum").inner_text()
    drawing = page.locator('[data-chart="macs"] canvas').screenshot()
    options = choice.locator("option").all_inner_texts()
    shares = [int(option.partition(": ")[2].partition("%")[0]) for option in options]
    assert shares == sorted(shares)
    choice.select_option(index=0)
    assert f"({shares[0]}%)" in page.locator("#macs-sum").inner_text() != first
    assert page.locator('[data-chart="macs"] canvas').screenshot() != drawing


def test_what_ended_before_its_first_trial_has_no_charts_until_it_goes_on(signed_in_page, seeded):
    page, agent = signed_in_page, seeded.agent("second-try")
    study = seeded.submit("begins twice", n_trials=2, priority=95)
    agent.fail(agent.must_claim("baseline"), code="evaluation_failed", detail="the disk is full")
    page.goto(f"/studies/{study}")
    expect(page.get_by_role("heading", name="It ended before its first trial")).to_be_visible()
    assert not page.locator("#history-chart").is_visible()
    page.get_by_role("button", name="Try what failed again").click()
    expect(page.locator(".title .state")).to_have_text(re.compile("queued|running"))
    agent.complete(agent.must_claim("baseline"))
    agent.complete(agent.must_claim("trial"))
    expect(page.locator("#history-chart canvas")).to_be_visible()
    expect(page.get_by_role("heading", name="It ended before its first trial")).to_have_count(0)
    seeded.post(study, "cancel")


@pytest.mark.parametrize(
    ("name", "path", "shown"),
    [
        (FINISHED, "/trials?sort=value", "study-trials"),
        (FINISHED, "/trials/7", "study-trial"),
        (FINISHED, "/layers", "study-layers"),
        (PAUSED, "/trials", "study-trials-failed"),
        (PAUSED, "/trials/5", "study-trial-failed"),
        (FRONT, "/layers", "study-layers-alone"),
    ],
)
def test_the_pages_of_trials_and_layers_are_in_order(signed_in_page, seeded, check_page, name, path, shown):
    signed_in_page.goto(f"/studies/{seeded.studies[name]}{path}")
    check_page(signed_in_page, shown)


def test_before_the_first_trial_the_charts_say_what_will_be_there(signed_in_page, seeded, check_page):
    study = seeded.submit("nothing yet", requirements={"labels": {"rack": "none"}})
    signed_in_page.goto(f"/studies/{study}")
    signed_in_page.wait_for_function(DRAWN)
    assert "Each trial appears here" in signed_in_page.locator("#history-chart").inner_text()
    assert "once a trial has completed" in signed_in_page.locator("#macs-chart").inner_text()
    check_page(signed_in_page, "study-nothing-yet")
    seeded.post(study, "cancel")


def test_a_new_trial_appears_by_itself_and_nothing_moves(drawn, seeded):
    study = seeded.submit("seen live", n_trials=6, priority=90)
    agent = seeded.agent("live-box")
    agent.work(limit=3)
    page = drawn("seen live")
    assert "2 trials" in page.locator("#history-chart").get_attribute("aria-label")
    before = page.evaluate(INKED, CANVASES[0]) and page.locator("#history-chart canvas").screenshot()
    page.evaluate(SHIFTS)
    agent.complete(agent.must_claim("trial"))
    expect(page.locator("#history-chart")).to_have_attribute("aria-label", re.compile("of 3 trials"))
    expect(page.locator("#study")).to_contain_text("3 of 6")
    settled(page)
    assert page.locator("#history-chart canvas").screenshot() != before
    assert sum(page.evaluate("window.shifts")) < 0.01
    seeded.post(study, "cancel")


def test_a_click_on_a_trial_opens_it(drawn, seeded):
    page = drawn(FINISHED)
    over = page.locator("#history-chart .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    for step in range(3, 60):
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + step * box["height"] / 60)
        if "over--link" in over.get_attribute("class"):
            break
    said = page.locator("#history-chart .tip strong").inner_text()
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url("**/trials/*")
    assert said == page.get_by_role("heading", level=2).inner_text().lower().replace(" best", "")


def test_the_costs_and_the_stretch_of_trials_can_be_chosen(drawn):
    page = drawn(FINISHED)
    page.get_by_label("parameters", exact=True).check()
    assert "parameters against kl" in page.locator("#front-chart").get_attribute("aria-label")
    rank_map = page.locator('[data-chart="rank-map"] canvas')
    whole = rank_map.screenshot()
    page.get_by_label("first third").check()
    assert rank_map.screenshot() != whole


def test_pointing_at_a_layer_points_at_it_in_every_chart(drawn):
    page = drawn(FINISHED)
    canvas = page.locator('[data-chart="macs"] canvas')
    canvas.scroll_into_view_if_needed()
    canvas.hover()
    assert page.locator(".column-cursor:visible").count() == 3
    assert re.match(r"layer\d\.\d\.conv", page.locator('[data-chart="macs"] .tip strong').inner_text())


def test_the_charts_follow_the_colours(drawn):
    page = drawn(FINISHED)
    light = page.locator('[data-chart="macs"] canvas').screenshot()
    page.get_by_role("button", name="Colours").click()
    page.get_by_role("button", name="Colours").click()
    settled(page)
    assert page.locator('[data-chart="macs"] canvas').screenshot() != light


def test_without_scripts_the_table_is_sorted_filtered_and_paged(browser, seeded, session_state):
    with browser.new_context(base_url=seeded.url, storage_state=session_state, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"/studies/{seeded.studies[FINISHED]}/trials")
        page.get_by_role("link", name="kl", exact=True).click()
        cells = page.locator("tbody tr td:nth-child(4)")
        expect(cells).to_have_count(50)  # a page is there before all of it is
        values = [float(text.split()[0]) for text in cells.all_inner_texts()]
        assert values == sorted(values)
        page.get_by_role("link", name="Next page").click()
        page.get_by_role("link", name="same error").click()
        expect(page.locator("tbody tr")).to_have_count(1)


def test_the_best_ranks_are_copied(drawn, seeded):
    page = drawn(FINISHED)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=seeded.url)
    page.get_by_role("button", name="Copy as JSON").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied == seeded.http.get(f"/v1/studies/{seeded.studies[FINISHED]}/best").json()["ranks"]


def test_the_same_again_with_another_budget_begins_with_what_was_asked_for(drawn, seeded):
    page = drawn(FINISHED)
    page.get_by_role("link", name="Another budget").click()
    page.wait_for_url(f"**/submit?from={seeded.studies[FINISHED]}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_a_chart_that_could_not_be_had_says_so_and_is_tried_again(signed_in_page, seeded, watches):
    refused = {"type": "x", "title": "x", "status": 503, "code": "x", "detail": "the service is busy", "mend": "wait"}
    signed_in_page.route(
        "**/rank-map*", lambda route: route.fulfill(status=503, json=refused, content_type="application/problem+json")
    )
    signed_in_page.goto(f"/studies/{seeded.studies[FINISHED]}")
    box = signed_in_page.locator("#map-chart")
    expect(box).to_contain_text("the service is busy")
    watches[signed_in_page].errors.clear()  # Chromium says of every 503 that it is one
    signed_in_page.unroute("**/rank-map*")
    box.get_by_role("button", name="Try again").click()
    signed_in_page.wait_for_function(f"() => ({INKED})('{CANVASES[2]}') > 5")
    assert "busy" not in box.inner_text()
    watches[signed_in_page].quiet()
