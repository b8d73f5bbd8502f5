"""Kite's REST answers: envelopes, what a failure means, and quotes in both directions.

Sources: kite.trade/docs/connect/v3/response-structure, /exceptions and /market-quotes, and
`_request` of the official Python client (kiteconnect 5.2.2). The official client decodes
envelopes; here they are only written, for the simulator.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, ParamSpec, TypeVar

import msgspec

from kitefeed.protocol.kite.ticks import (
    DEPTH_BYTES,
    DEPTH_LEVELS,
    DepthLevel,
    TickBody,
    divisor_of,
    is_index,
    pack_depth,
    unpack_depth,
)
from kitefeed.protocol.kite.units import IST

QUOTE_COUNT_MAX = 500  # documented for /quote; /quote/ohlc and /quote/ltp take 1000
# The documented counts are not the real limit: the server answers 400 and 414 to request lines
# near 16 KB. Half of that leaves room for the rest of the line and for proxies.
QUOTE_QUERY_BYTES_MAX = 8000

HTTP_TOO_MANY_REQUESTS = 429

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PRICE_MAX = 0x7FFF_FFFF  # a scaled price has to fit the socket's signed 32 bits
QUANTITY_MAX = 10**12  # a day's volume may pass the socket's 32 bits; beyond this it is damage
TIME_MAX = 0xFFFF_FFFF
LEVEL_QUANTITY_MAX = 0xFFFF_FFFF
LEVEL_ORDERS_MAX = 0xFFFF
EMPTY_LEVEL = DepthLevel(0, 0, 0)

P = ParamSpec("P")
T = TypeVar("T")


class RestFault(StrEnum):
    """The kind of a failed call, by its remedy. Only `token` is a verdict about the session."""

    TOKEN = "token"  # the session is dead: log in
    PERMISSION = "permission"  # the plan does not include this call: stop asking
    RATE = "rate"  # slow down
    INPUT = "input"  # this request will never work: drop it
    NETWORK = "network"  # nothing was learnt: retry later, keep the token


def success_envelope(data: object) -> bytes:
    """Return the JSON body of a successful answer."""
    return msgspec.json.encode({"status": "success", "data": data})


def error_envelope(message: str, error_type: str) -> bytes:
    """Return the JSON body of a failed answer; `error_type` is such as `TokenException`."""
    return msgspec.json.encode(
        {"status": "error", "message": message, "data": None, "error_type": error_type}
    )


def is_kites(error: BaseException) -> bool:
    """Whether an exception of the official client tells what Kite said. A `DataException` does not:
    the client makes it for answers that cannot be read."""
    names = _names(error)
    return "KiteException" in names and "DataException" not in names


def classify(error: BaseException, status: int | None = None) -> RestFault:
    """Say what an exception of the official client means, by its class names and `.code`. `status`:
    of the answer, where there was one.

    The client and `requests` are not imported for it. The default is `network`, which no caller
    acts upon beyond retrying: timeouts and refused connections arrive as exceptions of
    `requests`, HTML error pages of a proxy as `DataException` with an invented 502 (and a 403 page
    is no verdict of Kite's), malformed envelopes as KeyError, TypeError or AttributeError. Only
    429 means the same from whomever it comes.
    """
    names, code = _names(error), getattr(error, "code", None)
    if status == HTTP_TOO_MANY_REQUESTS:
        return RestFault.RATE
    if "KiteException" not in names or not isinstance(code, int):
        return RestFault.NETWORK
    if code == HTTP_TOO_MANY_REQUESTS:
        return RestFault.RATE
    if code >= 500 or names & {"DataException", "NetworkException"}:
        return RestFault.NETWORK
    if "TokenException" in names:
        return RestFault.TOKEN if code in (400, 403) else RestFault.NETWORK
    if "PermissionException" in names:
        return RestFault.PERMISSION
    return RestFault.INPUT if code >= 400 else RestFault.NETWORK


def _names(error: BaseException) -> set[str]:
    return {ancestor.__name__ for ancestor in type(error).__mro__}


def split_by_url(
    tokens: Sequence[int],
    count_max: int = QUOTE_COUNT_MAX,
    query_bytes_max: int = QUOTE_QUERY_BYTES_MAX,
) -> list[list[int]]:
    """Return batches of tokens, in order, each within both limits as a query `i=..&i=..`.

    ValueError when the limits leave no room for even one token.
    """
    batches: list[list[int]] = []
    query_bytes = 0
    for token in tokens:
        item_bytes = len(f"&i={token}")
        if count_max < 1 or item_bytes - 1 > query_bytes_max:
            raise ValueError(f"no room for a token in {count_max} items, {query_bytes_max} bytes")
        is_full = not batches or len(batches[-1]) >= count_max
        if is_full or query_bytes + item_bytes > query_bytes_max:
            batches.append([])
            query_bytes = -1  # the first item has no "&"
        batches[-1].append(token)
        query_bytes += item_bytes
    return batches


# --- quote items ---------------------------------------------------------------------------------
# REST names several fields otherwise than the socket (`volume`, `last_quantity`), gives prices as
# decimal rupees and times as IST strings.


def tick_from_quote(
    token: int, mode: int, item: Mapping[str, object], left_out: list[str] | None = None
) -> TickBody:
    """Return the tick body of one quote item; `mode` is the one that was asked for.

    Every field but `last_price` may be absent or null (an index has few of them); those that are
    there are filled whatever the mode. A string time and a naive datetime, which the official
    client makes of one, are IST. A field of another type, not finite or out of range is left out,
    and named in `left_out`: it costs itself, and not the price. ValueError for such a `last_price`,
    or for an item of another instrument.
    """
    if item.get("instrument_token", token) not in (token, str(token), None):
        raise ValueError(f"instrument_token is not {token}")
    divisor = divisor_of(token)
    last_price = _price(item, "last_price", divisor)
    if last_price is None:
        raise ValueError("last_price is missing")
    spare = _Spare([] if left_out is None else left_out)
    ohlc = spare(_mapping, item, "ohlc") or {}
    return TickBody(
        token,
        mode,
        divisor,
        last_price,
        last_traded_quantity=spare(_quantity, item, "last_quantity"),
        average_traded_price=spare(_price, item, "average_price", divisor),
        volume_traded=spare(_quantity, item, "volume"),
        total_buy_quantity=spare(_quantity, item, "buy_quantity"),
        total_sell_quantity=spare(_quantity, item, "sell_quantity"),
        open=spare(_price, ohlc, "open", divisor),
        high=spare(_price, ohlc, "high", divisor),
        low=spare(_price, ohlc, "low", divisor),
        close=spare(_price, ohlc, "close", divisor),
        last_trade_time=spare(_time_utc_s, item, "last_trade_time"),
        oi=spare(_quantity, item, "oi"),
        oi_day_high=spare(_quantity, item, "oi_day_high"),
        oi_day_low=spare(_quantity, item, "oi_day_low"),
        exchange_timestamp=spare(_time_utc_s, item, "timestamp"),
        depth=_depth(item, divisor, spare),
    )


class _Spare(NamedTuple):
    """Reads a field; one that cannot be read becomes None, and is named in `left_out`."""

    left_out: list[str]

    def __call__(self, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | None:
        try:
            return read(*arguments, **named)
        except ValueError as error:
            self.left_out.append(str(error))
            return None


def _mapping(item: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = item.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is not an object")
    return value


def _scaled(item: Mapping[str, object], name: str, factor: int, low: int, high: int) -> int | None:
    value = item.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is not a number")
    scaled = value * factor
    # Compared before rounding: a NaN fails it, and an infinity could not be rounded.
    if not low - 0.5 < scaled < high + 0.5:
        raise ValueError(f"{name} is out of range")
    return round(scaled)


def _price(item: Mapping[str, object], name: str, divisor: int) -> int | None:
    return _scaled(item, name, divisor, -PRICE_MAX, PRICE_MAX)


def _quantity(item: Mapping[str, object], name: str, high: int = QUANTITY_MAX) -> int | None:
    return _scaled(item, name, 1, 0, high)


def _time_utc_s(item: Mapping[str, object], name: str) -> int | None:
    """Return UTC epoch seconds; None for null, "" and any time not after 1970, which stands for
    none."""
    value = item.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{name} is not a time") from None
    if not isinstance(value, datetime):
        raise ValueError(f"{name} is not a time")
    aware = value if value.tzinfo is not None else value.replace(tzinfo=IST)
    seconds = (aware - _EPOCH) // timedelta(seconds=1)
    if seconds > TIME_MAX:
        raise ValueError(f"{name} is out of range")
    return seconds if seconds > 0 else None


def _depth(item: Mapping[str, object], divisor: int, spare: _Spare) -> bytes | None:
    if item.get("depth") is None:
        return None
    depth = spare(_mapping, item, "depth")
    if depth is None:
        return None
    return pack_depth(_side(depth, "buy", divisor, spare), _side(depth, "sell", divisor, spare))


def _side(depth: Mapping[str, object], name: str, divisor: int, spare: _Spare) -> list[DepthLevel]:
    """Read one side of the depth. A level that cannot be read is an empty one: the others stay
    where they are."""
    levels = depth.get(name) or []
    if not isinstance(levels, list) or len(levels) > DEPTH_LEVELS:
        spare.left_out.append(f"depth.{name} is not a list of at most {DEPTH_LEVELS} levels")
        levels = levels[:DEPTH_LEVELS] if isinstance(levels, list) else []
    odd: list[str] = []
    found = [_level(level, divisor, _Spare(odd)) for level in levels]
    spare.left_out.extend(f"depth.{name}: {each}" for each in odd)
    return found


def _level(level: object, divisor: int, spare: _Spare) -> DepthLevel:
    if not isinstance(level, Mapping):
        spare.left_out.append("a level is not an object")
        return EMPTY_LEVEL
    known = len(spare.left_out)
    quantity = spare(_quantity, level, "quantity", LEVEL_QUANTITY_MAX)
    price = spare(_price, level, "price", divisor)
    if len(spare.left_out) > known:  # neither means anything without the other
        return EMPTY_LEVEL
    orders = spare(_quantity, level, "orders", LEVEL_ORDERS_MAX)
    return DepthLevel(quantity or 0, price or 0, orders or 0)


# --- the other direction: what the simulator answers ---------------------------------------------


def ltp_item(body: TickBody) -> dict[str, object]:
    """Return the item of `/quote/ltp`."""
    return {
        "instrument_token": body.instrument_token,
        "last_price": body.last_price / body.divisor,
    }


def ohlc_item(body: TickBody) -> dict[str, object]:
    """Return the item of `/quote/ohlc`."""
    ohlc = {
        "open": _rupees(body.open, body.divisor),
        "high": _rupees(body.high, body.divisor),
        "low": _rupees(body.low, body.divisor),
        "close": _rupees(body.close, body.divisor),
    }
    return {**ltp_item(body), "ohlc": ohlc}


def quote_item(
    body: TickBody, lower_circuit_limit: int = 0, upper_circuit_limit: int = 0
) -> dict[str, object]:
    """Return the item of `/quote`, absent numbers as 0 and absent times as null; limits are scaled.

    An index gets the smaller item that Kite sends for one.
    """
    close = body.close or 0
    item = {
        **ohlc_item(body),
        "timestamp": _ist_text(body.exchange_timestamp),
        "net_change": _rupees(body.last_price - close if close else 0, body.divisor),
    }
    if is_index(body.instrument_token):
        return item
    return {
        **item,
        "last_trade_time": _ist_text(body.last_trade_time),
        "last_quantity": body.last_traded_quantity or 0,
        "average_price": _rupees(body.average_traded_price, body.divisor),
        "volume": body.volume_traded or 0,
        "buy_quantity": body.total_buy_quantity or 0,
        "sell_quantity": body.total_sell_quantity or 0,
        "oi": body.oi or 0,
        "oi_day_high": body.oi_day_high or 0,
        "oi_day_low": body.oi_day_low or 0,
        "lower_circuit_limit": _rupees(lower_circuit_limit, body.divisor),
        "upper_circuit_limit": _rupees(upper_circuit_limit, body.divisor),
        "depth": _depth_item(body),
    }


def _rupees(scaled: int | None, divisor: int) -> float:
    return (scaled or 0) / divisor


def _ist_text(utc_s: int | None) -> str | None:
    if not utc_s:
        return None
    return datetime.fromtimestamp(utc_s, IST).strftime("%Y-%m-%d %H:%M:%S")


def _depth_item(body: TickBody) -> dict[str, object]:
    buy, sell = unpack_depth(body.depth or bytes(DEPTH_BYTES))

    def item(level: DepthLevel) -> dict[str, object]:
        price = level.price / body.divisor
        return {"price": price, "quantity": level.quantity, "orders": level.orders}

    return {"buy": [item(level) for level in buy], "sell": [item(level) for level in sell]}
