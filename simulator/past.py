"""The days before an instrument was first looked at: made up of the seed, so that a strategy has
something to warm up with. Pure.

The last of these days ends at the previous close that the ticks tell. A day's minutes make up the
day. Every weekday is a trading day; a contract begins 90 days before it expires.
"""

import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import accumulate, pairwise

from kitefeed.protocol.kite.candles import first_minute
from kitefeed.protocol.kite.ticks import is_index
from kitefeed.protocol.kite.units import IST
from kitefeed.simulator.candles import Minute
from kitefeed.simulator.market import Security

DAYS_MAX = 2_500  # back from the first day; Kite gives 2,000 in one request
CONTRACT_DAYS = 90
_SATURDAY = 5
_DAY_VOLATILITY = 0.012
_OPENING_VOLATILITY = 0.003
_RANGE = 0.006  # how far beyond open and close a day goes, at most
# The minute of the day that is no more traded in, IST.
_LAST_MINUTE = {"NSE": 930, "BSE": 930, "NFO": 930, "BFO": 930, "MCX": 1410, "NCO": 1410}
_OTHER_LAST_MINUTE = 1020


def days(security: Security, seed: int, begin: date) -> list[Minute]:
    """One candle for each day from `begin` until the first day of the ticks, oldest first."""
    rng = random.Random(f"past:{seed}:{security.listing.token}")
    found: list[Minute] = []
    close, day = security.close, _first_day(security)
    earliest = max(begin, _beginning(security))
    while (day := day - timedelta(days=1)) >= earliest:
        if day.weekday() < _SATURDAY:
            candle, close = _day(security, rng, day, close)
            found.append(candle)
    return found[::-1]


def minutes(security: Security, seed: int, begin: date, end: date) -> Iterator[Minute]:
    """The minutes of those days from `begin` to `end`, oldest first."""
    for day in days(security, seed, begin):
        if day.start.date() <= end:
            yield from _minutes(security, seed, day)


def _first_day(security: Security) -> date:
    return datetime.fromtimestamp(security.first_exchange_s, IST).date()


def _beginning(security: Security) -> date:
    expiry = security.listing.expiry
    if expiry is not None:
        return expiry - timedelta(days=CONTRACT_DAYS)
    return _first_day(security) - timedelta(days=DAYS_MAX)


def _day(security: Security, rng: random.Random, day: date, close: int) -> tuple[Minute, int]:
    """The day that ended at `close`, and the close before it."""
    before = security.on_tick(close / (1 + rng.gauss(0, _DAY_VOLATILITY)))
    opened = security.on_tick(before * (1 + rng.gauss(0, _OPENING_VOLATILITY)))
    high = max(opened, close, security.on_tick(max(opened, close) * (1 + rng.uniform(0, _RANGE))))
    low = min(opened, close, security.on_tick(min(opened, close) * (1 - rng.uniform(0, _RANGE))))
    traded = rng.randrange(10_000, 2_000_000) * security.lot // 10 + security.lot
    volume = 0 if is_index(security.listing.token) else traded
    oi = rng.randrange(1_000, 60_000) * security.lot if security.listing.expiry else 0
    start = datetime.combine(day, time(), IST)
    return Minute(start, opened, high, low, close, volume, oi), before


def _minutes(security: Security, seed: int, day: Minute) -> Iterator[Minute]:
    rng = random.Random(f"past:{seed}:{security.listing.token}:{day.start:%Y%m%d}")
    first = first_minute(security.listing.exchange)
    count = _LAST_MINUTE.get(security.listing.exchange, _OTHER_LAST_MINUTE) - first
    path = _path(security, rng, day, count)
    spread = list(accumulate(rng.random() for _ in range(count)))
    volumes = [0, *(round(day.volume * part / spread[-1]) for part in spread)]
    top, bottom = path.index(max(path)), path.index(min(path))
    for n, ((opened, closed), (before, after)) in enumerate(
        zip(pairwise(path), pairwise(volumes), strict=True)
    ):
        # The day's extremes are met in the minutes that come nearest to them.
        high = day.high if n == max(0, top - 1) else max(opened, closed)
        low = day.low if n == max(0, bottom - 1) else min(opened, closed)
        start = day.start + timedelta(minutes=first + n)
        yield Minute(start, opened, high, low, closed, after - before, day.oi)


def _path(security: Security, rng: random.Random, day: Minute, count: int) -> list[int]:
    """One price more than minutes: from the day's open to its close, within its range."""
    walk = [0.0, *accumulate(rng.gauss(0, 1) for _ in range(count))]
    scale = (day.high - day.low) / (3 * count**0.5)
    line = (day.close - day.open) / count
    free = [
        day.open + line * n + scale * (step - walk[-1] * n / count) for n, step in enumerate(walk)
    ]
    return [min(day.high, max(day.low, security.on_tick(price))) for price in free]
