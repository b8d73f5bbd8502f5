import datetime as dt
from typing import Any

import pytest

from kitefeed.kite_server.answers import InputError
from kitefeed.protocol.kite.rest import IST
from kitefeed.simulator import candles
from kitefeed.simulator.candles import INTERVALS
from kitefeed.simulator.historical import historical
from tests.unit.simulator.trading_kit import NS, Floor

INFY, NIFTY, CRUDE = 408065, 256265, 111859975
OPENING = dt.datetime(2026, 11, 23, 9, 15, tzinfo=IST)


class Watcher:
    """A floor whose ticks are noted as a client would see them, from one moment on."""

    def __init__(self, start: dt.datetime = OPENING) -> None:
        self.floor = Floor()
        self.start_ns = int(start.timestamp()) * NS
        self.ticks: dict[int, list[tuple[int, int, int, int]]] = {}

    def look(self, token: int, minutes: int) -> None:
        """Four pulses a second; every changed value is a tick."""
        market, revision = self.floor.market, None
        for pulse in range(minutes * 240):
            now_ns = self.start_ns + pulse * NS // 4
            security = market.read(token, now_ns)
            assert security is not None
            if security.revision != revision:
                revision = security.revision
                tick = (security.exchange_s, security.price, security.volume, security.oi)
                self.ticks.setdefault(token, []).append(tick)

    def ask(self, token: int, interval: str = "minute", **query: object) -> list[list[Any]]:
        day = dt.timedelta(days=1)
        at = dt.datetime.fromtimestamp(self.start_ns / NS, IST)
        asked = {"from": f"{at - day:%Y-%m-%d %H:%M:%S}", "to": f"{at + day:%Y-%m-%d %H:%M:%S}"}
        asked |= {name: str(value) for name, value in query.items()}
        path = {"instrument_token": str(token), "interval": interval}
        kept = self.floor.exchange.candles
        answer: Any = historical(self.floor.market, kept, path, asked, self.start_ns)
        return answer["candles"]


def from_ticks(ticks: list[tuple[int, int, int, int]], minutes: int) -> list[list[Any]]:
    """Candles as a client makes them: by exchange time, volume as the growth of the day's."""
    found: dict[int, list[Any]] = {}
    volume_before = ticks[0][2]
    for exchange_s, price, volume, oi in ticks:
        start = exchange_s - exchange_s % (60 * minutes)
        candle = found.setdefault(start, [price, price, price, price, volume_before, 0, 0])
        candle[1], candle[2] = max(candle[1], price), min(candle[2], price)
        candle[3], candle[5], candle[6] = price, volume, oi
        volume_before = volume
    return [
        [o / 100, h / 100, low / 100, c / 100, after - before, oi]
        for o, h, low, c, before, after, oi in found.values()
    ]


@pytest.mark.parametrize("token", [INFY, NIFTY, CRUDE])
def test_candles_agree_tick_for_tick_with_what_was_sent(token: int) -> None:
    watcher = Watcher()
    watcher.look(token, 7)
    for minutes, interval in ((1, "minute"), (5, "5minute")):
        made = watcher.ask(token, interval, oi=1)
        assert [row[1:] for row in made] == from_ticks(watcher.ticks[token], minutes)
    assert watcher.ask(token)[0][0] == "2026-11-23T09:15:00+0530"
    assert {len(row) for row in watcher.ask(token)} == {6}


def test_the_candle_of_the_day_is_the_one_that_the_ticks_tell() -> None:
    watcher = Watcher()
    watcher.look(INFY, 2)
    security = watcher.floor.market.seen(INFY)
    assert security is not None
    (row,) = watcher.ask(INFY, "day")
    prices = (security.open, security.high, security.low, security.price)
    assert row == ["2026-11-23T00:00:00+0530", *(p / 100 for p in prices), security.volume]


@pytest.mark.parametrize(
    ("token", "interval", "starts"),
    [
        (INFY, "60minute", ["09:15", "10:15"]),
        (INFY, "30minute", ["10:15"]),
        (CRUDE, "60minute", ["10:00"]),
        (CRUDE, "15minute", ["10:00", "10:15"]),
    ],
)
def test_candles_lie_on_the_grid_of_their_exchange(
    token: int, interval: str, starts: list[str]
) -> None:
    watcher = Watcher(OPENING.replace(hour=10, minute=13 if "60" in interval else 15))
    if token == CRUDE:
        watcher = Watcher(OPENING.replace(hour=10, minute=13))
    watcher.look(token, 4)
    assert [row[0][11:16] for row in watcher.ask(token, interval)] == starts


def test_only_candles_between_from_and_to_are_given() -> None:
    watcher = Watcher()
    watcher.look(INFY, 5)
    bounds = {"from": "2026-11-23 09:16:00", "to": "2026-11-23 09:18:00"}
    found = [row[0][11:16] for row in watcher.ask(INFY, **bounds)]
    assert found == ["09:16", "09:17", "09:18"]


def test_candles_are_kept_for_a_day_and_the_oldest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candles, "MINUTES_MAX", 3)
    watcher = Watcher()
    watcher.look(INFY, 6)
    rows = watcher.ask(INFY, oi=1)
    assert [row[1:] for row in rows] == from_ticks(watcher.ticks[INFY], 1)[-3:]


def test_in_a_closed_market_there_is_the_last_day_alone() -> None:
    floor = Floor(is_open=False)
    path = {"instrument_token": str(INFY), "interval": "minute"}
    asked = {"from": "2026-11-01", "to": "2026-11-30"}
    kept = floor.exchange.candles
    assert historical(floor.market, kept, path, asked, floor.now_ns) == {"candles": []}
    found: Any = historical(floor.market, kept, path | {"interval": "day"}, asked, floor.now_ns)
    assert len(found["candles"]) == 1


@pytest.mark.parametrize(
    ("path", "query", "sentence"),
    [
        ({"interval": "2minute"}, {}, "Invalid `interval`"),
        ({"interval": "week"}, {}, "Invalid `interval`"),
        ({"instrument_token": "INFY"}, {}, "invalid token"),
        ({"instrument_token": "1"}, {}, "invalid token"),
        ({"instrument_token": "9" * 30}, {}, "invalid token"),
        ({}, {"from": ""}, "Missing or empty field `from`"),
        ({}, {"to": "tomorrow"}, "Invalid `to`"),
        ({}, {"from": "2026-12-30"}, "Invalid `from`"),
        ({}, {"oi": "yes"}, "Invalid `oi`"),
        ({}, {"continuous": "2"}, "Invalid `continuous`"),
        *(
            ({"interval": name}, {"from": "2016-01-01"}, f"exceeds max limit: {days} days")
            for name, (_, days) in INTERVALS.items()
        ),
    ],
)
def test_what_kite_refuses_is_refused(
    path: dict[str, str], query: dict[str, str], sentence: str
) -> None:
    floor = Floor()
    path = {"instrument_token": str(INFY), "interval": "minute"} | path
    asked = {"from": "2026-11-23 09:15:00", "to": "2026-11-23 15:30:00"} | query
    with pytest.raises(InputError, match=sentence):
        historical(floor.market, floor.exchange.candles, path, asked, floor.now_ns)
