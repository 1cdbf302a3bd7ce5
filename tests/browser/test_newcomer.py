"""Somebody who has the address of a service and a token, and no documentation, leaves with a smaller network."""

from __future__ import annotations

import re
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import expect
from torch import nn

import ranksearch
from ranksearch.local import LocalDeployment
from tests.browser.conftest import sign_in
from tests.browser.watching import Watch


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A small network and images, packed as a user packs them."""
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 4),
    ).eval()
    folder = tmp_path_factory.mktemp("documents")
    model = ranksearch.pack(network, (torch.zeros(1, 3, 8, 8),), folder / "small net.safetensors")
    rng = np.random.default_rng(5)
    images, labels = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), rng.integers(0, 4, 60)
    data = ranksearch.pack_data(images, labels, folder / "noise.safetensors", mean=0.5, std=0.25)
    return model, data, network


@pytest.fixture
def newcomer(browser, tmp_path):
    """A browser at a service with one worker, both just started."""
    with LocalDeployment(tmp_path / "data", device="cpu") as local:
        context = browser.new_context(base_url=local.url, accept_downloads=True)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(90_000)
        yield page, local, Watch(page, local.url)
        context.close()


@pytest.mark.slow
def test_a_newcomer_leaves_with_the_compressed_network(newcomer, documents, tmp_path, monkeypatch):
    (page, local, watch), (model, data, dense) = newcomer, documents
    page.goto("/")
    page.wait_for_url("**/sign-in*")
    sign_in(page, local.token)
    page.wait_for_url("**/studies")
    page.get_by_role("link", name="Submit").first.click()
    page.get_by_label("Upload a model document").set_input_files(model)
    page.get_by_label("Upload a data set document").set_input_files(data)
    expect(page.get_by_label("Search ranks for 3")).to_be_checked(timeout=90_000)  # a worker has inspected it
    page.get_by_text("✓ can be kept").wait_for()
    page.get_by_label("Trials", exact=True).fill("4")
    page.get_by_role("button", name="Start the search").click()
    page.wait_for_url("**/studies/sty_*")
    page.evaluate("window.untouched = true")
    expect(page.locator("#history-chart")).to_have_attribute("aria-label", re.compile("of [1-4] trials, the best"))
    expect(page.locator(".figure", has_text="Trials")).to_contain_text("4 of 4")
    link = page.get_by_role("link", name="compressed.safetensors")
    link.wait_for()
    with page.expect_download() as download:
        link.click()
    path = tmp_path / "compressed.safetensors"
    download.value.save_as(path)
    small = ranksearch.load(path)
    parameters = [sum(one.numel() for one in network.parameters()) for network in (small, dense)]
    assert parameters[0] < parameters[1]
    assert small(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
    assert page.evaluate("window.untouched"), "the page was loaded again"

    page.get_by_role("button", name="Copy as Python").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    program = page.evaluate("navigator.clipboard.readText()")
    shutil.copy(model, tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(program, made)  # noqa: S102 - what a newcomer is told to do with it
    assert sum(one.numel() for one in made["small"].parameters()) == parameters[0]
    assert made["small"](torch.zeros(2, 3, 8, 8)).shape == (2, 4)
    watch.quiet()
