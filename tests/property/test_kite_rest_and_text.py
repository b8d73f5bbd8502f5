import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kitefeed.protocol.kite.instruments import DumpRow, format_dump, parse_dump
from kitefeed.protocol.kite.rest import quote_item, split_by_url, tick_from_quote
from kitefeed.protocol.kite.text import parse_client_message, parse_text
from kitefeed.protocol.kite.ticks import FULL, TickBody, divisor_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
ITEM_NAMES = ["instrument_token", "timestamp", "last_price", "volume", "ohlc", "depth", "oi"]
KINDS = st.sampled_from(["order", "error", "message", "instruments_meta", "app_code", "mode"])


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(ITEM_NAMES), JSON))
def test_a_quote_item_is_read_or_refused_with_a_value_error(item: dict[str, Any]) -> None:
    try:
        body = tick_from_quote(408065, FULL, item)
    except ValueError:
        return
    assert body.instrument_token == 408065


@settings(max_examples=200)
@given(KINDS, JSON)
def test_any_json_is_read_without_an_exception(kind: str, data: object) -> None:
    for message in (data, {"type": kind, "data": data}, {"a": kind, "v": data}):
        payload = json.dumps(message).encode()
        parse_text(payload)
        parse_client_message(payload)


@settings(max_examples=100)
@given(
    st.sampled_from([408065, 301059, 315910, 19724, 128053508]),
    st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=6, max_size=6),
    st.lists(st.integers(0, 2**32 - 1), min_size=7, max_size=7),
    st.lists(st.integers(1, 2**32 - 1), min_size=2, max_size=2),
)
def test_scaled_prices_survive_decimal_rupees(
    token: int, prices: list[int], quantities: list[int], times: list[int]
) -> None:
    last, average, *ohlc = prices
    last_quantity, volume, buy, sell, *oi = quantities
    body = TickBody(
        *(token, FULL, divisor_of(token), last, last_quantity, average, volume, buy, sell),
        *(*ohlc, times[0], *oi, times[1]),
        depth=bytes(120),
    )
    item = json.loads(json.dumps(quote_item(body)))
    assert tick_from_quote(token, FULL, item) == body


@settings(max_examples=100)
@given(
    st.lists(st.integers(1, 2**32 - 1), max_size=60),
    st.integers(1, 20),
    st.integers(12, 80),
)
def test_batches_are_within_both_limits(
    tokens: list[int], count_max: int, query_bytes_max: int
) -> None:
    batches = split_by_url(tokens, count_max, query_bytes_max)
    assert [token for batch in batches for token in batch] == tokens
    for batch in batches:
        assert 0 < len(batch) <= count_max
        assert len("&".join(f"i={token}" for token in batch)) <= query_bytes_max


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=9)
INSTRUMENTS = st.builds(
    DumpRow,
    st.integers(1, 2**32 - 1),
    st.integers(0, 2**24 - 1),
    WORDS,
    WORDS,
    st.floats(0, 1e9),
    st.dates().map(str) | st.just(""),
    st.floats(0, 1e9),
    st.floats(0, 100),
    st.integers(0, 10**6),
    WORDS,
    WORDS,
    st.sampled_from(["NSE", "NFO", "BCD"]),
)


@settings(max_examples=100)
@given(st.lists(INSTRUMENTS, max_size=5))
def test_a_dump_makes_the_round_trip(instruments: list[DumpRow]) -> None:
    rows = parse_dump(format_dump(instruments))
    assert list(rows) == instruments
    assert not rows.left_out


@settings(max_examples=100)
@given(st.text(max_size=200))
def test_any_text_after_the_header_costs_bad_rows_only(text: str) -> None:
    rows = parse_dump(format_dump([]) + text)
    lines = [line for line in text.split("\n") if line.strip("\r\n")]
    assert len(list(rows)) + rows.left_out.total() == len(lines)
