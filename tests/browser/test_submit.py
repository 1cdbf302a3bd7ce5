"""A study is submitted in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from ranksearch import Client
from tests.service import synthetic


@pytest.fixture
def form(signed_in_page, seeded):
    """The form for the seeded model and data set, once it knows whether its budget can be kept."""
    signed_in_page.goto(f"/submit?model={seeded.model}&data={seeded.dataset}")
    expect(signed_in_page.get_by_text("can be kept", exact=False).first).to_be_visible()
    return signed_in_page


def submitted(page, seeded):
    """The study that the form makes, as the API tells of it; it is cancelled, so that no other test meets it."""
    page.get_by_role("button", name="Start the search").click()
    page.wait_for_url("**/studies/sty_*")
    study = page.url.rpartition("/")[2].partition("?")[0]
    seeded.post(study, "cancel")
    return seeded.http.get(f"/v1/studies/{study}").json()


def test_before_anything_is_chosen_it_says_what_to_do(signed_in_page, check_page):
    signed_in_page.goto("/submit")
    signed_in_page.get_by_text("How do I get these files?").click()
    assert signed_in_page.get_by_text("ranksearch.pack(model, example_inputs").is_visible()
    check_page(signed_in_page, "submit-first")


def test_the_form_is_in_order(form, check_page):
    form.get_by_text("Images, stopping, queue").click()
    check_page(form, "submit-form")


def test_an_empty_form_asks_for_what_the_command_line_asks_for(form, seeded):
    made = submitted(form, seeded)
    with Client(seeded.url, seeded.token) as client:
        typed = client.submit(seeded.model, seeded.dataset).status()
    seeded.post(typed.id, "cancel")
    assert made["request"] == typed.request.model_dump(mode="json")
    assert made["name"] == typed.name


def test_a_double_click_makes_one_study(form, seeded):
    before = len(seeded.http.get("/v1/studies?limit=200").json()["items"])
    form.get_by_role("button", name="Start the search").evaluate(
        """(button) => { const form = button.form;
            form.requestSubmit(); button.disabled = false; form.requestSubmit(); }"""
    )
    expect(form).to_have_url(re.compile("/studies/sty_"))  # both lead there: one navigation ends the other
    seeded.post(form.url.rpartition("/")[2], "cancel")
    assert len(seeded.http.get("/v1/studies?limit=200").json()["items"]) == before + 1


def test_a_budget_that_cannot_be_kept_is_told_at_once_with_the_nearest_that_can(form, seeded, check_page):
    least = seeded.http.post(
        "/v1/studies/feasibility",
        json={
            "model": seeded.model,
            "calibration": {"dataset": seeded.dataset, "start": 0, "stop": 13},
            "validation": {"dataset": seeded.dataset, "start": 13},
            "constraints": {"macs": "40%"},
        },
    ).json()["least"]["macs"]["percent"]
    form.get_by_label("Multiply-accumulates, at most").fill("1")
    form.get_by_text("cannot be kept").wait_for()
    check_page(form, "submit-infeasible")
    form.get_by_role("button", name=f"Use {least} of the macs").click()
    form.get_by_text("✓ can be kept").wait_for()
    assert submitted(form, seeded)["request"]["constraints"]["macs"] == least


def test_the_slider_moves_the_budget(form):
    form.get_by_label("Multiply-accumulates, per cent of the dense").fill("55")
    assert form.get_by_label("Multiply-accumulates, at most").input_value() == "55"
    expect(form.locator("[data-allocations] tbody tr")).to_have_count(2)


def test_what_is_chosen_is_what_is_asked_for(form, seeded):
    form.get_by_label("The smallest with at most so much lost").check()
    form.get_by_label("At most lost, in points of accuracy").fill("1.5")
    form.get_by_label("The least of").select_option("params")
    form.get_by_label("Search ranks for layer1.0.conv").uncheck()
    form.get_by_role("checkbox", name=re.compile("^svd")).uncheck()
    form.get_by_label("Trials", exact=True).fill("7")
    form.get_by_text("Images, stopping, queue").click()
    form.get_by_label("Fine-tune the best at the end").fill("2")
    form.get_by_label("Name", exact=True).fill("small as can be")
    asked = submitted(form, seeded)["request"]
    assert (asked["objectives"], asked["max_drop"]) == (["params"], 0.015)
    assert asked["constraints"] == {"macs": None, "params": None, "latency_ms": None}
    assert (asked["keep_dense"], asked["methods"]) == (["layer1.0.conv"], ["cp3"])
    assert (asked["n_trials"], asked["name"], asked["finetune"]["top"]) == (7, "small as can be", 2)


def test_a_study_is_asked_for_once_more_with_another_budget(signed_in_page, seeded):
    page = signed_in_page
    first = seeded.submit("to be repeated", seed=11, warm_starts=["equal_error"], keep_dense=["layer1.1.conv"])
    seeded.post(first, "cancel")
    page.goto(f"/submit?from={first}")
    assert not page.get_by_label("Search ranks for layer1.1.conv").is_checked()
    page.get_by_label("Multiply-accumulates, at most").fill("60")
    again = submitted(page, seeded)["request"]
    before = seeded.http.get(f"/v1/studies/{first}").json()["request"]
    assert again == {**before, "constraints": {**before["constraints"], "macs": "60%"}}


def test_what_is_set_stays_when_other_images_are_chosen(form, seeded):
    other = seeded.http.post(
        "/v1/datasets", params={"name": "others"}, content=synthetic.dataset_document(count=60, salt=9)
    ).json()["id"]
    form.reload()
    form.get_by_label("Multiply-accumulates, at most").fill("70")
    form.get_by_label("Images", exact=True).select_option(other)
    form.wait_for_url(re.compile(other))
    expect(form.get_by_label("Calibration images end before")).to_have_value("20")
    expect(form.get_by_label("Multiply-accumulates, at most")).to_have_value("70")


def test_images_that_do_not_fit_the_model_are_told_at_once(form, seeded):
    small = seeded.http.post(
        "/v1/datasets", params={"name": "smaller"}, content=synthetic.dataset_document(shape=(3, 4, 4))
    ).json()["id"]
    form.reload()
    form.get_by_label("Images", exact=True).select_option(small)
    form.get_by_text("do not have the shape that the model takes").wait_for()
