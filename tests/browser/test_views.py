"""Tests the page in each state of the feed: its words, what helps, and that nothing runs over."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs it")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.house import House, MockedStream, opened
from tests.support import eventually

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(180)]
HEALTH = {"is_healthy": True, "feed": "live", "source": "websocket", "session": "valid",
          "reason": "streaming", "retry_in_s": None, "user_id": "AB1234"}  # fmt: skip
QUOTE = {"instrument": "NSE:INFY", "last_price": 1580.5, "decimals": 2, "change": -0.14,
         "source": "websocket", "age_s": 0.4, "fresh": True}  # fmt: skip
MONDAY_NIGHT_MS = 1_796_053_680_000  # 30 November 2026, 21:18 in India
REFUSED = ("Somebody else logged in with this app, or logged out at Kite: the session was good at "
           "15:29:05 and refused at 15:29:11 IST, which is no time of Kite's flush")  # fmt: skip


class View:
    """A page whose stream and status the test says."""

    def __init__(self, page: Page, house: House, report: dict[str, Any]) -> None:
        self.page = page
        page.route("**/api/status", lambda route: route.fulfill(json=report))
        self.stream = MockedStream(page, house.url)
        self.stream.utc_ms = MONDAY_NIGHT_MS

    def say(self, **health: object) -> None:
        self.stream.say("feed", health=HEALTH | health)
        self.stream.pulse()

    def until(self, place: str, text: str, **health: object) -> None:
        def look() -> bool:
            self.say(**health)
            return text in self.page.locator(place).inner_text()

        eventually(look, 10, every_s=0.1)


@pytest.fixture
def report(house: House) -> dict[str, Any]:
    house.until("live")
    return house.rig.status()


Show = Callable[..., Any]


@pytest.fixture
def show(house: House, browser: Browser, report: dict[str, Any]) -> Show:
    @contextmanager
    def shown(changes: dict[str, Any] | None = None, **context: Any) -> Iterator[View]:
        with opened(browser, **context) as page:
            yield View(page, house, report | (changes or {}))

    return shown


@pytest.mark.parametrize(
    ("health", "changes", "word", "reason", "next_"),
    [
        ({}, {}, "LIVE", "stream from Kite", ""),
        ({"is_healthy": False, "reason": "in doubt"}, {}, "DOUBTFUL", "in doubt", ""),
        ({"feed": "rest", "source": "rest", "retry_in_s": 41.0,
          "reason": "polled every 5 s: the WebSocket is refused (3 times in a row)"},
         {}, "REST, every 5 s", "refused (3 times in a row)", "Next attempt in 41 s."),
        ({"feed": "stale", "source": "cache", "retry_in_s": 9.2, "is_healthy": False,
          "reason": "no connection to Kite: `kitefeed doctor` tells"},
         {}, "LAST KNOWN", "No fresh prices: no connection to Kite.", "Next attempt in 10 s."),
        ({"feed": "login_required", "source": "cache", "session": "refused", "reason": REFUSED,
          "retry_in_s": 41.0}, {}, "LOGIN NEEDED", "no time of Kite's flush", "attempt in 41 s"),
        ({"feed": "login_required", "source": "rest", "session": "refused", "reason": "no"},
         {}, "LOGIN NEEDED", "A second session polls", "Log in"),
        ({"feed": "closed", "source": "cache", "reason": ""},
         {"next_open": "2026-12-01T09:15:00+05:30"}, "CLOSED until Tue 09:15",
         "last of the session", "It opens in 11 h 57"),
        ({"feed": "closed", "source": "cache", "session": "refused", "reason": ""},
         {"next_open": "2026-12-01T09:15:00+05:30"}, "CLOSED until Tue 09:15", "closed",
         "Log in before it opens"),
        ({"feed": "paused", "source": "none", "reason": ""}, {}, "PAUSED", "paused", "Go on"),
        ({"feed": "no_entitlement", "source": "none", "reason": "x", "retry_in_s": 890.0},
         {}, "NO MARKET DATA", "no market data", "Next attempt in 15 min."),
        ({"feed": "misconfigured", "source": "none", "reason": "kite.api_key: write letters"},
         {}, "MISCONFIGURED", "kite.api_key: write letters.", "once the file is repaired"),
        ({"feed": "stale", "source": "none", "reason": "connected, but no instrument is wanted"},
         {"subscriptions": {"wanted": 0, "asked": 0, "confirmed": 0}}, "READY", "logged in",
         "Add an instrument"),
        ({"feed": "lost", "source": "cache", "session": "unknown", "reason": "silent"},
         {}, "LOST", "The daemon is silent", "kitefeed up"),
    ],
)  # fmt: skip
def test_the_badge_says_the_state_why_it_is_so_and_what_is_being_done(
    show: Show, health: dict[str, Any], changes: dict[str, Any], word: str, reason: str, next_: str
) -> None:
    with show(changes) as view:
        view.until("#word", word, **health)
        view.until("#reason", reason, **health)
        view.until("#next", next_, **health)
        assert view.page.title().startswith(word)
        helps = health.get("session") == "refused"
        expect(view.page.locator("#login")).to_be_visible(visible=helps)
        expect(view.page.locator("#pause")).to_be_visible(visible=word != "LOST")


def test_the_next_attempt_is_counted_down_between_two_words_of_the_server(show: Show) -> None:
    with show() as view:
        view.until("#next", "41 s", feed="stale", reason="network", retry_in_s=41.0)

        def later() -> bool:
            view.stream.pulse()
            return bool(re.search(r"in 3[0-9] s", view.page.locator("#next").inner_text()))

        eventually(later, 10, every_s=0.3)


def test_last_known_names_when_prices_were_known_last(show: Show) -> None:
    with show() as view:
        view.say()
        view.stream.say("quotes", quotes=[QUOTE])
        expect(view.page.locator("tr[data-fresh=yes]")).to_have_count(1)
        view.until("#word", "LAST KNOWN, 21:18", feed="stale", is_healthy=False, reason="network")


def test_figures_are_grouped_as_in_india_and_stand_below_each_other(show: Show) -> None:
    with show() as view:
        view.say()
        quotes = [
            QUOTE | {"last_price": 1234567.5, "change": -0.001},
            QUOTE | {"instrument": "NSE:SBIN", "change": 1.005, "source": "rest"},
            QUOTE | {"instrument": "NSE:RELIANCE", "change": None, "fresh": False},
        ]
        view.stream.say("quotes", quotes=quotes)
        row = view.page.locator("#rows tr", has_text="INFY")
        expect(row.locator(".price")).to_have_text("12,34,567.50")
        expect(row.locator(".change")).to_have_text("0.00 %")  # no arrow for what is no change
        polled = view.page.locator("#rows tr", has_text="SBIN")
        expect(polled.locator(".change")).to_have_text("▲ +1.00 %")
        expect(polled.locator(".mark")).to_have_text("polled")
        stale = view.page.locator("#rows tr", has_text="RELIANCE")
        expect(stale.locator(".mark")).to_have_text("not live")
        expect(stale.locator(".price")).to_have_css("text-decoration-line", "line-through")
        for cell in (".price", ".change", ".age"):
            expect(row.locator(cell)).to_have_css("font-variant-numeric", "tabular-nums")


def test_what_is_not_streamed_says_why_in_its_row(show: Show) -> None:
    with show() as view:
        view.say()
        view.stream.say("refused", refused={"NSE:INFY": "not in today's instrument list: `x`"})
        row = view.page.locator("#rows tr", has_text="INFY")
        expect(row.locator(".mark")).to_have_text("not streamed")
        expect(row.locator(".why")).to_have_text("Not in today's instrument list.")


def test_a_switch_is_a_toast_that_can_be_closed_and_a_line_that_stays(show: Show) -> None:
    with show() as view:
        view.say()
        known = {"number": 1, "at_utc_s": view.stream.utc_ms / 1000, "feed": "live",
                 "source": "websocket", "text": "Prices are live"}  # fmt: skip
        view.stream.say("events", events=[known])
        expect(view.page.locator("#events li")).to_have_count(1)
        expect(view.page.locator(".toast")).to_have_count(0)  # no news
        view.stream.say("events", events=[known | {"number": 2, "feed": "rest", "text": "Polled",
                                                   "reason": "refused: `x`"}])  # fmt: skip
        expect(view.page.locator(".toast")).to_contain_text("Polled Refused.")
        view.page.click(".toast button")
        expect(view.page.locator(".toast")).to_have_count(0)
        expect(view.page.locator("#events li").first).to_contain_text("21:18:00")
        expect(view.page.locator("#events li").first).to_contain_text("Polled Refused.")


def test_what_happened_on_another_day_is_told_with_the_day(show: Show) -> None:
    with show() as view:
        view.say()
        at_utc_s = view.stream.utc_ms / 1000 - 86_400
        view.stream.say("events", events=[{"number": 1, "at_utc_s": at_utc_s, "feed": "stale",
                                           "source": "none", "text": "No"}])  # fmt: skip
        expect(view.page.locator("#events time")).to_have_text("Sun 21:18")


def test_a_page_without_its_gateway_lists_when_it_was_deaf(show: Show) -> None:
    with show() as view:
        view.until("#word", "LIVE")
        expect(view.page.locator("#word")).to_have_text("LOST", timeout=3_000)
        expect(view.page.locator("#events li").first).to_contain_text("This page hears nothing")
        expect(view.page.locator("#clock")).to_have_text("--:--:--")
        view.until("#word", "LIVE")
        expect(view.page.locator("#events li").first).to_contain_text("hears kitefeed again")


def test_a_machine_that_slept_while_its_steady_clock_stood_is_found_out(show: Show) -> None:
    with show() as view:
        view.until("#word", "LIVE")
        view.stream.say("quotes", quotes=[QUOTE])
        expect(view.page.locator("tr[data-fresh=yes]")).to_have_count(1)
        view.page.evaluate("() => { const now = Date.now; Date.now = () => now() + 9 * 3600e3; }")
        expect(view.page.locator("#word")).to_have_text("LOST", timeout=1_000)
        expect(view.page.locator("#rows tr", has_text="INFY").locator(".age")).to_have_text(
            "9 h 00"
        )
        view.until("#word", "LIVE")


def test_who_cannot_be_found_by_typing_is_told_so(show: Show) -> None:
    with show() as view:
        view.page.fill("#name", "qqqqzzzz")
        expect(view.page.locator("#none")).to_contain_text("Nothing like “qqqqzzzz”")
        view.page.fill("#name", "infoys")  # much like it
        expect(view.page.locator("#found li").first).to_contain_text("NSE:INFY")
        expect(view.page.locator("#found li").first).to_contain_text("did you mean this?")
        expect(view.page.locator("#found li").first).to_contain_text("in your list")
        expect(view.page.locator("#none")).to_be_hidden()


@pytest.mark.parametrize(
    ("press", "consequence", "path"),
    [("#retry", "asks Kite at once", "/api/retry"),
     ("#pause", "read as not fresh", "/api/source"),
     ("#source", "Prices are a few seconds old at best", "/api/source")],
)  # fmt: skip
def test_each_action_says_first_what_will_happen(
    show: Show, press: str, consequence: str, path: str
) -> None:
    with show() as view:
        asked: list[str] = []
        view.page.route("**/api/retry", lambda route: route.fulfill(body="done"))
        view.page.route("**/api/source", lambda route: route.fulfill(body="done"))
        view.page.on("request", lambda r: r.method == "POST" and asked.append(r.url))
        view.until("#word", "LAST KNOWN", feed="stale", reason="network", retry_in_s=41.0)
        for button in ("[value=no]", "#yes"):
            if press == "#source":
                view.page.select_option(press, "rest")
            else:
                view.page.click(press)
            expect(view.page.locator("#consequence")).to_contain_text(consequence)
            assert asked == []
            view.page.click(f"#confirm {button}")
        eventually(lambda: view.page.wait_for_timeout(20) or len(asked) == 1, 5)
        assert asked[0].endswith(path)


def test_programs_are_told_with_lag_and_losses_and_processes_with_their_state(show: Show) -> None:
    reader = {"name": "momentum.py", "ticks_per_s": 5321.4, "lag_ms": 1500.0, "gaps": 0,
              "skipped": 0, "overrun": 0}  # fmt: skip
    changes = {
        "readers": [reader, reader | {"name": "slow.py", "gaps": 1, "skipped": 120, "overrun": 2}],
        "actors": [{"role": "rest_poller", "state": "up"}, {"role": "ticker", "state": "suspect"}],
        "last_outage": {"condition": "login_required", "detected_utc_s": 1796040000.0,
                        "login_utc_s": 1796040040.5, "restored_utc_s": 1796040043.0},
    }  # fmt: skip
    with show(changes) as view:
        view.until("#readers", "momentum.py\t5,321\t1.5 s\t0")
        view.until("#readers .missed", "123")
        view.until("#actors .live", "rest poller: up")
        view.until("#actors .bad", "ticker: suspect")
        view.until(
            "#outage",
            "Last outage (login needed): detected 17:30:00, login 17:30:40, restored 17:30:43. "
            "It took 43 s, 2.5 s after the login.",
        )
        expect(view.page.locator("#word")).to_have_text("LOST", timeout=4_000)
        expect(view.page.locator("#actors li").first).to_have_text("rest poller: not known")


def test_a_session_that_brings_its_own_key_needs_no_first_steps(
    house: House, browser: Browser, report: dict[str, Any]
) -> None:
    with opened(browser) as page:

        def without_key(route: Route) -> None:
            text = route.fetch().text()
            route.fulfill(body=re.sub(r'"api_key":"\w+"', '"api_key":""', text),
                          content_type="text/html")  # fmt: skip

        page.route(house.url, without_key)
        view = View(page, house, report)
        view.until("#word", "LIVE")
        expect(page.locator("#pause")).to_be_visible()
        expect(page.locator("#first")).to_be_hidden()
        view.until("#word", "NOT SET UP", feed="login_required", session="refused", reason="no")
        expect(page.locator("#first")).to_be_visible()


def test_on_a_phone_the_list_is_changed_behind_a_button(show: Show) -> None:
    with show(viewport={"width": 390, "height": 800}) as view:
        view.say()
        drop = view.page.get_by_role("button", name="Remove NSE:INFY")
        expect(drop).to_be_hidden()
        view.page.click("#edit")
        expect(view.page.locator("#edit")).to_have_attribute("aria-pressed", "true")
        drop.click()
        expect(view.page.locator("#rows tr", has_text="INFY")).to_have_count(0)
        view.page.click("#edit")
        expect(view.page.locator("#rows .drop").first).to_be_hidden()


LONG = "NFO:" + "VERYLONGCOMPANYNAME" * 4
WIDE = {
    "readers": [{"name": "a-strategy-with-a-very-long-name-" * 3, "pid": 1, "heard_age_s": 0.1,
                 "instruments": 9000, "ticks_per_s": 123456.0, "lag_ms": 90_000.0, "waiting": 0,
                 "gaps": 1234567, "late": 0, "skipped": 0, "overrun": 0, "reconnects": 0}],
    "market": {"NSE": "open", "NFO": "pre_open_match", "MCX": "closed", "CDS": "closing_auction"},
}  # fmt: skip


@pytest.mark.parametrize("width", [320, 390, 768, 1200])
def test_nothing_runs_over_however_long_it_is(show: Show, width: int) -> None:
    with show(WIDE, viewport={"width": width, "height": 800}) as view:
        names = json.dumps([LONG, "NSE:INFY", *(f"NSE:SHARE{n}" for n in range(300))])
        view.page.evaluate("(n) => localStorage.setItem('kitefeed.watchlist', n)", names)
        view.page.reload()
        view.until("#word", "LOGIN", feed="login_required", session="refused", reason=REFUSED * 3)
        view.stream.say("quotes", quotes=[QUOTE | {"instrument": LONG, "last_price": 12345678.9}])
        view.stream.say("refused", refused={"NSE:INFY": REFUSED, "": REFUSED})
        expect(view.page.locator("#rows tr")).to_have_count(302)
        trouble = {"feed": "login_required", "session": "refused", "reason": REFUSED * 3}
        view.until("#readers", "12,34,567", **trouble)
        over = view.page.evaluate(
            """() => [...document.querySelectorAll("body *")].filter((each) =>
                !each.closest(".hidden, .skip, .scroll") && each.getBoundingClientRect().right
                    > document.documentElement.clientWidth + 1)
                .map((each) => each.outerHTML.slice(0, 90))"""
        )
        assert over == []
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width
        list_ = view.page.evaluate("[prices.scrollWidth, prices.clientWidth]")
        assert list_[0] <= list_[1], "the list is scrolled sideways"
        # Below hundreds of rows the day and the programs are not out of reach.
        assert view.page.locator("#today").bounding_box()["y"] < 2_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_axe_finds_nothing_serious_in_trouble_either(show: Show, scheme: str, width: int) -> None:
    view_of = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    with show(WIDE, bypass_csp=True, **view_of) as view:
        view.until("#word", "LOGIN", feed="login_required", session="refused", reason=REFUSED)
        view.stream.say("quotes", quotes=[QUOTE | {"fresh": False}])
        view.stream.say("events", events=[])
        event = {"number": 1, "at_utc_s": 0.0, "feed": "stale", "source": "none", "text": "No"}
        view.stream.say("events", events=[event])
        for name in ("first", "missed", "empty"):  # what other states show, too
            view.page.evaluate("(id) => document.getElementById(id).hidden = false", name)
        view.page.click("#pause")
        result = Axe().run(view.page).response
        serious = [v for v in result["violations"] if v["impact"] in ("serious", "critical")]
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in serious] == []
