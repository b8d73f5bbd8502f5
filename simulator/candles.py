"""Keeps what every instrument did in each minute, as it happens, and makes candles of it. Pure.

A candle is made of the ticks that were sent. Its prices are the last prices of those whose exchange
time lies in it; its volume is what the day's volume grew by. Ticks of a recorded day may come in
another order than their exchange times.
"""

from array import array
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from typing import NamedTuple

from kitefeed.protocol.kite.candles import first_minute, span_of
from kitefeed.protocol.kite.ticks import is_index
from kitefeed.protocol.kite.units import IST
from kitefeed.simulator.listings import Listing
from kitefeed.simulator.market import Security

LATE_S_MAX = 2  # after the end of its minute; a first value that is older is of no candle
MINUTES_MAX = 1_500  # kept per instrument: a day and an hour, 42 KB
# Minutes in a candle, and the most days in one request (kite.trade forum, comment 53245).
INTERVALS = {
    "minute": (1, 60), "3minute": (3, 100), "5minute": (5, 100), "10minute": (10, 100),
    "15minute": (15, 200), "30minute": (30, 200), "60minute": (60, 400), "day": (1440, 2000),
}  # fmt: skip
# A row: the minute of the epoch, prices, the volume of the day so far, the open interest; and, as
# long as ticks of it may come, the exchange's second of the last price.
_MINUTE, _OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _OI, _AT_S = range(8)
_WIDTH = 7


class Minute(NamedTuple):
    """One minute of one instrument. Prices scaled; `volume` of this minute alone."""

    start: datetime  # IST
    open: int
    high: int
    low: int
    close: int
    volume: int
    oi: int


class Candles:
    """The minute under way and the one before are lists, which cost a tick little; those before are
    28 bytes each."""

    def __init__(self) -> None:
        self._current: dict[int, list[int]] = {}  # by token: one row
        self._last: dict[int, list[int]] = {}  # the one before it
        self._before: dict[int, array[int]] = {}  # by token: rows of minutes gone by
        self._volume_before: dict[int, int] = {}  # of the day, at the start of the first row

    def note(self, security: Security) -> None:
        """A tick of this instrument: one value of the market."""
        token, minute = security.listing.token, security.exchange_s // 60
        row = self._current.get(token)
        if row is not None and row[_MINUTE] == minute:
            _add(row, security)
        elif row is None:
            self._volume_before.setdefault(token, security.volume)
            if (minute + 1) * 60 + LATE_S_MAX > security.first_exchange_s:
                self._current[token] = _row(security, 0)
        elif row[_MINUTE] < minute:
            if (last := self._last.get(token)) is not None:
                self._keep(token, last)
            self._last[token] = row
            self._current[token] = _row(security, row[_VOLUME])
        else:
            row[_VOLUME] = max(row[_VOLUME], security.volume)
            last = self._last.get(token)
            if last is not None and last[_MINUTE] == minute:
                _add(last, security)

    def _keep(self, token: int, row: list[int]) -> None:
        rows = self._before.setdefault(token, array("I"))
        rows.extend(row[:_WIDTH])
        if len(rows) > (MINUTES_MAX - 2) * _WIDTH:  # with the two that are lists they are as many
            self._volume_before[token] = rows[_VOLUME]
            del rows[:_WIDTH]

    def minutes(self, token: int) -> Iterator[Minute]:
        """Oldest first; a minute without a tick is absent."""
        rows = [*self._before.get(token, ())]
        for growing in (self._last, self._current):
            rows += growing.get(token, [])[:_WIDTH]
        volume = self._volume_before.get(token, 0)
        for at in range(0, len(rows), _WIDTH):
            minute, open_, high, low, close, volume_after, oi = rows[at : at + _WIDTH]
            start = datetime.fromtimestamp(minute * 60, IST)
            yield Minute(start, open_, high, low, close, volume_after - volume, oi)
            volume = volume_after


def _row(security: Security, volume: int) -> list[int]:
    price, at_s = security.price, security.exchange_s
    volume = max(volume, security.volume)
    return [at_s // 60, price, price, price, price, volume, security.oi, at_s]


def _add(row: list[int], security: Security) -> None:
    price = security.price
    if price > row[_HIGH]:
        row[_HIGH] = price
    elif price < row[_LOW]:
        row[_LOW] = price
    if security.exchange_s >= row[_AT_S]:
        row[_AT_S], row[_CLOSE], row[_OI] = security.exchange_s, price, security.oi
    if security.volume > row[_VOLUME]:
        row[_VOLUME] = security.volume


def candles(listing: Listing, found: Iterable[Minute], interval: str) -> list[Minute]:
    """Minutes joined to candles of this interval, on the grid of the exchange's first minute."""
    length = INTERVALS[interval][0]
    joined: list[Minute] = []
    for minute in found:
        start = _start(listing, minute.start, length)
        if joined and joined[-1].start == start:
            joined[-1] = _join(joined[-1], minute)
        else:
            joined.append(Minute(start, *minute[1:]))
    return joined


def _start(listing: Listing, at: datetime, length: int) -> datetime:
    first = first_minute(listing.exchange)
    start, _ = span_of(int(at.timestamp()), length * 60, first)
    return datetime.fromtimestamp(start, IST)


def _join(candle: Minute, later: Minute) -> Minute:
    return Minute(
        candle.start,
        candle.open,
        max(candle.high, later.high),
        min(candle.low, later.low),
        later.close,
        candle.volume + later.volume,
        later.oi,
    )


def today(security: Security, day: date) -> Minute:
    """The candle of the day, as the ticks tell it themselves."""
    s, midnight = security, datetime.combine(day, time(), IST)
    volume = 0 if is_index(s.listing.token) else s.volume
    return Minute(midnight, s.open, s.high, s.low, s.price, volume, s.oi)
