"""A tick as the dictionary that Kite's official Python client gives to `on_ticks`. Pure."""

from datetime import datetime
from typing import Any

from kitefeed.client.tick import Tick
from kitefeed.protocol.feed import Source
from kitefeed.protocol.kite.ticks import (
    DEPTH_LEVELS,
    FULL,
    LTP,
    MODE_NAMES,
    is_index,
    iter_depth,
)

_REST = int(Source.REST)  # as an enum it costs as much as a price


def to_dict(tick: Tick, *, kite: bool = False) -> dict[str, Any]:
    """`tick.to_dict()`; with `kite` the dictionary of Kite's official client instead."""
    return kite_dict(tick) if kite else tick.to_dict()


def kite_dict(tick: Tick, mode: int = FULL) -> dict[str, Any]:
    """`mode`: the program's own, where others may have asked for a higher one: what that one has
    more is left out.

    The same keys and values, field for field, as version 5.2.2 makes of the same packet: prices
    in rupees, times local and naive, as that client has them. Two things differ: a price below zero
    is negative, where that client reads 42,949,672.96 minus it; and what Kite's REST API does not
    tell (`tick.origin` is rest) is None.
    """
    raw = tick.raw
    mode = min(mode, raw.mode)
    divisor, is_tradable = raw.divisor, not is_index(raw.instrument_token)
    last_price = raw.last_price / divisor
    made: dict[str, Any] = {
        "tradable": is_tradable,
        "mode": MODE_NAMES[mode],
        "instrument_token": raw.instrument_token,
        "last_price": last_price,
    }
    if mode == LTP:
        return made
    is_polled = tick.arrival.source_code == _REST
    # By the packet, as that client does, and not by the token.
    if raw.last_traded_quantity is not None or (is_tradable and is_polled):
        average = raw.average_traded_price
        made["last_traded_quantity"] = raw.last_traded_quantity
        made["average_traded_price"] = None if average is None else average / divisor
        made["volume_traded"] = raw.volume_traded
        made["total_buy_quantity"] = raw.total_buy_quantity
        made["total_sell_quantity"] = raw.total_sell_quantity
    made["ohlc"] = {
        "open": None if raw.open is None else raw.open / divisor,
        "high": None if raw.high is None else raw.high / divisor,
        "low": None if raw.low is None else raw.low / divisor,
        "close": None if raw.close is None else raw.close / divisor,
    }
    close = raw.close / divisor if raw.close else 0
    made["change"] = (last_price - close) * 100 / close if close else 0
    if mode == FULL:
        if raw.depth is not None:
            levels = [
                {"quantity": quantity, "price": price / divisor, "orders": orders}
                for quantity, price, orders in iter_depth(raw.depth)
            ]
            made["last_trade_time"] = _local(raw.last_trade_time, is_polled)
            made["oi"] = raw.oi
            made["oi_day_high"] = raw.oi_day_high
            made["oi_day_low"] = raw.oi_day_low
            made["depth"] = {"buy": levels[:DEPTH_LEVELS], "sell": levels[DEPTH_LEVELS:]}
        made["exchange_timestamp"] = _local(raw.exchange_timestamp, is_polled)
    return made


def _local(utc_s: int | None, is_polled: bool) -> datetime | None:
    """A packet's time of zero, which is None in a body, is 1970 there."""
    return None if utc_s is None and is_polled else datetime.fromtimestamp(utc_s or 0)
