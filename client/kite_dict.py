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
    TickBody,
    is_index,
    iter_depth,
)


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
    made: dict[str, Any] = {
        "tradable": is_tradable,
        "mode": MODE_NAMES[mode],
        "instrument_token": raw.instrument_token,
        "last_price": raw.last_price / divisor,
    }
    if mode == LTP:
        return made
    # By the packet, as that client does, and not by the token.
    is_whole = raw.last_traded_quantity is not None
    if is_whole or (is_tradable and tick.source_code == Source.REST):
        made["last_traded_quantity"] = raw.last_traded_quantity
        made["average_traded_price"] = tick.average_traded_price
        made["volume_traded"] = raw.volume_traded
        made["total_buy_quantity"] = raw.total_buy_quantity
        made["total_sell_quantity"] = raw.total_sell_quantity
    ohlc = made["ohlc"] = tick.ohlc._asdict()
    last, close = made["last_price"], ohlc["close"]
    made["change"] = (last - close) * 100 / close if close else 0
    if mode == FULL:
        if raw.depth is not None:
            made["last_trade_time"] = _local(tick, raw.last_trade_time)
            made["oi"] = raw.oi
            made["oi_day_high"] = raw.oi_day_high
            made["oi_day_low"] = raw.oi_day_low
            made["depth"] = _depth(raw, raw.depth)
        made["exchange_timestamp"] = _local(tick, raw.exchange_timestamp)
    return made


def _depth(raw: TickBody, depth: bytes) -> dict[str, list[dict[str, Any]]]:
    levels = [
        {"quantity": quantity, "price": price / raw.divisor, "orders": orders}
        for quantity, price, orders in iter_depth(depth)
    ]
    return {"buy": levels[:DEPTH_LEVELS], "sell": levels[DEPTH_LEVELS:]}


def _local(tick: Tick, utc_s: int | None) -> datetime | None:
    """A packet's time of zero, which is None in a body, is 1970 there."""
    if utc_s is None and tick.source_code == Source.REST:
        return None
    return datetime.fromtimestamp(utc_s or 0)
