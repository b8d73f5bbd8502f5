"""What every instrument did in each minute, kept as it happens, and candles made of it. Pure.

A candle is made of the ticks that were sent: its prices are the last prices of those whose exchange
time lies in it, its volume is what the day's volume grew by.
"""

from array import array
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from typing import NamedTuple

from kitefeed.protocol.kite.candles import first_minute, span_of
from kitefeed.protocol.kite.rest import IST
from kitefeed.protocol.kite.ticks import is_index
from kitefeed.simulator.listings import Listing
from kitefeed.simulator.market import Security

NS_PER_MINUTE = 60_000_000_000
MINUTES_MAX = 1_500  # kept per instrument: a day and an hour, 42 KB
# Minutes in a candle, and the most days in one request (kite.trade forum, comment 53245).
INTERVALS = {
    "minute": (1, 60), "3minute": (3, 100), "5minute": (5, 100), "10minute": (10, 100),
    "15minute": (15, 200), "30minute": (30, 200), "60minute": (60, 400), "day": (1440, 2000),
}  # fmt: skip
# A row: the minute of the epoch, prices, the volume of the day so far, the open interest.
_MINUTE, _OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _OI = range(7)
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
    """The minute under way is a list, which costs a tick little; those before are 28 bytes each."""

    def __init__(self) -> None:
        self._current: dict[int, list[int]] = {}  # by token: one row
        self._before: dict[int, array[int]] = {}  # by token: rows of minutes gone by
        self._volume_before: dict[int, int] = {}  # of the day, at the start of the first row

    def note(self, security: Security, now_ns: int) -> None:
        """A tick of this instrument: one value of the market."""
        token, price = security.listing.token, security.price
        minute = now_ns // NS_PER_MINUTE
        row = self._current.get(token)
        if row is None:
            self._volume_before[token] = security.volume
        elif row[_MINUTE] == minute:
            if price > row[_HIGH]:
                row[_HIGH] = price
            elif price < row[_LOW]:
                row[_LOW] = price
            row[_CLOSE], row[_VOLUME], row[_OI] = price, security.volume, security.oi
            return
        else:
            self._keep(token, row)
        self._current[token] = [minute, price, price, price, price, security.volume, security.oi]

    def _keep(self, token: int, row: list[int]) -> None:
        rows = self._before.setdefault(token, array("I"))
        rows.extend(row)
        if len(rows) >= MINUTES_MAX * _WIDTH:  # with the one under way they are as many
            self._volume_before[token] = rows[_VOLUME]
            del rows[:_WIDTH]

    def minutes(self, token: int) -> Iterator[Minute]:
        """Oldest first; a minute without a tick is absent."""
        rows = [*self._before.get(token, ()), *self._current.get(token, ())]
        volume = self._volume_before.get(token, 0)
        for at in range(0, len(rows), _WIDTH):
            minute, open_, high, low, close, volume_after, oi = rows[at : at + _WIDTH]
            start = datetime.fromtimestamp(minute * 60, IST)
            yield Minute(start, open_, high, low, close, volume_after - volume, oi)
            volume = volume_after


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
