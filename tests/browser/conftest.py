"""The browser, and a page that is live. Playwright is imported only where a test needs it."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.browser.house import House


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        # As root Chromium has no sandbox of its own.
        found = tools.chromium.launch(
            executable_path=os.environ.get("BROWSER") or None, args=["--no-sandbox"]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def house() -> "Iterator[House]":
    from tests.browser.house import House

    found = House()
    with found.rig:
        found.rig.start()
        yield found


@pytest.fixture
def page(house: "House", browser: "Browser") -> "Iterator[Page]":
    from playwright.sync_api import expect

    from tests.browser.house import LIVE_MS, opened

    house.rig.simulator.fault("clear")
    house.until("live")
    with opened(browser) as found:
        found.goto(house.url)
        expect(found.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
        yield found
