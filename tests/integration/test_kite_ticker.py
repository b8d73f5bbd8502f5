"""A program with KiteTicker, on a real broadcaster."""

import threading
from collections.abc import Iterator
from typing import Any

import kiteconnect
import pytest

from kitefeed import KiteTicker
from kitefeed.client import kite_run
from kitefeed.protocol.feed import FeedState, Source
from kitefeed.protocol.messages import bus as m
from tests.integration.broadcaster_kit import Stage, item, kill
from tests.support import eventually

pytestmark = pytest.mark.processes

INFY, TCS = 408065, 2953217


class Bot:
    """As the official client's documentation has it, and it notes all it is told."""

    def __init__(self, stage: Stage, **options: Any) -> None:
        self.ticks: list[dict[str, Any]] = []
        self.told: list[tuple[object, ...]] = []
        self.threads: set[int] = set()
        self.ticker = KiteTicker("key", "token", config=stage.config, **options)
        self.ticker.on_ticks = self._on_ticks
        self.ticker.on_connect = self._on_connect
        for name in ("on_open", "on_error", "on_close", "on_reconnect", "on_order_update"):
            self._note(name)
        stage._closers.append(self.ticker.stop)

    def _note(self, name: str) -> None:
        def callback(ws: KiteTicker, *arguments: object) -> None:
            assert ws is self.ticker
            self.threads.add(threading.get_ident())
            self.told.append((name, *arguments))

        setattr(self.ticker, name, callback)

    def _on_connect(self, ws: KiteTicker, response: kite_run.Response) -> None:
        self.told.append(("on_connect", response.peer))
        ws.subscribe([INFY, TCS, 1])
        ws.set_mode(ws.MODE_FULL, [INFY])

    def _on_ticks(self, ws: KiteTicker, ticks: list[dict[str, Any]]) -> None:
        self.threads.add(threading.get_ident())
        self.ticks += ticks

    def errors(self) -> list[str]:
        return [str(told[2]) for told in self.told if told[0] == "on_error"]

    def has(self, token: int, price: float) -> bool:
        return any((t["instrument_token"], t["last_price"]) == (token, price) for t in self.ticks)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


def names(supervisor: Any) -> None:
    supervisor.names.update({INFY: "NSE:INFY", TCS: "NSE:TCS"})


def test_a_bot_reads_its_tokens_each_in_its_mode_and_hears_what_cannot_be_had(
    stage: Stage,
) -> None:
    stage.up()
    supervisor, source = stage.live()
    names(supervisor)
    bot = Bot(stage)
    bot.ticker.connect(threaded=True)
    eventually(lambda: bot.errors(), 10)
    assert "1 is no token of today's instrument list" in bot.errors()[0]
    assert [told[0] for told in bot.told] == ["on_connect", "on_open", "on_error"]
    assert bot.ticker.is_connected()
    assert bot.ticker.subscribed_tokens == {INFY: "full", TCS: "quote", 1: "quote"}

    def sent(token: int, name: str, price: int) -> bool:
        source.send([item(name, price, token), item("NSE:OTHER", 1, 999)])
        return bot.has(token, price / 100)

    eventually(lambda: sent(INFY, "NSE:INFY", 5), 10)
    eventually(lambda: sent(TCS, "NSE:TCS", 7), 10)
    infy, tcs = (next(t for t in bot.ticks if t["instrument_token"] == k) for k in (INFY, TCS))
    assert infy["mode"] == "full"
    assert len(infy["depth"]["buy"]) == 5
    assert (tcs["mode"], "depth" in tcs) == ("quote", False)
    assert {t["instrument_token"] for t in bot.ticks} == {INFY, TCS}
    eventually(lambda: bot.ticker.is_fresh(INFY), 5)
    assert not bot.ticker.is_fresh(1)

    # Only its depth changed: nothing of mode quote. A higher mode brings the value again.
    eventually(lambda: not bot.ticks.clear() and not bot.ticks, 1)
    source.send([item("NSE:TCS", 7, TCS)])
    eventually(lambda: sent(INFY, "NSE:INFY", 6), 10)
    assert not bot.has(TCS, 0.07)
    bot.ticker.set_mode("full", [TCS])
    eventually(lambda: bot.has(TCS, 0.07), 10)
    assert bot.ticks[-1]["mode"] == "full"

    bot.ticker.unsubscribe([TCS])
    eventually(lambda: not bot.ticker.is_fresh(TCS), 10)
    bot.ticks.clear()
    source.send([item("NSE:TCS", 8, TCS)])
    eventually(lambda: sent(INFY, "NSE:INFY", 9), 10)
    assert not bot.has(TCS, 0.08)
    assert len(bot.threads) == 1

    bot.ticker.close(1000, "enough")
    eventually(lambda: bot.told[-1] == ("on_close", 1000, "enough"), 5)
    assert not bot.ticker.is_connected()
    bot.ticker.connect(threaded=True)  # once more, and its `on_connect` subscribes again
    eventually(lambda: sent(INFY, "NSE:INFY", 11), 10)
    eventually(lambda: bot.has(TCS, 0.08), 10)


def test_a_daemon_that_comes_late_is_met_and_one_that_dies_is_told_of_once(stage: Stage) -> None:
    bot = Bot(stage)
    bot.ticker.connect(threaded=True)
    eventually(lambda: bot.told, 10)
    assert {told[0] for told in bot.told} <= {"on_error", "on_close", "on_reconnect"}
    process = stage.up()
    supervisor, source = stage.live()
    names(supervisor)
    eventually(lambda: source.send([item("NSE:INFY", 5)]) or bot.has(INFY, 0.05), 15)
    before = len(bot.told)
    kill(process)
    eventually(lambda: not bot.ticker.is_connected(), 10)
    eventually(lambda: any("(lost:" in error for error in bot.errors()), 10)
    assert not bot.ticker.is_fresh(INFY)
    stage.up()
    eventually(lambda: source.send([item("NSE:INFY", 6)]) or bot.has(INFY, 0.06), 15)
    eventually(lambda: "kitefeed: prices are live again" in bot.errors(), 10)
    told = [name for name, *_ in bot.told[before:] if name in ("on_close", "on_connect")]
    assert told == []
    assert sum("(lost:" in error for error in bot.errors()) == 1


@pytest.mark.parametrize("stale", ["silence", "hold"])
def test_polled_prices_are_given_out_only_to_who_wants_them(stage: Stage, stale: str) -> None:
    stage.up()
    state = FeedState(feed="rest", source="rest", session="valid", reason="the socket is refused")
    supervisor = stage.supervisor(m.Grant(0, 7, "rest"), m.Announce(state))
    names(supervisor)
    source = stage.source(7, Source.REST)
    bot = Bot(stage, stale=stale)
    bot.ticker.connect(threaded=True)
    with stage.feed("NSE:INFY") as feed:
        eventually(lambda: source.send([item("NSE:INFY", 5)]) or feed.get("NSE:INFY"), 10)
    if stale == "hold":
        eventually(lambda: source.send([item("NSE:INFY", 6)]) or bot.has(INFY, 0.06), 10)
    eventually(lambda: any("the socket is refused" in error for error in bot.errors()), 10)
    assert bool(bot.ticks) == (stale == "hold")


def test_last_values_are_given_out_when_the_market_is_closed_and_only_then(stage: Stage) -> None:
    stage.up()
    supervisor, source = stage.live()
    names(supervisor)
    with stage.feed("NSE:INFY") as feed:
        eventually(lambda: source.send([item("NSE:INFY", 5)]) or feed.get("NSE:INFY"), 10)
    stale = FeedState(feed="stale", source="cache", session="valid", reason="connecting")
    supervisor.order(m.Grant(0, 8, "none"), m.Announce(stale))
    bot = Bot(stage)
    with stage.feed("NSE:INFY") as feed:
        eventually(lambda: feed.status.feed == "stale", 10)
    bot.ticker.connect(threaded=True)
    eventually(lambda: any("connecting" in error for error in bot.errors()), 10)
    assert bot.ticks == []
    closed = FeedState(
        feed="closed", source="cache", session="valid", reason="the market is closed"
    )
    supervisor.order(m.Announce(closed))
    eventually(lambda: bot.has(INFY, 0.05), 10)
    assert not bot.ticker.is_fresh(INFY)


def test_frames_and_heartbeats_come_as_messages_and_two_tickers_are_two(stage: Stage) -> None:
    stage.up()
    supervisor, source = stage.live()
    names(supervisor)
    bots = [Bot(stage), Bot(stage)]
    frames: list[bytes] = []
    states: list[str] = []
    bots[0].ticker.on_message = lambda ws, payload, is_binary: frames.append(payload)
    bots[0].ticker.on_status = lambda ws, status: states.append(status.feed)
    for bot in bots:
        bot.ticker.connect(threaded=True)
    for bot in bots:
        eventually(lambda: source.send([item("NSE:INFY", 5)]) or bot.has(INFY, 0.05), 10)  # noqa: B023
    official = kiteconnect.KiteTicker("key", "token")
    eventually(lambda: b"\0" in frames, 10)
    parsed = [tick for frame in frames if len(frame) > 4 for tick in official._parse_binary(frame)]
    assert [(t["instrument_token"], t["mode"], t["last_price"]) for t in parsed] == [
        (INFY, "full", 0.05)
    ] * len(parsed)
    assert parsed
    eventually(lambda: states[-1:] == ["live"], 5)  # its thread tells of it after the frames
    bots[0].ticker.stop()
    eventually(lambda: not bots[0].ticker.is_connected(), 5)
    eventually(lambda: source.send([item("NSE:INFY", 6)]) or bots[1].has(INFY, 0.06), 10)
    assert not bots[0].has(INFY, 0.06)
    assert ("on_close", None, None) not in bots[0].told
