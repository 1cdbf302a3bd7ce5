"""Networks of trials as files, asked for by a click."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.seeding import FINISHED


def test_a_file_of_the_best_is_asked_for_on_the_studys_page(signed_in_page, seeded):
    page, study = signed_in_page, seeded.studies[FINISHED]
    page.goto(f"/studies/{study}")
    page.get_by_role("button", name="Make ONNX").click()
    best = seeded.http.get(f"/v1/studies/{study}").json()["best_trial"]
    expect(page.locator(".facts", has_text=f"Trial {best}, ONNX")).to_be_visible()
    expect(page.get_by_role("button", name="Make ONNX")).to_have_count(0)
    listed = seeded.http.get(f"/v1/studies/{study}/artifacts").json()["items"]
    assert (best, "onnx", "pending") in [(one["trial"], one["format"], one["state"]) for one in listed]


def test_the_network_of_another_trial_is_asked_for_on_its_page(signed_in_page, seeded):
    page, study = signed_in_page, seeded.studies[FINISHED]
    best = seeded.http.get(f"/v1/studies/{study}").json()["best_trial"]
    complete = seeded.http.get(f"/v1/studies/{study}/trials?state=COMPLETE").json()["items"]
    other = next(trial["number"] for trial in complete if trial["number"] != best)
    page.goto(f"/studies/{study}/trials/{other}")
    page.get_by_role("button", name="Make model document").click()
    expect(page.locator("#files", has_text=f"Trial {other}, model document")).to_be_visible()
