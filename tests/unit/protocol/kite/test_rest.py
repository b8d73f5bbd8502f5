import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect, exceptions
from requests import exceptions as requests_exceptions

from kitefeed.protocol.kite import rest
from kitefeed.protocol.kite.rest import RestFault, classify, quote_item, tick_from_quote
from kitefeed.protocol.kite.ticks import FULL, LTP, DepthLevel, TickBody, pack_depth, unpack_depth

JSON = "application/json"


def envelope(error_type: object) -> bytes:
    return json.dumps({"status": "error", "message": "no", "error_type": error_type}).encode()


def fault_of_answer(status: int, content_type: str | None, body: bytes) -> RestFault:
    """Return what the official client makes of this HTTP answer, classified."""
    response = requests.Response()
    response.status_code = status
    response._content = body
    if content_type is not None:
        response.headers["content-type"] = content_type
    kite = KiteConnect("key", access_token="token")
    session: Any = requests.Session()
    session.request = lambda *args, **kwargs: response
    kite.reqsession = session
    with pytest.raises(Exception) as raised:
        kite.profile()
    return classify(raised.value)


@pytest.mark.parametrize(
    ("status", "error_type", "fault"),
    [
        (403, "TokenException", RestFault.TOKEN),
        (400, "TokenException", RestFault.TOKEN),
        (429, "TokenException", RestFault.RATE),
        (502, "TokenException", RestFault.NETWORK),
        (403, "PermissionException", RestFault.PERMISSION),
        (403, "PermissionError", RestFault.INPUT),
        (403, "TwoFAException", RestFault.INPUT),
        (400, "InputException", RestFault.INPUT),
        (404, "GeneralException", RestFault.INPUT),
        (405, "GeneralException", RestFault.INPUT),
        (410, "GeneralException", RestFault.INPUT),
        (400, "OrderException", RestFault.INPUT),
        (400, "MarginException", RestFault.INPUT),
        (500, "OrderException", RestFault.NETWORK),
        (500, "GeneralException", RestFault.NETWORK),
        (429, "NetworkException", RestFault.RATE),
        (429, "GeneralException", RestFault.RATE),
        (503, "NetworkException", RestFault.NETWORK),
        (502, "DataException", RestFault.NETWORK),
        (504, "HoldingException", RestFault.NETWORK),
        (403, None, RestFault.NETWORK),
    ],
)
def test_an_error_envelope_is_classified_by_type_and_status(
    status: int, error_type: str | None, fault: RestFault
) -> None:
    assert fault_of_answer(status, JSON, envelope(error_type)) is fault


@pytest.mark.parametrize("status", [200, 400, 403, 429, 502, 504])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<html>403 Forbidden</html>"),
        ("text/plain", b"TokenException"),
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"[]"),
        (JSON, b'{"status":"success"}'),
        (JSON, b'{"status":"error","error_type":"TokenException"}'),
        (JSON, b'{"status":"error","message":"no"}'),
        (None, b'{"status":"success","data":{}}'),
    ],
)
def test_an_answer_that_is_no_envelope_is_never_a_verdict(
    status: int, content_type: str | None, body: bytes
) -> None:
    assert fault_of_answer(status, content_type, body) is RestFault.NETWORK


@pytest.mark.parametrize(
    "error",
    [
        requests_exceptions.ReadTimeout(),
        requests_exceptions.ConnectTimeout(),
        requests_exceptions.ConnectionError(),
        requests_exceptions.SSLError(),
        requests_exceptions.ChunkedEncodingError(),
        requests_exceptions.TooManyRedirects(),
        ConnectionResetError(),
        TimeoutError(),
        KeyError("data"),
        TypeError(),
        AttributeError(),
        SystemExit(403),  # has a code, and is not of the client
    ],
)
def test_everything_else_is_the_network(error: BaseException) -> None:
    assert classify(error) is RestFault.NETWORK


@pytest.mark.parametrize(
    ("exception", "fault"),
    [
        (exceptions.TokenException, RestFault.TOKEN),
        (exceptions.PermissionException, RestFault.PERMISSION),
        (exceptions.InputException, RestFault.INPUT),
        (exceptions.OrderException, RestFault.NETWORK),
        (exceptions.DataException, RestFault.NETWORK),
        (exceptions.NetworkException, RestFault.NETWORK),
        (exceptions.GeneralException, RestFault.NETWORK),
        (exceptions.KiteException, RestFault.NETWORK),
    ],
)
def test_every_class_of_the_client_has_a_fault_with_its_default_code(
    exception: Callable[[str], BaseException], fault: RestFault
) -> None:
    assert classify(exception("no")) is fault


def test_a_subclass_and_a_missing_code_are_classified_too() -> None:
    class Expired(exceptions.TokenException):  # type: ignore[misc]
        pass

    assert classify(Expired("no")) is RestFault.TOKEN
    assert classify(exceptions.TokenException("no", code=None)) is RestFault.NETWORK


def test_envelopes_are_those_of_the_exchange() -> None:
    assert json.loads(rest.success_envelope({"a": 1})) == {"status": "success", "data": {"a": 1}}
    body = rest.error_envelope("Invalid `checksum`.", "TokenException")
    assert json.loads(body) == {
        "status": "error",
        "message": "Invalid `checksum`.",
        "data": None,
        "error_type": "TokenException",
    }
    assert fault_of_answer(403, JSON, body) is RestFault.TOKEN


def query(batch: list[int]) -> str:
    return "&".join(f"i={token}" for token in batch)


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1500])
def test_batches_hold_every_token_once_in_order_within_the_count(count: int) -> None:
    tokens = list(range(408065, 408065 + count))
    batches = rest.split_by_url(tokens)
    assert [token for batch in batches for token in batch] == tokens
    assert [len(batch) for batch in batches] == [
        min(500, count - at) for at in range(0, count, 500)
    ]


def test_batches_are_filled_to_the_byte_and_no_further() -> None:
    tokens = [408065, 5633, 738561, 7, 256265]
    whole = len(query(tokens[:3]))
    assert rest.split_by_url(tokens, 500, whole) == [tokens[:3], tokens[3:]]
    assert rest.split_by_url(tokens, 500, whole - 1) == [tokens[:2], tokens[2:]]


@pytest.mark.parametrize(("count_max", "query_bytes_max"), [(0, 8000), (500, 7)])
def test_limits_without_room_for_one_token_are_refused(
    count_max: int, query_bytes_max: int
) -> None:
    with pytest.raises(ValueError, match="no room"):
        rest.split_by_url([408065], count_max, query_bytes_max)


TIME_UTC_S = 1791431409  # 2026-10-08 09:20:09 IST
DEPTH = pack_depth([DepthLevel(650, 12420, 3)], [DepthLevel(325, 12435, 2)] * 5)
BODY = TickBody(
    *(11421186, FULL, 100, 12495, 65, 13010, 25_000_000, 1_200_000, 900_000),
    *(14000, 15500, 11005, 12000, TIME_UTC_S - 1, 2679040, 2_700_000, 2_500_000, TIME_UTC_S),
    depth=DEPTH,
)
INDEX = TickBody(
    *(256265, FULL, 100, 2253325),
    open=2255555,
    high=2260000,
    low=2248010,
    close=2250000,
    exchange_timestamp=TIME_UTC_S,
)


@pytest.mark.parametrize("body", [BODY, INDEX], ids=["option", "index"])
def test_a_quote_item_is_read_back_as_the_tick_it_was_made_of(body: TickBody) -> None:
    item = json.loads(json.dumps(quote_item(body)))
    assert tick_from_quote(body.instrument_token, FULL, item) == body


@pytest.mark.parametrize("body", [BODY, INDEX], ids=["option", "index"])
def test_a_quote_item_is_read_back_through_the_official_client(body: TickBody) -> None:
    kite = KiteConnect("key", access_token="token")
    item = kite._format_response(json.loads(json.dumps(quote_item(body))))
    assert isinstance(item["timestamp"], datetime)
    assert tick_from_quote(body.instrument_token, FULL, item) == body


def test_the_item_of_an_index_is_the_small_one() -> None:
    assert quote_item(INDEX) == {
        "instrument_token": 256265,
        "timestamp": "2026-10-08 09:20:09",
        "last_price": 22533.25,
        "net_change": 33.25,
        "ohlc": {"open": 22555.55, "high": 22600.0, "low": 22480.1, "close": 22500.0},
    }


def test_a_quote_item_has_limits_and_five_levels_a_side() -> None:
    item: Any = quote_item(BODY, 5, 49995)
    assert (item["lower_circuit_limit"], item["upper_circuit_limit"]) == (0.05, 499.95)
    assert item["depth"]["buy"][0] == {"price": 124.2, "quantity": 650, "orders": 3}
    assert [len(item["depth"][side]) for side in ("buy", "sell")] == [5, 5]
    assert quote_item(TickBody(408065, LTP, 100, 1))["last_trade_time"] is None


def test_ltp_and_ohlc_items_leave_the_other_fields_absent() -> None:
    assert tick_from_quote(408065, LTP, rest.ltp_item(TickBody(408065, LTP, 100, 7))) == TickBody(
        408065, LTP, 100, 7
    )
    ohlc = tick_from_quote(256265, LTP, rest.ohlc_item(INDEX))
    assert (ohlc.open, ohlc.close, ohlc.exchange_timestamp) == (2255555, 2250000, None)


def test_currency_prices_are_scaled_by_their_own_divisor_and_rounded() -> None:
    assert tick_from_quote(301059, LTP, {"last_price": 83.5025}).last_price == 835025000
    assert tick_from_quote(315910, LTP, {"last_price": 83.5025}).last_price == 835025
    assert tick_from_quote(408065, LTP, {"last_price": 1.15}).last_price == 115
    assert tick_from_quote(408065, LTP, {"last_price": -28.84}).last_price == -2884


@pytest.mark.parametrize(
    ("value", "utc_s"),
    [
        ("2026-10-08 09:20:09", TIME_UTC_S),
        ("2026-10-08T09:20:09+05:30", TIME_UTC_S),
        (datetime(2026, 10, 8, 9, 20, 9), TIME_UTC_S),
        (datetime(2026, 10, 8, 9, 20, 9, 999_999), TIME_UTC_S),
        (datetime(2026, 10, 8, 3, 50, 9, tzinfo=UTC), TIME_UTC_S),
        (None, None),
        ("", None),
        ("1970-01-01 05:30:00", None),
        ("0001-01-01 00:00:00", None),
    ],
)
def test_a_time_without_a_zone_is_indian_and_the_zero_time_is_none(
    value: object, utc_s: int | None
) -> None:
    item = {"last_price": 1, "timestamp": value, "last_trade_time": value}
    body = tick_from_quote(408065, FULL, item)
    assert (body.exchange_timestamp, body.last_trade_time) == (utc_s, utc_s)


def test_a_volume_beyond_the_wire_of_the_socket_is_kept() -> None:
    item = {"last_price": 7.5, "volume": 5_000_000_000}
    assert tick_from_quote(408065, FULL, item).volume_traded == 5_000_000_000


def test_missing_levels_and_sides_of_depth_are_empty() -> None:
    item = {"last_price": 1, "depth": {"buy": [{"price": 1.5, "quantity": 2}], "sell": None}}
    buy, sell = unpack_depth(tick_from_quote(408065, FULL, item).depth or b"")
    assert buy[:2] == [DepthLevel(2, 150, 0), DepthLevel(0, 0, 0)]
    assert sell == [DepthLevel(0, 0, 0)] * 5


NUMBERS = ["last_quantity", "average_price", "volume", "buy_quantity"]
NUMBERS += ["sell_quantity", "oi", "oi_day_high", "oi_day_low"]
INSANE = [math.nan, math.inf, -math.inf, 1e300, 10**400, -(10**400), "1", True, [], {}]
GOOD = {**rest.quote_item(BODY), "instrument_token": 408065}


@pytest.mark.parametrize("value", INSANE)
def test_a_price_that_is_no_sane_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="last_price"):
        tick_from_quote(408065, FULL, {**GOOD, "last_price": value})


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({}, "last_price is missing"),
        ({"last_price": None}, "last_price is missing"),
        ({"last_price": 1, "instrument_token": 5633}, "instrument_token"),
        ({"last_price": 1, "instrument_token": "5633"}, "instrument_token"),
    ],
)
def test_an_item_without_a_price_or_of_another_instrument_is_refused(
    item: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        tick_from_quote(408065, FULL, item)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", INSANE)
def test_any_other_number_that_is_not_sane_costs_itself_and_is_named(
    name: str, value: object
) -> None:
    left_out: list[str] = []
    read = tick_from_quote(408065, FULL, {**GOOD, name: value}, left_out)
    assert read == tick_from_quote(408065, FULL, {**GOOD, name: None})
    assert [reason.split()[0] for reason in left_out] == [name]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"volume": -1}, "volume is out of range"),
        ({"ohlc": [1, 2, 3, 4]}, "ohlc is not an object"),
        ({"ohlc": {"high": "x", "low": 1.5}}, "high is not a number"),
        ({"timestamp": "soon"}, "timestamp is not a time"),
        ({"timestamp": 1791431409}, "timestamp is not a time"),
        ({"timestamp": "9999-12-31 23:59:59"}, "timestamp is out of range"),
        ({"last_trade_time": []}, "last_trade_time is not a time"),
        ({"depth": []}, "depth is not an object"),
        ({"depth": {"buy": {"price": 1}}}, "depth.buy is not a list of at most 5 levels"),
        ({"depth": {"buy": [{}] * 6}}, "depth.buy is not a list of at most 5 levels"),
        ({"depth": {"sell": [1]}}, "depth.sell: a level is not an object"),
        ({"depth": {"sell": [{"orders": 196_608}]}}, "depth.sell: orders is out of range"),
        ({"depth": {"buy": [{"quantity": 2**32}]}}, "depth.buy: quantity is out of range"),
        ({"depth": {"buy": [{"price": math.nan}]}}, "depth.buy: price is out of range"),
    ],
)
def test_a_field_of_another_shape_costs_itself_and_is_named(
    odd: dict[str, object], reason: str
) -> None:
    left_out: list[str] = []
    read = tick_from_quote(408065, FULL, {**GOOD, **odd}, left_out)
    assert left_out == [reason]
    good = tick_from_quote(408065, FULL, GOOD)
    assert (read.last_price, read.average_traded_price, read.total_sell_quantity) == (
        good.last_price, good.average_traded_price, good.total_sell_quantity
    )  # fmt: skip


def test_of_a_level_only_what_is_odd_is_left_out_and_the_others_keep_their_places() -> None:
    level = {"price": 1.5, "quantity": 2, "orders": 3}
    levels = [{**level, "orders": 196_608}, {**level, "price": "1.5"}, level]
    item = {"last_price": 1, "depth": {"buy": levels, "sell": [level] * 6}}
    buy, sell = unpack_depth(tick_from_quote(408065, FULL, item).depth or b"")
    full, empty = DepthLevel(2, 150, 3), DepthLevel(0, 0, 0)
    assert buy == [DepthLevel(2, 150, 0), empty, full, empty, empty]
    assert sell == [full] * 5
