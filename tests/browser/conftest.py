"""A real browser at a real service. For a page's tests: ``signed_in_page``, ``seeded`` and ``check_page``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from ranksearch.local import LocalDeployment
from tests.browser.chromium import chromium, launched_browser
from tests.browser.seeding import Seeded, seed
from tests.browser.watching import Watch, screenshots_folder

CheckPage = Callable[[Page, str], None]


@pytest.fixture(scope="session")
def browser_program() -> Path:
    return chromium()


@pytest.fixture(scope="module")
def browser(browser_program: Path) -> Iterator[Browser]:
    """One for each file: other tests of this process, which come between two of them, have loops of their own."""
    with launched_browser(browser_program) as launched:
        yield launched


@pytest.fixture(scope="session")
def deployment(browser_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDeployment]:
    """A service with nobody but the tests' own workers; without a browser there is no test, and no service either."""
    options = ("--lease-seconds", "3600", "--worker-away-seconds", "3600", "--retry-base-seconds", "0")
    with LocalDeployment(tmp_path_factory.mktemp("browser") / "data", workers=0, service_options=options) as local:
        yield local


@pytest.fixture(scope="session")
def seeded(deployment: LocalDeployment) -> Seeded:
    """Studies in every state, some hundred trials; tests may add to it, and leave what is there."""
    return seed(deployment.url, deployment.token)


@pytest.fixture(scope="module")
def session_state(browser: Browser, seeded: Seeded) -> object:
    """The cookie of a browser that has signed in."""
    context = browser.new_context(base_url=seeded.url)
    page = context.new_page()
    sign_in(page, seeded.token)
    page.wait_for_url("**/studies")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def context(browser: Browser, seeded: Seeded) -> Iterator[BrowserContext]:
    """A browser that nobody has signed in with."""
    with browser.new_context(base_url=seeded.url, locale="en-GB", timezone_id="Europe/Berlin") as made:
        yield made


@pytest.fixture
def watches() -> dict[Page, Watch]:
    return {}


@pytest.fixture
def page(context: BrowserContext, seeded: Seeded, watches: dict[Page, Watch]) -> Page:
    """A page of that browser, which is watched."""
    made = context.new_page()
    made.set_default_timeout(15_000)
    watches[made] = Watch(made, seeded.url)
    return made


@pytest.fixture
def signed_in_page(page: Page, session_state: dict) -> Page:
    """A page of a browser that an administrator has signed in with."""
    page.context.add_cookies(session_state["cookies"])
    return page


@pytest.fixture
def check_page(watches: dict[Page, Watch], tmp_path: Path) -> CheckPage:
    """``check_page(page, name)``: no errors, no other host, axe, no sideways scrolling, and screenshots called so."""
    folder = screenshots_folder(tmp_path)

    def check(page: Page, name: str) -> None:
        watches[page].check(name, folder)

    return check


def sign_in(page: Page, token: str) -> None:
    """Through the form."""
    page.goto("/sign-in")
    page.get_by_label("Your token").fill(token)
    page.get_by_role("button", name="Sign in").click()
