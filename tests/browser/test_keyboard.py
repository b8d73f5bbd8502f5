"""The page without a mouse, and for people whom motion disturbs."""

import pytest

pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs it")

from playwright.sync_api import Browser, Page, expect

from tests.browser.house import LIVE_MS, House, end_session, opened

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(180)]
TABS_MAX = 60


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until that has the focus; each stop on the way can be seen."""
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """(selector) => {
                const found = document.activeElement;
                return {
                    there: found.matches(selector),
                    what: found.outerHTML.slice(0, 80),
                    isSeen: found === document.body
                        || getComputedStyle(found).outlineStyle !== "none",
                };
            }""",
            selector,
        )
        assert stop["isSeen"], f"the focus cannot be seen on {stop['what']}"
        if stop["there"]:
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def has_focus(page: Page, selector: str) -> bool:
    found: bool = page.evaluate("(s) => document.activeElement.matches(s)", selector)
    return found


def test_the_first_stop_leads_past_the_buttons_to_the_list(page: Page) -> None:
    page.keyboard.press("Tab")
    assert has_focus(page, ".skip")
    page.keyboard.press("Enter")
    tab_to(page, "#name")


def test_an_instrument_is_added_moved_and_removed_by_keys(page: Page) -> None:
    tab_to(page, "#name")
    page.keyboard.type("tcs")
    page.locator("#found li", has_text="NSE:TCS").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    rows = page.locator("#rows tr")
    count = rows.count()
    expect(rows.last).to_contain_text("TCS")
    tab_to(page, "[aria-label='Move NSE:TCS up']")
    page.keyboard.press("Enter")
    expect(rows.nth(count - 2)).to_contain_text("TCS")
    assert has_focus(page, "[aria-label='Move NSE:TCS up']")
    tab_to(page, "[aria-label='Remove NSE:TCS']")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(count - 1)
    assert has_focus(page, "#rows button, #name")


def test_a_dialog_takes_the_focus_and_gives_it_back(page: Page) -> None:
    tab_to(page, "#pause")
    page.keyboard.press("Enter")
    expect(page.locator("#confirm")).to_be_visible()
    assert has_focus(page, "#confirm button")
    page.keyboard.press("Escape")
    expect(page.locator("#confirm")).to_be_hidden()
    assert has_focus(page, "#pause")
    expect(page.locator("#word")).to_have_text("LIVE")


def test_a_login_by_keys_alone(house: House, page: Page) -> None:
    end_session(house)
    expect(page.locator("#login")).to_be_visible(timeout=15_000)
    tab_to(page, "#login")
    page.keyboard.press("Enter")
    expect(page.locator("#secret")).to_be_visible()
    page.keyboard.type(house.rig.simulator.ready["api_secret"])
    page.keyboard.press("Enter")
    expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)


@pytest.mark.parametrize(("wish", "moves"), [("reduce", False), ("no-preference", True)])
def test_what_comes_up_moves_only_where_nobody_minds(
    house: House, browser: Browser, wish: str, moves: bool
) -> None:
    house.until("live")
    with opened(browser, reduced_motion=wish) as page:
        page.goto(house.url)
        expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
        page.evaluate(
            """() => {
                window.animated = false;
                const look = () => { window.animated ||= document.getAnimations().length > 0; };
                const toasts = document.getElementById("toasts");
                new MutationObserver(look).observe(toasts, { childList: true });
            }"""
        )
        page.click("#pause")
        page.locator("#confirm").get_by_role("button", name="Pause").click()
        expect(page.locator(".toast", has_text="Paused")).to_be_visible(timeout=15_000)
        assert page.evaluate("window.animated") is moves
        page.click("#pause")
        expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
