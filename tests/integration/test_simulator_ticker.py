"""The official KiteTicker, unchanged, on the simulator: what it parses is what was sent.

It runs in a process of its own: its Twisted reactor starts only once in a process.
"""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kitefeed.protocol.kite.text import OrderUpdate, server_message
from kitefeed.protocol.kite.ticks import FULL, TickBody, unpack_depth
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator

WITHIN_S = 15.0
LTP_TOKENS, QUOTE_TOKENS = [256265, 738561], [260105, 779521, 111859975]
FULL_TOKENS = [265, 408065, 301059, 315910, 19724, 128053508]  # index, NSE, CDS, BCD, NCO, BSE
SCRIPT = """
import json, sys
from kiteconnect import KiteTicker

account, modes = json.loads(sys.argv[1])

def say(**what):
    print(json.dumps(what, default=str), flush=True)

def on_connect(ws, response):
    say(event="connect")
    for mode, tokens in modes.items():
        ws.subscribe(tokens)
        if mode != "quote":
            ws.set_mode(mode, tokens)

ticker = KiteTicker(account["api_key"], account["access_token"], root=account["ws"])
ticker.on_connect = on_connect
ticker.on_ticks = lambda ws, ticks: say(event="ticks", ticks=ticks)
ticker.on_order_update = lambda ws, order: say(event="order", order=order)
ticker.on_error = lambda ws, code, reason: say(event="error", code=code, reason=reason)
ticker.on_close = lambda ws, code, reason: say(event="close", code=code, reason=reason)
ticker.connect()
"""


class Ticker:
    """The process, and what it said so far: the last tick of each token, and how many."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.ticks: dict[int, dict[str, Any]] = {}
        self.counts: dict[int, int] = {}
        self._lines: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(process.stdout,))
        self._reader.start()

    def _read(self, lines: Any) -> None:
        for line in lines:
            self._lines.put(line)

    def next_where(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Takes in what it says until an event is the wanted one."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            event = json.loads(self._lines.get(timeout=deadline - time.monotonic()))
            for tick in event.get("ticks", []):
                self.ticks[tick["instrument_token"]] = tick
                self.counts[tick["instrument_token"]] = (
                    self.counts.get(tick["instrument_token"], 0) + 1
                )
            if wanted(event):
                return event

    def take_in_until(self, condition: Callable[[], bool]) -> None:
        if not condition():
            self.next_where(lambda _: condition())

    def join(self) -> None:
        self._reader.join()


@pytest.fixture(scope="module")
def kite_server() -> Iterator[RunningSimulator]:
    with running_simulator(Simulator(tick_hz=10.0)) as running:
        yield running


@pytest.fixture
def ticker(kite_server: RunningSimulator) -> Iterator[Ticker]:
    modes = {"ltp": LTP_TOKENS, "quote": QUOTE_TOKENS, "full": FULL_TOKENS}
    argument = json.dumps([kite_server.credentials(), modes])
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, argument], stdout=subprocess.PIPE, text=True
    ) as process:
        ticker = Ticker(process)
        yield ticker
        process.kill()
        ticker.join()


def expected(body: TickBody) -> dict[str, object]:
    """The official client's names for the fields of a full tick, prices in rupees."""

    def rupees(price: int | None) -> float:
        return (price or 0) / body.divisor

    fields: dict[str, object] = {
        "last_price": rupees(body.last_price),
        "ohlc": {name: rupees(getattr(body, name)) for name in ("open", "high", "low", "close")},
    }
    if body.depth is None:
        return fields
    buy, sell = (
        [{"quantity": q, "price": rupees(price), "orders": n} for q, price, n in side]
        for side in unpack_depth(body.depth)
    )
    return fields | {
        "last_traded_quantity": body.last_traded_quantity,
        "average_traded_price": rupees(body.average_traded_price),
        "volume_traded": body.volume_traded,
        "total_buy_quantity": body.total_buy_quantity,
        "total_sell_quantity": body.total_sell_quantity,
        "oi": body.oi,
        "oi_day_high": body.oi_day_high,
        "oi_day_low": body.oi_day_low,
        "depth": {"buy": buy, "sell": sell},
    }


def agrees(tick: dict[str, Any], sent: dict[str, Any], body: TickBody) -> bool:
    fields = expected(body)
    return (
        tick["mode"] == sent["mode"]
        and tick["last_price"] == sent["last_price"] / body.divisor
        and all(fields[name] == tick[name] for name in fields if name in tick)
    )


@pytest.mark.processes
def test_the_official_ticker_sees_what_was_sent_in_every_mode_and_every_event(
    kite_server: RunningSimulator, ticker: Ticker
) -> None:
    simulator = kite_server.simulator
    wanted = {*LTP_TOKENS, *QUOTE_TOKENS, *FULL_TOKENS}

    ticker.take_in_until(lambda: all(ticker.counts.get(token, 0) >= 3 for token in wanted))
    assert {token: tick["mode"] for token, tick in ticker.ticks.items()} == (
        dict.fromkeys(LTP_TOKENS, "ltp")
        | dict.fromkeys(QUOTE_TOKENS, "quote")
        | dict.fromkeys(FULL_TOKENS, "full")
    )

    async def freeze() -> dict[int, TickBody]:
        """Stops the market with its book in place, so that the last packets stay comparable."""
        simulator.market.advance = lambda tokens, now_ns: None
        for connection in simulator.stream.connections():
            await connection.pulse(time.time_ns())
        bodies = {}
        for token in wanted:
            security = simulator.market.seen(token)
            assert security is not None
            bodies[token] = security.body(FULL)
        return bodies

    bodies = kite_server.call(freeze)
    sent = simulator.stats.last_packets(None)
    ticker.take_in_until(
        lambda: all(agrees(ticker.ticks[each], sent[str(each)], bodies[each]) for each in wanted)
    )
    assert set(map(int, sent)) == wanted
    assert not ticker.ticks[265]["tradable"]

    update = server_message(OrderUpdate({"a": 1}))
    kite_server.call(lambda: simulator.stream.push(simulator.accounts.apps[0], update))
    assert ticker.next_where(lambda each: each["event"] == "order")["order"] == {"a": 1}
    kite_server.fault("refuse_ws")
    assert ticker.next_where(lambda each: each["event"] == "close")["code"] == 1000
    refusal = ticker.next_where(lambda each: each["event"] == "error")
    assert "upgrade failed (403 - Forbidden)" in refusal["reason"]
