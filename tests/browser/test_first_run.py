"""What a person sees who has nothing yet: no app key, no session, no instrument, no price."""

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs it")

from playwright.sync_api import Browser, expect

from tests.browser.house import LIVE_MS, House, opened

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(180)]


@pytest.fixture
def house() -> Iterator[House]:
    """Nobody has logged in, and nothing is configured to be streamed."""
    found = House(instruments=())
    with found.rig:
        yield found


def test_without_an_app_key_the_page_leads_to_one(house: House, browser: Browser) -> None:
    text = house.rig.config.read_text()
    key = house.rig.simulator.ready["api_key"]
    house.rig.config.write_text(text.replace(f'api_key = "{key}"', 'api_key = ""'))
    house.rig.launch()
    house.until("login_required")
    with opened(browser) as page:
        page.goto(house.url)
        expect(page.locator("#first .redirect")).to_have_text(f"{house.url}login/redirect")
        expect(page.locator("#first .done")).to_have_count(0)
        expect(page.locator("#first-login")).to_be_disabled()
        expect(page.locator("#login")).to_be_hidden()
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator("table.prices")).to_be_hidden()


def test_from_no_session_to_a_live_price_of_what_was_typed(house: House, browser: Browser) -> None:
    house.rig.launch()
    house.until("login_required")
    with opened(browser) as page:
        page.goto(house.url)
        expect(page.locator("#first .done")).to_have_count(2)
        page.click("#first-login")
        page.fill("#secret-text", house.rig.simulator.ready["api_secret"])
        page.click("#secret button.primary")
        expect(page.locator("#first")).to_be_hidden(timeout=LIVE_MS)
        page.fill("#name", "infosys")
        page.locator("#found li", has_text="NSE:INFY").first.wait_for(timeout=LIVE_MS)
        page.keyboard.press("Enter")
        expect(page.locator("#rows .mark").first).to_have_text("live", timeout=LIVE_MS)
        expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
        expect(page.locator("#rows polyline").first).to_have_attribute(
            "points",
            re.compile(r"\d.* \d"),
            timeout=LIVE_MS,  # two points: a line
        )
