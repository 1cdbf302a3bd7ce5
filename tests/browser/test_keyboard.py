"""Everything that a study needs, by keyboard alone: from the sign-in page to the compressed network on the disk."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from ranksearch.contracts.studies import StudyState
from tests.service import synthetic

pytestmark = pytest.mark.slow

ENDED: set[StudyState] = {"completed", "failed", "cancelled"}
MOST_STOPS = 120
FOCUS_IS_SEEN = """() => {
    const at = document.activeElement;
    if (at === document.body) return true;  // where a page begins
    const outlined = (one) => {
        const style = getComputedStyle(one);
        return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    };
    const box = at.getBoundingClientRect();
    const inSight = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    return inSight && (outlined(at) || outlined(at.closest(".drop") ?? at));
}"""


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus, which is seen at every stop."""
    passed = []
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        what = page.evaluate("document.activeElement.outerHTML.slice(0, 120)")
        assert page.evaluate(FOCUS_IS_SEEN), f"the focus is not seen on {what}"
        if target.evaluate("(one) => one === document.activeElement"):
            return
        passed.append(what)
    pytest.fail(f"{target} is not reached; passed {passed}")


def upload(page: Page, label: str, name: str, content: bytes) -> None:
    tab_to(page, page.get_by_label(label))
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})


def test_from_signing_in_to_the_download_by_keyboard(page, seeded, watches, tmp_path):
    page.set_viewport_size({"width": 1280, "height": 720})
    page.on("filechooser", lambda _chooser: None)  # from now on Playwright takes the place of the system's dialogues
    agent = seeded.agent("keyboard-box")
    page.goto("/")
    expect(page.get_by_label("Your token")).to_be_focused()
    page.keyboard.type(seeded.token)
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies")
    tab_to(page, page.get_by_role("link", name="Submit", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url("**/submit")

    for label, content in (
        ("Upload a model document", synthetic.model_document(salt=31)),
        ("Upload a data set document", synthetic.dataset_document(salt=31)),
    ):
        upload(page, label, "typed.safetensors", content)
        expect(page.locator("#announcer")).to_have_text("typed is chosen")
        expect(page.get_by_label(label)).to_be_focused()
    agent.complete(agent.must_claim("inspect"))
    page.get_by_text("✓ can be kept").wait_for()
    tab_to(page, page.get_by_label("Trials", exact=True))
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("2")
    tab_to(page, page.locator("#more > summary"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Priority among yours"))
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("99")
    tab_to(page, page.get_by_role("button", name="Start the search"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/sty_*")

    study = page.url.rpartition("/")[2]
    while seeded.http.get(f"/v1/studies/{study}").json()["state"] not in ENDED:
        agent.complete(agent.claim(wait=10))
    agent.complete(agent.must_claim("compress"))
    link = page.get_by_role("link", name="compressed.safetensors")
    link.wait_for()
    tab_to(page, link)
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    download.value.save_as(tmp_path / "small.safetensors")
    kept = seeded.http.get(f"/v1/studies/{study}/artifacts").json()["items"][0]["blob"]["sha256"]
    assert synthetic.sha256((tmp_path / "small.safetensors").read_bytes()) == kept
    watches[page].quiet()
