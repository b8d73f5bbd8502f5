"""What every instrument did in each minute, kept as it happens, and candles made of it. Pure.

A candle is made of the ticks that were sent: its prices are the last prices of those whose exchange
time lies in it, its volume is what the day's volume grew by.
"""

from array import array
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from kitefeed.protocol.kite.rest import IST
from kitefeed.simulator.listings import Listing
from kitefeed.simulator.market import Security

NS_PER_MINUTE = 60_000_000_000
MINUTES_MAX = 1_500  # kept per instrument: a day and an hour, 42 KB
# Minutes in a candle, and the most days in one request (kite.trade forum, comment 53245).
INTERVALS = {
    "minute": (1, 60), "3minute": (3, 100), "5minute": (5, 100), "10minute": (10, 100),
    "15minute": (15, 200), "30minute": (30, 200), "60minute": (60, 400), "day": (1440, 2000),
}  # fmt: skip
_WIDTH = 7  # minute of the epoch, open, high, low, close, volume so far, open interest
_FIRST_MINUTE = {"NSE": 555, "BSE": 555, "NFO": 555, "BFO": 555}  # 09:15 IST; others from 09:00
_OTHER_FIRST_MINUTE = 540


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
    def __init__(self) -> None:
        self._rows: dict[int, array[int]] = {}
        self._volume_before: dict[int, int] = {}  # the first row

    def note(self, security: Security, now_ns: int) -> None:
        """A tick of this instrument: one value of the market."""
        token, price = security.listing.token, security.price
        rows = self._rows.get(token)
        if rows is None:
            rows = self._rows[token] = array("I")
            self._volume_before[token] = security.volume
        minute = now_ns // NS_PER_MINUTE
        if not rows or rows[-_WIDTH] != minute:
            rows.extend((minute, price, price, price, price, security.volume, security.oi))
            if len(rows) > MINUTES_MAX * _WIDTH:
                self._volume_before[token] = rows[5]
                del rows[:_WIDTH]
            return
        rows[-5] = max(rows[-5], price)
        rows[-4] = min(rows[-4], price)
        rows[-3:] = array("I", (price, security.volume, security.oi))

    def minutes(self, token: int) -> Iterator[Minute]:
        """Oldest first; a minute without a tick is absent."""
        rows = self._rows.get(token, ())
        volume = self._volume_before.get(token, 0)
        for at in range(0, len(rows), _WIDTH):
            minute, open_, high, low, close, volume_after, oi = rows[at : at + _WIDTH]
            start = datetime.fromtimestamp(minute * 60, IST)
            yield Minute(start, open_, high, low, close, volume_after - volume, oi)
            volume = volume_after


def candles(security: Security, found: Iterator[Minute], interval: str) -> list[Minute]:
    """Minutes joined to candles of this interval, on the grid of the exchange's first minute."""
    length = INTERVALS[interval][0]
    joined: list[Minute] = []
    for minute in found:
        start = _start(security.listing, minute.start, length)
        if joined and joined[-1].start == start:
            joined[-1] = _join(joined[-1], minute)
        else:
            joined.append(minute._replace(start=start))
    return joined


def _start(listing: Listing, at: datetime, length: int) -> datetime:
    midnight = datetime.combine(at.date(), time(), IST)
    if length == 1440:
        return midnight
    first = _FIRST_MINUTE.get(listing.exchange, _OTHER_FIRST_MINUTE) % length
    minute = at.hour * 60 + at.minute
    return midnight + timedelta(minutes=max(0, (minute - first) // length * length + first))


def _join(candle: Minute, later: Minute) -> Minute:
    return candle._replace(
        high=max(candle.high, later.high),
        low=min(candle.low, later.low),
        close=later.close,
        volume=candle.volume + later.volume,
        oi=later.oi,
    )


def today(security: Security, day: date) -> Minute:
    """The candle of the day, as the ticks tell it themselves."""
    s, midnight = security, datetime.combine(day, time(), IST)
    return Minute(midnight, s.open, s.high, s.low, s.price, s.volume, s.oi)
