"""`/instruments/historical`: candles over REST."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from kitefeed.kite_server.answers import InputError
from kitefeed.protocol.kite.units import IST
from kitefeed.simulator import past
from kitefeed.simulator.candles import INTERVALS, Candles, Minute, candles, today
from kitefeed.simulator.market import Market, Security

_TOKEN_DIGITS_MAX = 10


class CandleRequest(NamedTuple):
    """One request, checked. The moments are IST."""

    token: int
    interval: str
    begin: datetime
    end: datetime
    has_oi: bool


def parse(path: Mapping[str, str], query: Mapping[str, str]) -> CandleRequest:
    """InputError for what Kite refuses."""
    interval = path["interval"]
    if interval not in INTERVALS:
        raise InputError("Invalid `interval`.")
    begin, end = (_moment(query, name) for name in ("from", "to"))
    if begin > end:
        raise InputError("Invalid `from`: it is after `to`.")
    days_max = INTERVALS[interval][1]
    if end - begin > timedelta(days=days_max):
        raise InputError(f"interval exceeds max limit: {days_max} days")
    token = path["instrument_token"]
    if not (token.isascii() and token.isdigit() and len(token) <= _TOKEN_DIGITS_MAX):
        raise InputError("invalid token")
    _flag(query, "continuous")
    return CandleRequest(int(token), interval, begin, end, _flag(query, "oi"))


async def historical(
    market: Market, kept: Candles, path: Mapping[str, str], query: Mapping[str, str], now_ns: int
) -> dict[str, object]:
    """The answer to one request. InputError for what Kite refuses."""
    asked = parse(path, query)
    security = market.read(asked.token, now_ns)
    if security is None:
        if asked.token in market.by_token:  # of a recorded day that is not played yet
            return {"candles": []}
        raise InputError("invalid token")
    sent = _sent(kept, security, asked.interval)
    # Years of days and weeks of minutes take a while, and are made of nothing that changes.
    gone = await asyncio.to_thread(_gone, security, market.seed, asked)
    found = (each for each in (*gone, *sent) if asked.begin <= each.start <= asked.end)
    return {"candles": [_row(each, security.listing.divisor, asked.has_oi) for each in found]}


def _sent(kept: Candles, security: Security, interval: str) -> list[Minute]:
    """Those of the ticks."""
    made = candles(security.listing, kept.minutes(security.listing.token), interval)
    if interval != "day":
        return made
    now = today(security, datetime.fromtimestamp(security.exchange_s, IST).date())
    return [*(each for each in made if each.start < now.start), now]


def _gone(security: Security, seed: int, asked: CandleRequest) -> list[Minute]:
    """Those of the days before."""
    first, last = asked.begin.date(), asked.end.date()
    if asked.interval == "day":
        return past.days(security, seed, first)
    minutes = past.minutes(security, seed, first, last)
    return candles(security.listing, minutes, asked.interval)


def _moment(query: Mapping[str, str], name: str) -> datetime:
    """`yyyy-mm-dd hh:mm:ss`, or a day alone, IST."""
    text = query.get(name, "")
    if not text:
        raise InputError(f"Missing or empty field `{name}`")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"Invalid `{name}`. It should be yyyy-mm-dd hh:mm:ss.") from None
    return found.astimezone(IST) if found.tzinfo is not None else found.replace(tzinfo=IST)


def _flag(query: Mapping[str, str], name: str) -> bool:
    value = query.get(name, "0")
    if value not in ("0", "1"):
        raise InputError(f"Invalid `{name}`. It should be 0 or 1.")
    return value == "1"


def _row(candle: Minute, divisor: int, has_oi: bool) -> list[object]:
    prices = (candle.open, candle.high, candle.low, candle.close)
    row: list[object] = [candle.start.strftime("%Y-%m-%dT%H:%M:%S%z")]
    row += [price / divisor for price in prices]
    return [*row, candle.volume, candle.oi] if has_oi else [*row, candle.volume]
