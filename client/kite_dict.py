"""A tick as the dictionary that Kite's official Python client gives to `on_ticks`. Pure."""

import struct
from datetime import datetime
from functools import lru_cache
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

_REST = int(Source.REST)  # as an enum it costs as much as a price
_DEPTH = struct.Struct(">" + "IiH2x" * 2 * DEPTH_LEVELS).unpack
# Ticks of one second share it, and making one costs as much as a whole level. Naive local times
# are the official client's, so a program that changes its time zone sees them change a little late.
_local_time = lru_cache(maxsize=4096)(datetime.fromtimestamp)


def to_dict(tick: Tick, *, kite: bool = False) -> dict[str, Any]:
    """Return `tick.to_dict()`; with `kite` the dictionary of Kite's official client instead."""
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
    is_polled = tick.arrival.source_code == _REST
    if mode == FULL == raw.mode and not is_polled and raw.depth is not None:
        try:
            return _full(raw, raw.depth)
        except TypeError:  # a price is missing, which no packet of Kite's lacks
            pass
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
    # The packet decides about these fields, as in that client, and not the token.
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


def _full(raw: TickBody, depth: bytes) -> dict[str, Any]:
    """`kite_dict` of a full packet of a tradable: nearly all of a program's work, so nothing in it
    is looped over or made twice. Raises TypeError where a price is None."""
    d = raw.divisor
    (q0, p0, n0, q1, p1, n1, q2, p2, n2, q3, p3, n3, q4, p4, n4,
     q5, p5, n5, q6, p6, n6, q7, p7, n7, q8, p8, n8, q9, p9, n9) = _DEPTH(depth)  # fmt: skip
    last_price, close = raw.last_price / d, raw.close / d  # type: ignore[operator]
    return {
        "tradable": not is_index(raw.instrument_token),
        "mode": "full",
        "instrument_token": raw.instrument_token,
        "last_price": last_price,
        "last_traded_quantity": raw.last_traded_quantity,
        "average_traded_price": raw.average_traded_price / d,  # type: ignore[operator]
        "volume_traded": raw.volume_traded,
        "total_buy_quantity": raw.total_buy_quantity,
        "total_sell_quantity": raw.total_sell_quantity,
        "ohlc": {
            "open": raw.open / d,  # type: ignore[operator]
            "high": raw.high / d,  # type: ignore[operator]
            "low": raw.low / d,  # type: ignore[operator]
            "close": close,
        },
        "change": (last_price - close) * 100 / close if close else 0,
        "last_trade_time": _local_time(raw.last_trade_time or 0),
        "oi": raw.oi,
        "oi_day_high": raw.oi_day_high,
        "oi_day_low": raw.oi_day_low,
        "depth": {
            "buy": [
                {"quantity": q0, "price": p0 / d, "orders": n0},
                {"quantity": q1, "price": p1 / d, "orders": n1},
                {"quantity": q2, "price": p2 / d, "orders": n2},
                {"quantity": q3, "price": p3 / d, "orders": n3},
                {"quantity": q4, "price": p4 / d, "orders": n4},
            ],
            "sell": [
                {"quantity": q5, "price": p5 / d, "orders": n5},
                {"quantity": q6, "price": p6 / d, "orders": n6},
                {"quantity": q7, "price": p7 / d, "orders": n7},
                {"quantity": q8, "price": p8 / d, "orders": n8},
                {"quantity": q9, "price": p9 / d, "orders": n9},
            ],
        },
        "exchange_timestamp": _local_time(raw.exchange_timestamp or 0),
    }


def _local(utc_s: int | None, is_polled: bool) -> datetime | None:
    """A packet's time of zero, which is None in a body, is 1970 there."""
    return None if utc_s is None and is_polled else _local_time(utc_s or 0)
