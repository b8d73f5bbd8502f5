import asyncio
import datetime as dt
from typing import Any

import pytest

from kitefeed.kite_server.answers import InputError
from kitefeed.protocol.kite.units import IST
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
        answer: Any = asyncio.run(historical(self.floor.market, kept, path, asked, self.start_ns))
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


PAST = {"from": "2026-11-09 00:00:00", "to": "2026-11-20 23:59:59"}  # ten weekdays


@pytest.mark.parametrize("token", [INFY, NIFTY, CRUDE])
def test_the_days_before_the_first_tick_are_made_of_their_minutes(token: int) -> None:
    watcher = Watcher()
    days = watcher.ask(token, "day", oi=1, **PAST)
    weekdays = (*range(9, 14), *range(16, 21))
    assert [row[0][:10] for row in days] == [f"2026-11-{day:02}" for day in weekdays]
    minutes = watcher.ask(token, **PAST)
    for day in days:
        rows = [row for row in minutes if row[0][:10] == day[0][:10]]
        assert rows[0][1] == day[1]
        assert max(row[2] for row in rows) == day[2]
        assert min(row[3] for row in rows) == day[3]
        assert rows[-1][4] == day[4]
        assert sum(row[5] for row in rows) == day[5]
        assert all(row[3] <= min(row[1], row[4]) <= max(row[1], row[4]) <= row[2] for row in rows)
        assert all(row[5] >= 0 for row in rows)
    starts = {row[0][11:16] for row in minutes}
    first_and_last = ("09:00", "23:29") if token == CRUDE else ("09:15", "15:29")
    assert (min(starts), max(starts)) == first_and_last


def test_the_last_day_before_ended_at_the_close_that_the_ticks_tell() -> None:
    watcher = Watcher()
    last = watcher.ask(INFY, "day", **PAST)[-1]
    security = watcher.floor.market.seen(INFY)
    assert security is not None
    assert last[4] == security.close / 100


def test_the_past_is_the_same_however_it_is_asked_for() -> None:
    watcher, again = Watcher(), Watcher()
    assert watcher.ask(INFY, **PAST) == again.ask(INFY, **PAST)
    week = watcher.ask(INFY, **{**PAST, "from": "2026-11-16"})
    assert watcher.ask(INFY, **PAST)[-len(week) :] == week
    watcher.look(INFY, 3)
    assert watcher.ask(INFY, **PAST) == again.ask(INFY, **PAST)


def test_the_past_of_a_contract_begins_90_days_before_its_expiry() -> None:
    watcher = Watcher()
    found = watcher.ask(CRUDE, "day", **{"from": "2025-01-01", "to": "2026-11-20"})
    assert found[0][0][:10] == "2026-08-26"  # it expires on 24 November
    years = {"from": "2021-06-01", "to": "2026-11-20"}
    assert len(watcher.ask(INFY, "day", **years)) > 1_400


def test_in_a_closed_market_the_last_day_is_the_last_candle() -> None:
    floor = Floor(is_open=False)
    path = {"instrument_token": str(INFY), "interval": "day"}
    asked = {"from": "2026-11-01", "to": "2026-11-30"}
    kept = floor.exchange.candles
    found: Any = asyncio.run(historical(floor.market, kept, path, asked, floor.now_ns))
    security = floor.market.seen(INFY)
    assert security is not None
    last_day = dt.datetime.fromtimestamp(security.exchange_s, IST)
    assert found["candles"][-1][0] == f"{last_day:%Y-%m-%d}T00:00:00+0530"
    assert found["candles"][-1][4] == security.price / 100


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
        asyncio.run(historical(floor.market, floor.exchange.candles, path, asked, floor.now_ns))
