"""Trials that are fine-tuned: a page that follows them, and a form that asks for it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.seeding import SMALLEST, TUNED, trained


@pytest.mark.slow
def test_the_page_is_in_order_with_trainings_of_every_state(signed_in_page, seeded, check_page):
    page = signed_in_page
    page.goto(f"/studies/{seeded.studies[TUNED]}/finetuning")
    expect(page.get_by_text("is handed out as the study’s best")).to_be_visible()
    check_page(page, "study-finetuning")


@pytest.mark.slow
def test_the_page_before_anything_was_asked_for_is_in_order(signed_in_page, seeded, check_page):
    page = signed_in_page
    page.goto(f"/studies/{seeded.studies[SMALLEST]}/finetuning")
    expect(page.get_by_role("button", name="Fine-tune them")).to_be_visible()
    check_page(page, "study-finetuning-empty")


def test_progress_arrives_without_a_reload(signed_in_page, seeded):
    page = signed_in_page
    worker, job = next(one for one in seeded.running if one[1]["task"]["kind"] == "finetune")
    page.goto(f"/studies/{seeded.studies[TUNED]}/finetuning")
    row = page.locator(f"#tuned-{job['trial']}")
    expect(row).to_contain_text("118 of 200")
    assert worker.post(job, "progress", points=[trained(150)]).status_code == 204
    expect(row).to_contain_text("150 of 200")


def test_the_best_are_asked_for_by_a_form(signed_in_page, seeded):
    page, name = signed_in_page, "tuned by a form"
    study = seeded.submit(name, n_trials=2, priority=50)
    worker = seeded.agent()
    worker.work(limit=4)
    assert seeded.http.get(f"/v1/studies/{study}").json()["state"] == "completed"
    page.goto(f"/studies/{study}/finetuning")
    page.get_by_label("How many of the best").fill("1")
    page.get_by_label("Passes over the images").fill("7")
    page.get_by_role("button", name="Fine-tune them").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("7 passes over 20 images")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("tbody tr")).to_contain_text("cancelled")


def test_a_recipe_that_cannot_be_used_is_told_at_the_form(signed_in_page, seeded):
    page = signed_in_page
    page.goto(f"/studies/{seeded.studies[SMALLEST]}/finetuning")
    page.get_by_label("Learning rate").fill("-1")
    page.get_by_role("button", name="Fine-tune them").click()
    expect(page.locator("[data-problem]")).to_contain_text("learning_rate")
