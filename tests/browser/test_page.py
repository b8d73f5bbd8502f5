"""The page in a real browser, as a person sees it."""

import os
import re
import signal
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs it")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.house import LIVE_MS, House, MockedStream, end_session, marks, opened
from tests.integration.rig import INSTRUMENTS
from tests.support import eventually

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(180)]
PAGE_BYTES_MAX = 60_000


def test_the_watchlist_shows_what_is_configured_and_live(page: Page) -> None:
    expect(page.locator("#rows tr")).to_have_count(len(INSTRUMENTS))
    for row in page.locator("#rows .mark").all():
        expect(row).to_have_text("live", timeout=10_000)


def test_a_session_ends_and_a_click_on_login_makes_it_live_again(house: House, page: Page) -> None:
    end_session(house)
    expect(page.locator("#word")).to_have_text("LOGIN NEEDED", timeout=15_000)
    expect(page.locator(".toast", has_text="Login needed")).to_be_visible()
    expect(page.locator("#rows .mark").first).to_have_text("not live")
    assert marks(page) == {"not live"}
    page.click("#login")
    page.fill("#secret-text", house.rig.simulator.ready["api_secret"])
    page.click("#secret button.primary")
    expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
    expect(page.locator("#rows .mark").first).to_have_text("live", timeout=10_000)
    assert "request_token" not in page.url
    # From its detection by the login to its end, as the day and the daemon tell it.
    told = [page.locator("#events li", has_text=each).first
            for each in ("Login needed", "Logged in to Kite", "after the login")]  # fmt: skip
    for each in told:
        expect(each).to_be_visible()
    outage = re.compile(r"detected [\d:]{8}, login [\d:]{8}, restored [\d:]{8}\. It took")
    expect(page.locator("#outage")).to_have_text(outage, timeout=10_000)


def test_a_login_elsewhere_makes_the_page_live_without_a_reload(house: House, page: Page) -> None:
    page.evaluate("window.sameDocument = true")
    end_session(house)
    expect(page.locator("#word")).to_have_text("LOGIN NEEDED", timeout=15_000)
    house.rig.log_in(house.rig.simulator.login())
    expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
    assert page.evaluate("window.sameDocument") is True


def test_a_wrong_secret_is_told_and_changes_nothing(house: House, page: Page) -> None:
    end_session(house)
    expect(page.locator("#word")).to_have_text("LOGIN NEEDED", timeout=15_000)
    page.click("#login")
    page.fill("#secret-text", "wrong")
    page.click("#secret button.primary")
    expect(page.locator("main")).to_contain_text(
        "secret is not that of this api_key", timeout=10_000
    )
    page.click("text=Back to kitefeed")
    expect(page.locator("#word")).to_have_text("LOGIN NEEDED", timeout=10_000)
    house.rig.log_in(house.rig.simulator.login())


def test_a_page_outlives_its_gateway_and_tells_and_logs_in_as_before(
    house: House, page: Page
) -> None:
    page.evaluate("window.sameDocument = true")
    before = house.rig.pid_of("gateway")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: house.rig.pid_of("gateway") not in (0, before), 15)
    expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
    end_session(house)
    expect(page.locator(".toast", has_text="Login needed")).to_be_visible(timeout=15_000)
    page.click("#login")
    page.fill("#secret-text", house.rig.simulator.ready["api_secret"])
    assert page.evaluate("window.sameDocument") is True
    page.click("#secret button.primary")
    expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)


def test_a_dead_token_on_a_live_stream_stays_live_and_offers_a_login(
    house: House, browser: Browser
) -> None:
    health = {"is_healthy": True, "feed": "live", "source": "websocket", "session": "valid",
              "reason": "streaming", "retry_in_s": None, "user_id": "AB1234"}  # fmt: skip
    with opened(browser) as page:
        stream = MockedStream(page, house.url)

        def told(session: str, place: str, text: str) -> bool:
            stream.say("feed", health=health | {"session": session})
            stream.pulse()
            return text in page.locator(place).inner_text()

        eventually(lambda: told("valid", "#session", "AB1234"), 10, every_s=0.2)
        expect(page.locator("#word")).to_have_text("LIVE")
        expect(page.locator("#login")).to_be_hidden()
        eventually(lambda: told("refused", "#next", "log in before"), 10, every_s=0.2)
        expect(page.locator("#word")).to_have_text("LIVE")
        expect(page.locator("#login")).to_be_visible()


def test_a_redirect_that_nobody_asked_for_is_refused(house: House, page: Page) -> None:
    page.goto(f"{house.url}login/redirect?request_token=abcdef123456&status=success&action=login")
    expect(page.locator("main")).to_contain_text("not begun here")
    page.goto(house.url)


def test_prices_of_a_dead_stream_do_not_look_live(house: House, page: Page) -> None:
    expect(page.locator("#rows .mark").first).to_have_text("live", timeout=10_000)
    house.rig.simulator.fault("mute")
    expect(page.locator("#rows tr[data-fresh=yes]")).to_have_count(0, timeout=10_000)
    assert "live" not in marks(page)


@pytest.mark.parametrize("victim", ["gateway", "broadcaster"])
def test_a_process_that_hangs_makes_the_page_say_lost_within_3_s(
    house: House, page: Page, victim: str
) -> None:
    pid = house.rig.pid_of(victim)
    os.kill(pid, signal.SIGSTOP)
    try:
        expect(page.locator("#word")).to_have_text("LOST", timeout=3_500)
        expect(page.locator("#rows tr[data-fresh=yes]")).to_have_count(0, timeout=500)
    finally:
        os.kill(pid, signal.SIGCONT)
    expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)


def test_an_instrument_is_added_by_typing_and_kept(house: House, page: Page) -> None:
    page.fill("#name", "tcs")
    page.locator("#found li", has_text="NSE:TCS").first.wait_for()
    page.keyboard.press("Enter")
    row = page.locator("#rows tr", has_text="TCS").first
    expect(row.locator(".price")).not_to_have_text("–", timeout=10_000)
    page.reload()
    expect(page.locator("#rows tr", has_text="TCS")).to_have_count(1)
    page.locator("#rows tr", has_text="TCS").get_by_role("button", name="Remove").click()
    expect(page.locator("#rows tr", has_text="TCS")).to_have_count(0)


def test_pausing_asks_first_and_says_what_will_happen(house: House, page: Page) -> None:
    page.click("#pause")
    expect(page.locator("#consequence")).to_contain_text("not fresh")
    page.locator("#confirm").get_by_role("button", name="Leave it").click()
    expect(page.locator("#word")).to_have_text("LIVE")
    page.click("#pause")
    page.locator("#confirm").get_by_role("button", name="Pause").click()
    expect(page.locator("#word")).to_have_text("PAUSED", timeout=10_000)
    page.click("#pause")
    expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_axe_finds_nothing_serious(house: House, browser: Browser, scheme: Any, width: int) -> None:
    house.rig.simulator.fault("clear")
    house.until("live")
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True
    )
    found = context.new_page()
    found.goto(house.url)
    expect(found.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
    expect(found.locator("#rows .mark").first).to_have_text("live", timeout=10_000)
    result = Axe().run(found).response
    serious = [v for v in result["violations"] if v["impact"] in ("serious", "critical")]
    context.close()
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in serious] == []


def test_the_page_is_light_and_holds_no_secret(house: House, browser: Browser) -> None:
    context = browser.new_context()
    found = context.new_page()
    asked: dict[str, bytes] = {}
    found.on("response", lambda answer: asked.update({answer.url: answer.body()}))
    found.goto(house.url)
    found.wait_for_load_state("networkidle")
    context.close()
    assert all(url.startswith(house.url) for url in asked)
    page = {url: body for url, body in asked.items() if "/api/" not in url}
    print({url: len(body) for url, body in page.items()}, sum(map(len, page.values())))
    assert sum(map(len, page.values())) < PAGE_BYTES_MAX
    bodies = list(asked.values())
    for token in (*house.rig.simulator.tokens, house.rig.simulator.ready["api_secret"]):
        assert all(token.encode() not in body for body in bodies)
