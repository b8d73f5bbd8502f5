"""A page that is left open: with everything subscribed, over a night, through a suspended host."""

import time
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs it")

from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser.house import LIVE_MS, House, MockedStream, opened
from tests.integration.rig import INSTRUMENTS
from tests.integration.test_nine_thousand import LISTED, MANY

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(240)]
SHOWN = 50
WINDOW_S, WINDOWS = 8, 3
# What the page may cost, beside a bare table of as many cells that is written as often, in the same
# run: a part of a core is another one on each host, and at each hour (12 % beside 9 % of a slow
# one). The best of some windows counts: what else a host does makes work dearer, never cheaper.
TIMES_MAX = 2.5
BARE_TABLE = """
<table id="bare"></table><script>
const cells = [];
for (let row = 0; row < 50; row++) {
  const line = document.getElementById("bare").insertRow();
  for (let n = 0; n < 8; n++) cells.push(line.insertCell());
}
setInterval(() => cells.forEach((cell) => {
  cell.textContent = (1000 + 100 * Math.random()).toFixed(2);
}), 500);
</script>"""
FRAMES_MAX = 2.6  # a second: two of prices, and what a switch or a figure of a program adds
HEAP_GROWTH_MAX = 500_000  # bytes
NODES_GROWTH_MAX = 400  # the list of what happened, until it has its 100; a node a price: 10,000
ROUND_MS = 10_000  # of the mocked clock, from one price to the next
NIGHT_ROUNDS = 2_000


def cpu_s(browser: Browser) -> dict[str, float]:
    """Seconds of a core by kind of process, of the whole browser."""
    session = browser.new_browser_cdp_session()
    found: dict[str, float] = {}
    for process in session.send("SystemInfo.getProcessInfo")["processInfo"]:
        found[process["type"]] = found.get(process["type"], 0.0) + process["cpuTime"]
    session.detach()
    return found


def window(browser: Browser, page: Page) -> tuple[float, float]:
    """The part of a core that the page's process took for a while, and layouts a second."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def layouts() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "LayoutCount"))

    before, laid_out, began_s = cpu_s(browser), layouts(), time.monotonic()
    page.wait_for_timeout(WINDOW_S * 1000)
    took_s, after, count = time.monotonic() - began_s, cpu_s(browser), layouts() - laid_out
    parts = {kind: (after[kind] - before.get(kind, 0.0)) / took_s for kind in after}
    print("parts of a core:", {kind: f"{part:.1%}" for kind, part in sorted(parts.items())},
          f"layouts a second: {count / took_s:.1f}")  # fmt: skip
    return parts["renderer"], count / took_s


@pytest.fixture(scope="module")
def full_house() -> Iterator[House]:
    """As much as one app key can stream."""
    options = ("--instruments", str(LISTED), "--tick-hz", "0.4")  # a simulator that keeps up
    found = House(instruments=MANY, simulator_options=options)
    with found.rig:
        found.rig.start()
        found.until("live")
        yield found


def test_fifty_of_nine_thousand_cost_a_small_part_of_a_core(
    full_house: House, browser: Browser
) -> None:
    with opened(browser) as page:
        page.goto(full_house.url)
        expect(page.locator("#rows tr[data-fresh=yes]")).to_have_count(SHOWN, timeout=LIVE_MS)
        core, layouts = min(window(browser, page) for _ in range(WINDOWS))
        assert layouts < FRAMES_MAX
        expect(page.locator("#rows tr[data-fresh=yes]")).to_have_count(SHOWN)
    with opened(browser) as page:
        page.set_content(BARE_TABLE)
        bare, _ = min(window(browser, page) for _ in range(WINDOWS))
    assert core < TIMES_MAX * bare


def test_a_tab_that_slept_for_a_night_says_so_first_and_is_live_again(
    house: House, browser: Browser
) -> None:
    house.until("live")
    with opened(browser) as page:
        page.clock.install()
        page.goto(house.url)
        expect(page.locator("#rows tr[data-fresh=yes]")).to_have_count(
            len(INSTRUMENTS), timeout=LIVE_MS
        )
        page.evaluate(
            """() => {
                window.said = [];
                const word = document.getElementById("word");
                new MutationObserver(() => window.said.push({
                    word: word.textContent,
                    fresh: document.querySelectorAll("#rows tr[data-fresh=yes]").length,
                })).observe(word, { characterData: true, childList: true, subtree: true });
            }"""
        )
        page.clock.fast_forward("09:00:00")
        expect(page.locator("#rows tr[data-fresh=yes]")).to_have_count(
            len(INSTRUMENTS), timeout=LIVE_MS
        )
        expect(page.locator("#word")).to_have_text("LIVE", timeout=LIVE_MS)
        said = page.evaluate("window.said")
        assert said[0] == {"word": "LOST", "fresh": 0}
        assert said[-1]["word"] == "LIVE"


class Night:
    """Hours of a page in seconds."""

    def __init__(self, page: Page, url: str) -> None:
        self._stream = MockedStream(page, url)
        self._round = 0
        self._cdp: CDPSession = page.context.new_cdp_session(page)

    def pass_by(self) -> None:
        """Prices, switches of the source, and four lost connections."""
        for number in range(NIGHT_ROUNDS):
            self._round += 1
            self._stream.utc_ms += ROUND_MS
            self._stream.pulse()
            self._stream.say("quotes", quotes=[self._quote(name) for name in INSTRUMENTS])
            if number % 50 == 0:
                self._stream.say("events", events=[self._event()])
            if number % (NIGHT_ROUNDS // 4) == 0:
                self._stream.lose_connection()

    def _quote(self, name: str) -> dict[str, object]:
        price = 1500 + self._round % 97 / 10
        return {"instrument": name, "last_price": price, "decimals": 2, "change": 0.1,
                "source": "websocket", "age_s": 0.1, "fresh": True}  # fmt: skip

    def _event(self) -> dict[str, object]:
        return {"number": self._round, "at_utc_s": self._stream.utc_ms / 1000, "feed": "live",
                "source": "websocket", "text": "Switch", "lasted_s": 1.0}  # fmt: skip

    def kept(self) -> tuple[int, int, int]:
        """Bytes of the heap, nodes and listeners, after what is garbage has gone."""
        self._cdp.send("HeapProfiler.collectGarbage")
        counters = self._cdp.send("Memory.getDOMCounters")
        used = self._cdp.send("Runtime.getHeapUsage")["usedSize"]
        return int(used), counters["nodes"], counters["jsEventListeners"]


def test_a_second_night_takes_no_more_memory_than_the_first(house: House, browser: Browser) -> None:
    with opened(browser) as page:
        night = Night(page, house.url)
        expect(page.locator("#rows tr")).to_have_count(len(INSTRUMENTS))
        night.pass_by()
        first = night.kept()
        night.pass_by()
        second = night.kept()
        print("heap bytes, nodes, listeners:", first, second)
        expect(page.locator("#rows .price").first).to_contain_text("1,5")
        assert second[0] - first[0] < HEAP_GROWTH_MAX
        assert second[1] - first[1] < NODES_GROWTH_MAX
        assert second[2] - first[2] < NODES_GROWTH_MAX
