from datetime import datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from kitefeed import Tick, to_dict
from kitefeed.client.tick import NOBODY, Arrival
from kitefeed.protocol.feed import Source
from kitefeed.protocol.kite.repack import _LONG_RUN, _RUN_MAX
from kitefeed.protocol.kite.ticks import (
    FULL,
    LTP,
    QUOTE,
    TickBody,
    divisor_of,
    encode_frame,
    encode_packet,
    frame_of_packets,
    is_index,
    segment_of,
    unpack_depth,
)
from tests.support import decode_frame

U32 = st.integers(0, 2**32 - 1)
SEGMENTS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 0, 255]
TOKENS = st.builds(
    lambda exchange_token, segment: exchange_token << 8 | segment,
    st.integers(0, 2**24 - 1),
    st.sampled_from(SEGMENTS),
)
# Any packet of a known length, whatever its token: the official client looks at nothing else.
PACKETS = st.builds(
    lambda token, length, data: token.to_bytes(4, "big") + data[: length - 4],
    TOKENS,
    st.sampled_from([8, 28, 32, 44, 184]),
    st.binary(min_size=180, max_size=180),
)
OFFICIAL = KiteTicker("key", "token")
MODES = {"ltp": LTP, "quote": QUOTE, "full": FULL}


def unsigned(price: int | None) -> int:
    assert price is not None
    return price & 0xFFFF_FFFF


def local_time(utc_s: int | None) -> datetime:
    return datetime.fromtimestamp(utc_s or 0)


def official_depth(body: TickBody) -> dict[str, Any] | None:
    if body.depth is None:
        return None
    buy, sell = (
        [
            {
                "quantity": level.quantity,
                "price": unsigned(level.price) / body.divisor,
                "orders": level.orders,
            }
            for level in side
        ]
        for side in unpack_depth(body.depth)
    )
    return {"buy": buy, "sell": sell}


def as_official(body: TickBody) -> dict[str, Any]:
    """Our tick in the shape of the official client, without `change`, which is derived."""
    prices = {name: getattr(body, name) for name in ("open", "high", "low", "close")}
    fields: dict[str, Any] = {
        "tradable": not is_index(body.instrument_token),
        "mode": body.mode,
        "instrument_token": body.instrument_token,
        "last_price": unsigned(body.last_price) / body.divisor,
        "last_traded_quantity": body.last_traded_quantity,
        "volume_traded": body.volume_traded,
        "total_buy_quantity": body.total_buy_quantity,
        "total_sell_quantity": body.total_sell_quantity,
        "oi": body.oi,
        "oi_day_high": body.oi_day_high,
        "oi_day_low": body.oi_day_low,
        "depth": official_depth(body),
    }
    if body.average_traded_price is not None:
        fields["average_traded_price"] = unsigned(body.average_traded_price) / body.divisor
    if body.mode != LTP:
        fields["ohlc"] = {name: unsigned(price) / body.divisor for name, price in prices.items()}
    if body.mode == FULL:
        fields["exchange_timestamp"] = local_time(body.exchange_timestamp)
    if body.depth is not None:
        fields["last_trade_time"] = local_time(body.last_trade_time)
    return {name: value for name, value in fields.items() if value is not None}


def from_official(tick: dict[str, Any]) -> dict[str, Any]:
    tick = {**tick, "mode": MODES[tick["mode"]]}
    tick.pop("change", None)
    return tick


@settings(max_examples=200)
@given(st.lists(PACKETS, max_size=8))
def test_every_frame_is_read_as_the_official_client_reads_it(packets: list[bytes]) -> None:
    frame = frame_of_packets(packets)
    bodies, bad = decode_frame(frame)
    assert bad is None
    official = OFFICIAL._parse_binary(frame)
    assert [as_official(body) for body in bodies] == [from_official(tick) for tick in official]


def tick_of(body: TickBody, source: Source = Source.WEBSOCKET) -> Tick:
    return Tick("NSE:X", body, 1, 0, Arrival(1, 0, 1, source, 0, 0, 0, NOBODY, 0))


def no_price_below_zero(packet: bytes) -> bytes:
    """Clear the sign of what the official client reads unsigned. Bytes of other fields change as
    well."""
    return packet[:4] + bytes(byte & 0x7F for byte in packet[4:])


@settings(max_examples=200)
@given(st.lists(st.builds(no_price_below_zero, PACKETS), max_size=8))
def test_a_tick_as_kites_dictionary_is_what_the_official_client_makes_of_the_packet(
    packets: list[bytes],
) -> None:
    frame = frame_of_packets(packets)
    made = [to_dict(tick_of(body), kite=True) for body in decode_frame(frame)[0]]
    official = OFFICIAL._parse_binary(frame)
    assert made == official
    # The same types, too: 0 and 0.0 are equal.
    assert [{k: type(v) for k, v in each.items()} for each in made] == [
        {k: type(v) for k, v in each.items()} for each in official
    ]


def test_times_that_a_polled_value_lacks_are_none_and_those_of_zero_are_1970() -> None:
    body = TickBody(
        408065, FULL, 100, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, 0, 0, 0, None, bytes(120)
    )
    assert to_dict(tick_of(body, Source.REST), kite=True)["exchange_timestamp"] is None
    assert to_dict(tick_of(body), kite=True)["last_trade_time"] == datetime.fromtimestamp(0)
    assert to_dict(tick_of(body)) | {"age_s": 0} == tick_of(body).to_dict() | {"age_s": 0}


FOUR_BYTES = st.sampled_from([bytes(4), b"\0\0\0\1", b"\0\xff\xff\xff", b"\xff\xff\xff\xff"])


@settings(max_examples=30)
@given(
    st.sampled_from([8, 28, 32, 44, 184]),
    st.integers(_LONG_RUN - 2, 2 * _RUN_MAX),
    st.integers(0, 2**32),
    st.lists(FOUR_BYTES, min_size=1, max_size=3),
)
def test_a_long_run_is_read_as_its_packets_are_one_by_one(
    length: int, count: int, seed: int, extremes: list[bytes]
) -> None:
    random = Random(seed)

    def packet() -> bytes:
        token = random.getrandbits(24) << 8 | random.choice(SEGMENTS)
        fields = [random.choice([random.randbytes(4), *extremes]) for _ in range(length // 4 - 1)]
        return token.to_bytes(4, "big") + b"".join(fields)

    packets = [packet() for _ in range(count)]
    bodies, bad = decode_frame(frame_of_packets(packets))
    assert bad is None
    assert bodies == [decode_frame(frame_of_packets([each]))[0][0] for each in packets]


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("length", [8, 28, 32, 44, 184])
def test_every_segment_and_length_is_read_as_the_official_client_reads_it(
    segment: int, length: int
) -> None:
    token = 1001 << 8 | segment
    frame = frame_of_packets([token.to_bytes(4, "big") + bytes(range(4, length))])
    bodies, _ = decode_frame(frame)
    official = OFFICIAL._parse_binary(frame)
    assert [as_official(body) for body in bodies] == [from_official(tick) for tick in official]


@settings(max_examples=100)
@given(st.lists(PACKETS, max_size=6), st.binary(min_size=1, max_size=200))
def test_packets_the_official_client_skips_are_skipped_and_counted(
    packets: list[bytes], odd: bytes
) -> None:
    if len(odd) in (8, 28, 32, 44, 184):
        odd += b"\x00"
    if len(odd) < 4:
        odd += bytes(4)  # the official client reads a token first, and dies without one
    frame = frame_of_packets([odd, *packets, odd])
    bodies, bad = decode_frame(frame)
    assert bad is not None
    assert bad.offset == 2
    official = OFFICIAL._parse_binary(frame)
    assert [as_official(body) for body in bodies] == [from_official(tick) for tick in official]


@settings(max_examples=300)
@given(st.binary(max_size=600))
def test_no_bytes_make_the_decoder_raise(frame: bytes) -> None:
    decode_frame(frame)


PRICES = st.integers(-(2**31), 2**31 - 1)
TIMES = st.one_of(st.none(), st.integers(1, 2**32 - 1))


@st.composite
def bodies_of_a_mode(draw: st.DrawFn) -> TickBody:
    token = draw(TOKENS)
    body = TickBody(token, draw(st.sampled_from([LTP, QUOTE, FULL])), divisor_of(token), 0)
    body.last_price = draw(PRICES)
    if body.mode == LTP:
        return body
    for name in ("open", "high", "low", "close"):
        setattr(body, name, draw(PRICES))
    body.exchange_timestamp = draw(TIMES) if body.mode == FULL else None
    return body if segment_of(token) == 9 else draw(with_the_fields_of_a_tradable(body))


@st.composite
def with_the_fields_of_a_tradable(draw: st.DrawFn, body: TickBody) -> TickBody:
    body.average_traded_price = draw(PRICES)
    names = ["last_traded_quantity", "volume_traded", "total_buy_quantity", "total_sell_quantity"]
    if body.mode == FULL:
        names += ["oi", "oi_day_high", "oi_day_low"]
        body.last_trade_time = draw(TIMES)
        body.depth = draw(st.binary(min_size=120, max_size=120))
    for name in names:
        setattr(body, name, draw(U32))
    return body


@settings(max_examples=150)
@given(st.lists(bodies_of_a_mode(), max_size=6))
def test_what_is_encoded_is_decoded_to_the_same_ticks(bodies: list[TickBody]) -> None:
    assert decode_frame(encode_frame(bodies)) == (bodies, None)


@settings(max_examples=60)
@given(st.lists(bodies_of_a_mode(), min_size=1, max_size=5), st.data())
def test_a_cut_loses_the_cut_packet_and_those_after_it_only(
    bodies: list[TickBody], data: st.DataObject
) -> None:
    frame = encode_frame(bodies)
    cut = data.draw(st.integers(2, len(frame) - 1))
    kept, bad = decode_frame(frame[:cut])
    assert bad is not None
    assert kept == bodies[: len(kept)]
    assert bad.offset == 2 + sum(2 + len(encode_packet(body)) for body in kept)
