"""A gateway that wants a token, in a browser, to which Kite is another site."""

import os
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs it")

from playwright.sync_api import Browser, expect

from kitefeed.protocol import passwords
from tests.browser.house import LIVE_MS, House, end_session, opened

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    found = House(host="localhost")
    with found.rig:
        found.rig.start()
        yield found


def test_a_browser_enters_once_logs_in_at_another_site_and_is_back_inside(
    house: House, browser: Browser
) -> None:
    token = house.rig.kitefeed("keys", "--gateway", "phone").stdout.strip()
    house.until("live")
    with opened(browser) as page:
        page.goto(house.url)
        expect(page.locator("#word")).to_have_count(0)
        page.fill("#token", "guess")
        page.click("button")
        expect(page.locator("[role=alert]")).to_contain_text("opens nothing here")
        page.fill("#token", token)
        page.click("button")
        expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
        page.reload()
        expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)

        end_session(house)
        expect(page.locator("#word")).to_have_text("LOGIN NEEDED", timeout=LIVE_MS)
        page.click("#login")
        if page.locator("#secret-text").is_visible():
            page.fill("#secret-text", house.rig.simulator.ready["api_secret"])
            page.click("#secret button.primary")
        expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
        expect(page.locator("#toasts")).to_contain_text("Logged in")

        os.remove(passwords.path_of(house.rig.root / "state/keys", "phone", passwords.GATEWAY))
        house.rig.kitefeed("keys", "--gateway", "another")
        expect(page.locator("#word")).to_have_text("LOST", timeout=10_000)
        page.reload()
        expect(page.locator("#token")).to_be_visible()
    assert token not in house.rig.output()
