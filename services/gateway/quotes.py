"""One value as the gateway's JSON and CSV give it. Pure."""

import csv
import io
from collections.abc import Iterable

import msgspec

from kitefeed.client.tick import Level, Tick

SYMBOLS_MAX = 500  # of one request or stream: its list is gone through at each turn


class Quote(msgspec.Struct, frozen=True):
    """Prices in rupees, quantities in units, `change` in percent against yesterday's close; null
    where the mode does not carry a field, or none is known.

    fresh: whether this is the current price, as of the moment of sending. age_s: since the daemon
    received it. source: websocket, rest, or cache (its source feeds no longer). decimals: how many
    a price has. exchange_time, received_at: ISO 8601 in India's time.
    """

    instrument: str
    token: int
    last_price: float
    fresh: bool
    source: str
    age_s: float
    change: float | None
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: int | None
    average_price: float | None
    oi: int | None
    bid_price: float | None
    bid_quantity: int | None
    ask_price: float | None
    ask_quantity: int | None
    mode: str
    decimals: int
    exchange_time: str | None
    received_at: str


def quote_of(tick: Tick) -> Quote:
    depth = tick.depth
    bid = depth.buy[0] if depth else None
    ask = depth.sell[0] if depth else None
    exchange_time = tick.exchange_timestamp
    change = tick.change
    return Quote(
        instrument=tick.instrument,
        token=tick.instrument_token,
        last_price=tick.last_price,
        fresh=tick.is_fresh,
        source=tick.source,
        age_s=round(tick.age_s, 3),
        change=None if change is None else round(change, 4),
        open=tick.open,
        high=tick.high,
        low=tick.low,
        close=tick.close,
        volume=tick.volume_traded,
        average_price=tick.average_traded_price,
        oi=tick.oi,
        bid_price=_price(bid),
        bid_quantity=bid.quantity if bid else None,
        ask_price=_price(ask),
        ask_quantity=ask.quantity if ask else None,
        mode=tick.mode,
        decimals=2 if tick.raw.divisor <= 100 else 4,
        exchange_time=exchange_time.isoformat() if exchange_time else None,
        received_at=tick.received_at.isoformat(),
    )


def _price(level: Level | None) -> float | None:
    """Return the level's price; None for an empty level, whose price is zero."""
    return level.price if level and level.orders else None


def to_csv(quotes: Iterable[Quote]) -> str:
    """Write the quotes with a head line, as RFC 4180 wants it, which Excel reads."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(Quote.__struct_fields__)
    for quote in quotes:
        writer.writerow(msgspec.structs.astuple(quote))
    return text.getvalue()
