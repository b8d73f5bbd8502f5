"""Tests the page for a person who has nothing yet: no app key, session, instrument or price."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs it")

from playwright.sync_api import Browser, Page, expect

from tests.browser.house import LIVE_MS, House, opened
from tests.integration.test_gateway import free_port

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(180)]
ELSEWHERE = "http://my.example/callback"


def without_a_key(**of_house: Any) -> House:
    """Nobody has logged in, no app is known, and nothing is configured to be streamed."""
    found = House(instruments=(), **of_house)
    key = found.rig.simulator.ready["api_key"]
    text = found.rig.config.read_text()
    found.rig.config.write_text(text.replace(f'api_key = "{key}"', 'api_key = ""  # mine', 1))
    return found


@pytest.fixture
def house() -> Iterator[House]:
    found = without_a_key()
    with found.rig:
        found.rig.launch()
        found.until("login_required")
        yield found


def configured(house: House) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(house.rig.config.read_text())["kite"]
    return found


def enter_key(house: House, page: Page) -> None:
    page.fill("#api-key", house.rig.simulator.ready["api_key"])
    page.click("#key-form button")
    expect(page.locator("#step-key")).to_have_class("done")


def enter_secret(house: House, page: Page, secret: str = "", *, keep: bool = False) -> None:
    page.fill("#secret-text", secret or house.rig.simulator.ready["api_secret"])
    page.set_checked("#secret-keep", keep)
    page.click("#secret button.primary")


def kept_secret(house: House) -> str:
    path = house.rig.root / "state" / "api_secret.json"
    if not path.exists():
        return ""
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_text()


def test_the_page_leads_from_no_app_to_a_live_price_of_what_was_typed(
    house: House, browser: Browser
) -> None:
    ready = house.rig.simulator.ready
    with opened(browser) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(house.url)
        expect(page.locator("#word")).to_have_text("NOT SET UP")
        expect(page.locator("#step-app .redirect")).to_have_text(f"{house.url}login/redirect")
        expect(page.locator("#first .warning")).to_be_hidden()
        expect(page.locator("#first .done")).to_have_count(0)
        expect(page.locator("#first-login")).to_be_disabled()
        expect(page.locator("#login")).to_be_hidden()
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator("table.prices")).to_be_hidden()
        page.click("#step-app .copy")
        expect(page.locator("#step-app .copy")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == f"{house.url}login/redirect"

        page.fill("#api-key", "my key!")
        page.click("#key-form button")
        expect(page.locator("#key-problem")).to_contain_text("letters and digits only")
        assert configured(house)["api_key"] == ""
        enter_key(house, page)
        expect(page.locator("#key-problem")).to_be_hidden()
        expect(page.locator("#word")).to_have_text("LOGIN NEEDED")
        assert configured(house)["api_key"] == ready["api_key"]
        assert "# mine" in house.rig.config.read_text()

        page.click("#first-login")
        expect(page.locator("#secret .redirect")).to_have_text(f"{house.url}login/redirect")
        enter_secret(house, page, keep=True)
        expect(page.locator("#first")).to_be_hidden(timeout=LIVE_MS)
        expect(page.locator("#word")).to_have_text("READY", timeout=LIVE_MS)
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
    assert ready["api_secret"] in kept_secret(house)
    assert ready["api_secret"] not in house.rig.config.read_text() + house.rig.output()


def test_a_wrong_secret_is_not_kept_and_the_next_one_is_asked_for(
    house: House, browser: Browser
) -> None:
    with opened(browser) as page:
        page.goto(house.url)
        enter_key(house, page)
        page.click("#first-login")
        enter_secret(house, page, "wrong", keep=True)
        expect(page.locator("main")).to_contain_text("not that of this api_key", timeout=10_000)
        assert kept_secret(house) == ""
        page.click("text=Enter the secret again")
        enter_secret(house, page)
        expect(page.locator("#word")).to_have_text("READY", timeout=LIVE_MS)
        assert kept_secret(house) == ""
        # From now on the page does not change whose app it is.
        told = page.evaluate(
            """async () => {
                const given = JSON.parse(document.getElementById("given").textContent);
                const headers = {"Content-Type": "application/json",
                                 "X-Kitefeed-Page": given.page_token};
                const body = JSON.stringify({api_key: "theirs"});
                return (await fetch("/api/app", {method: "POST", headers, body})).text();
            }"""
        )
        assert "by hand" in told
        assert configured(house)["api_key"] == house.rig.simulator.ready["api_key"]


def test_another_site_and_another_program_enter_nothing(house: House, browser: Browser) -> None:
    origin = {"Origin": house.url.rstrip("/"), "Content-Type": "application/json"}
    with opened(browser) as page:
        page.goto(house.url)
        token = {"X-Kitefeed-Page": page.evaluate(
            "JSON.parse(document.getElementById('given').textContent).page_token"
        )}  # fmt: skip
        for path, body in (
            ("api/app", '{"api_key": "theirs"}'),
            ("api/login", '{"secret": "theirs"}'),
            ("api/login/pasted", '{"address": "http://x/?request_token=abcdef123456"}'),
        ):
            ask = page.request.post
            assert ask(house.url + path, data=body, headers=origin).status == 403
            assert ask(house.url + path, data=body, headers=token).status == 403
            evil = origin | token | {"Origin": "http://evil.example"}
            assert ask(house.url + path, data=body, headers=evil).status == 403
            ours = origin | token
            assert ask(house.url + path, data="x" * 100_000, headers=ours).status == 413
            assert ask(house.url + path, data="{", headers=ours).status == 400
        assert configured(house)["api_key"] == ""


def test_a_login_that_ends_elsewhere_is_told_and_finished_by_its_address(
    browser: Browser,
) -> None:
    house = without_a_key(registered=f"http://127.0.0.1:{free_port()}/callback")
    text = house.rig.config.read_text()
    house.rig.config.write_text(re.sub("redirect_url = .*", f'redirect_url = "{ELSEWHERE}"', text))
    with house.rig:
        house.rig.launch()
        house.until("login_required")
        with opened(browser) as page:
            page.goto(house.url)
            # Configured elsewhere: said, and put right by a click.
            expect(page.locator("#first .warning")).to_contain_text(ELSEWHERE)
            page.click("#redirect-here")
            expect(page.locator("#first .warning")).to_be_hidden()
            enter_key(house, page)
            assert configured(house)["redirect_url"] == f"{house.url}login/redirect"
            # Registered elsewhere: nothing comes back, until the person does.
            expect(page.locator("#missed")).to_be_hidden()
            page.click("#first-login")
            with page.expect_request(re.compile("/callback")) as asked:
                enter_secret(house, page)
            page = page.context.new_page()  # the other one shows that nobody is there
            page.goto(house.url)
            expect(page.locator("#missed .redirect")).to_have_text(f"{house.url}login/redirect")
            page.fill("#pasted", "http://127.0.0.1/callback?request_token=abcdef123456&state=no")
            page.click("#paste .primary")
            expect(page.locator("#paste-problem")).to_contain_text("not begun here")
            page.fill("#pasted", asked.value.url)
            page.click("#paste .primary")
            expect(page.locator("#problem")).to_contain_text("redirect URL that is registered")
            expect(page.locator("#missed")).to_be_hidden()
            expect(page.locator("#word")).to_have_text("READY", timeout=LIVE_MS)
