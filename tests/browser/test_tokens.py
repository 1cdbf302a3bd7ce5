"""Tokens are made, copied and revoked in a browser."""

from __future__ import annotations

import httpx
from playwright.sync_api import expect


def test_the_page_is_in_order(signed_in_page, check_page):
    signed_in_page.goto("/tokens")
    signed_in_page.get_by_text("Make a token").click()
    check_page(signed_in_page, "tokens")


def test_a_token_is_made_its_secret_shown_once_and_it_is_revoked(signed_in_page, seeded, check_page):
    page = signed_in_page
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/tokens")
    page.get_by_text("Make a token").click()
    page.get_by_label("What it is for").fill("the pipeline")
    page.get_by_label("submit upload and submit").uncheck()
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("[data-secret]")).to_be_visible()
    secret = page.locator("[data-secret-text]").inner_text()
    mine = httpx.Client(base_url=seeded.url, headers={"authorization": f"Bearer {secret}"})
    assert mine.get("/v1/whoami").json()["scopes"] == ["read"]
    check_page(page, "token-made")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the secret").click()
    expect(page.locator("#announcer")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == secret
    page.get_by_role("button", name="I have it").click()
    assert secret not in page.content()
    row = page.get_by_role("row").filter(has_text="the pipeline")
    row.get_by_role("button", name="Revoke").click()
    row.get_by_text("revoked").wait_for()
    assert mine.get("/v1/whoami").json()["code"] == "token_revoked"
    page.reload()
    assert secret not in page.content()


def test_a_token_for_nothing_says_what_is_missing(signed_in_page):
    signed_in_page.goto("/tokens")
    signed_in_page.get_by_text("Make a token").click()
    signed_in_page.get_by_role("button", name="Make it").click()
    assert signed_in_page.get_by_text("say what it is for").is_visible()
