import random
import struct

import pytest

from kitefeed.protocol.kite import ticks
from kitefeed.protocol.kite.ticks import (
    FULL,
    LTP,
    QUOTE,
    BadFrame,
    BadReason,
    DepthLevel,
    TickBody,
    encode_frame,
    encode_packet,
    frame_of_packets,
    pack_depth,
    unpack_depth,
)
from tests.support import decode_frame

# Made by hand from the documented layout; what the official client decodes them to was measured.
LTP_NSE = "00010008000b450100047cb6"
LTP_CDS = "000100080004980331c57868"
LTP_BCD = "000100080004d206000cbdd1"
LTP_NCO = "0001000800004d0c03a5ea08"
INDEX_QUOTE = "0001001c0003e9090022620d00227c2000224d4a00226ac30022551000000cfd"
INDEX_FULL = "000100200003f809004e0219004e2000004dd1e0004df8f0004e2159ffffe0c06ac712f1"
FULL_NFO = (
    "000100b800ae4602000030cf00000041000032d2017d784000124f80000dbba0000036b000003c8c00002afd"
    "00002ee06ac712f00028e100002932e0002625a06ac712f10000028a0000308400030000000005140000307f"
    "00050000000000410000307a0001000000000000000000000000000000000000000000000000000000000145"
    "00003093000200000000028a00003098000400000000079e0000309d0007000000000041000030a200010000"
    "000000000000000000000000"
)
VECTORS = [LTP_NSE, LTP_CDS, LTP_BCD, LTP_NCO, INDEX_QUOTE, INDEX_FULL, FULL_NFO]

MIXED = [
    TickBody(
        256265, FULL, 100, 2253325, exchange_timestamp=1791431409, open=1, high=2, low=3, close=4
    ),
    TickBody(408065, LTP, 100, 150000),
    TickBody(738561, FULL, 100, 294070, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, bytes(120)),
    TickBody(
        779521, FULL, 100, 80000, 1, 2, 3, 4, 5, 6, 7, 8, 9, None, 11, 12, 13, None, b"d" * 120
    ),
    TickBody(315910, QUOTE, 10_000, 835025, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    TickBody(260105, QUOTE, 100, -5, open=1, high=2, low=3, close=4),
    TickBody(256265, LTP, 100, 2253330),
    TickBody(2953217, FULL, 100, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, bytes(120)),
]


def only_tick(frame_hex: str) -> TickBody:
    bodies, bad = decode_frame(bytes.fromhex(frame_hex))
    assert bad is None
    assert len(bodies) == 1
    return bodies[0]


@pytest.mark.parametrize(
    ("frame_hex", "token", "price"),
    [
        (LTP_NSE, 738561, 2940.70),
        (LTP_CDS, 301059, 83.5025),
        (LTP_BCD, 315910, 83.5025),
        (LTP_NCO, 19724, 6120.50),
    ],
)
def test_an_ltp_packet_gives_token_and_price(frame_hex: str, token: int, price: float) -> None:
    body = only_tick(frame_hex)
    assert body == TickBody(token, LTP, ticks.divisor_of(token), body.last_price)
    assert body.last_price / body.divisor == price


def test_an_index_quote_is_read_in_the_order_high_low_open_close() -> None:
    assert only_tick(INDEX_QUOTE) == TickBody(
        256265, QUOTE, 100, 2253325, open=2255555, high=2260000, low=2248010, close=2250000
    )


def test_an_index_full_packet_also_has_the_exchange_time() -> None:
    body = only_tick(INDEX_FULL)
    assert body == TickBody(
        260105,
        FULL,
        100,
        5112345,
        open=5110000,
        high=5120000,
        low=5100000,
        close=5120345,
        exchange_timestamp=1791431409,
    )


def test_a_full_packet_gives_every_field_and_its_depth() -> None:
    body = only_tick(FULL_NFO)
    assert (body.instrument_token, body.mode, body.divisor) == (11421186, FULL, 100)
    assert (body.last_price, body.last_traded_quantity, body.average_traded_price) == (
        12495,
        65,
        13010,
    )
    assert (body.volume_traded, body.total_buy_quantity, body.total_sell_quantity) == (
        25_000_000,
        1_200_000,
        900_000,
    )
    assert (body.open, body.high, body.low, body.close) == (14000, 15500, 11005, 12000)
    assert (body.last_trade_time, body.exchange_timestamp) == (1791431408, 1791431409)
    assert (body.oi, body.oi_day_high, body.oi_day_low) == (2679040, 2700000, 2500000)
    buy, sell = unpack_depth(body.depth or b"")
    assert buy[0] == DepthLevel(650, 12420, 3)
    assert sell[0] == DepthLevel(325, 12435, 2)
    assert buy[3:] == [DepthLevel(0, 0, 0)] * 2
    assert (len(buy), len(sell)) == (5, 5)


@pytest.mark.parametrize("frame_hex", VECTORS)
def test_every_vector_is_encoded_back_to_its_bytes(frame_hex: str) -> None:
    assert encode_frame([only_tick(frame_hex)]).hex() == frame_hex


def test_all_vectors_in_one_frame_give_the_same_ticks() -> None:
    packets = [bytes.fromhex(frame_hex)[4:] for frame_hex in VECTORS]
    expected = [only_tick(frame_hex) for frame_hex in VECTORS]
    assert decode_frame(frame_of_packets(packets)) == (expected, None)


@pytest.mark.parametrize(
    ("segment", "divisor", "exchange"),
    [
        (1, 100, "NSE"),
        (2, 100, "NFO"),
        (3, 10_000_000, "CDS"),
        (4, 100, "BSE"),
        (5, 100, "BFO"),
        (6, 10_000, "BCD"),
        (7, 100, "MCX"),
        (8, 100, "MCXSX"),
        (9, 100, "INDICES"),
        (10, 100, None),
        (12, 10_000, "NCO"),
        (255, 100, None),
    ],
)
def test_the_low_byte_of_a_token_tells_segment_and_divisor(
    segment: int, divisor: int, exchange: str | None
) -> None:
    token = 1001 * 256 + segment
    assert ticks.segment_of(token) == segment
    assert ticks.divisor_of(token) == divisor
    assert ticks.EXCHANGE_NAMES.get(ticks.segment_of(token)) == exchange
    assert ticks.is_index(token) == (segment == 9)
    assert only_tick(encode_frame([TickBody(token, LTP, divisor, 7)]).hex()).divisor == divisor


def test_modes_have_names_and_no_others_are_accepted() -> None:
    assert [ticks.mode_from_name(name) for name in ("ltp", "quote", "full")] == [LTP, QUOTE, FULL]
    with pytest.raises(ValueError, match="ltp, quote or full"):
        ticks.mode_from_name("FULL")


def test_a_frame_of_mixed_packets_keeps_their_order() -> None:
    assert decode_frame(encode_frame(MIXED)) == (MIXED, None)


def test_prices_are_signed_and_quantities_are_not() -> None:
    top = 0xFFFF_FFFF
    body = TickBody(408065, QUOTE, 100, -288400, top, -1, top, top, top, -1, -2, -3, -4)
    assert decode_frame(encode_frame([body])) == ([body], None)


def test_the_change_of_an_index_is_signed_and_never_overflows() -> None:
    falling = TickBody(256265, QUOTE, 100, 90, open=0, high=0, low=0, close=100)
    assert encode_packet(falling)[24:28] == struct.pack(">i", -10)
    widest = TickBody(256265, QUOTE, 100, 2**31 - 1, open=0, high=0, low=0, close=-(2**31))
    assert decode_frame(encode_frame([widest])) == ([widest], None)


def test_a_heartbeat_is_no_ticks_and_no_damage() -> None:
    for byte in (b"\x00", b"\xff"):
        assert decode_frame(byte) == ([], None)


def test_a_frame_that_promises_no_packets_is_empty_and_good() -> None:
    assert decode_frame(b"\x00\x00") == ([], None)


def test_an_empty_frame_is_bad() -> None:
    assert decode_frame(b"") == ([], BadFrame(BadReason.EMPTY, 0, 0))


def packet_ends(bodies: list[TickBody]) -> list[int]:
    ends = [2]
    for body in bodies:
        ends.append(ends[-1] + 2 + len(encode_packet(body)))
    return ends


@pytest.mark.parametrize("bodies", [MIXED, [MIXED[2]] * 3], ids=["mixed", "all full"])
def test_a_frame_cut_anywhere_keeps_the_packets_before_the_cut(bodies: list[TickBody]) -> None:
    frame = encode_frame(bodies)
    ends = packet_ends(bodies)
    for cut in range(2, len(frame)):
        whole = sum(end <= cut for end in ends) - 1
        expected = BadFrame(BadReason.TRUNCATED, ends[whole], cut)
        assert decode_frame(frame[:cut]) == (bodies[:whole], expected)


@pytest.mark.parametrize("tail", [b"\x00", b"\x00\x08", encode_frame(MIXED), bytes(186)])
def test_a_tail_is_bad_and_every_packet_before_it_is_kept(tail: bytes) -> None:
    for bodies in (MIXED, [MIXED[2]] * 3):
        frame = encode_frame(bodies)
        expected = BadFrame(BadReason.TRAILING, len(frame), len(frame) + len(tail))
        assert decode_frame(frame + tail) == (bodies, expected)


@pytest.mark.parametrize("length", [0, 1, 7, 9, 12, 27, 29, 33, 43, 45, 164, 183, 185, 4000])
@pytest.mark.parametrize("position", range(len(MIXED) + 1))
def test_a_packet_of_odd_length_is_stepped_over_and_counted(length: int, position: int) -> None:
    packets = [encode_packet(body) for body in MIXED]
    packets.insert(position, b"\xb8" * length)
    frame = frame_of_packets(packets)
    expected = BadFrame(BadReason.PACKET_LENGTH, packet_ends(MIXED)[position], len(frame))
    assert decode_frame(frame) == (MIXED, expected)


def test_the_first_damage_is_the_one_reported() -> None:
    frame = frame_of_packets([b"odd", encode_packet(MIXED[1])])
    assert decode_frame(frame[:-1])[1] == BadFrame(BadReason.PACKET_LENGTH, 2, len(frame) - 1)
    assert decode_frame(frame + b"tail")[1] == BadFrame(BadReason.PACKET_LENGTH, 2, len(frame) + 4)


def test_random_bytes_never_raise() -> None:
    rng = random.Random(20261122)
    for _ in range(3000):
        frame = rng.randbytes(rng.randrange(400))
        bodies, _bad = decode_frame(frame)
        assert len(bodies) * 10 <= len(frame)


def test_flipped_bytes_in_a_good_frame_never_raise() -> None:
    rng = random.Random(20261123)
    frame = encode_frame(MIXED)
    for _ in range(2000):
        damaged = bytearray(frame)
        damaged[rng.randrange(len(frame))] = rng.randrange(256)
        decode_frame(bytes(damaged))


def test_absent_fields_are_sent_as_zero() -> None:
    assert encode_packet(TickBody(408065, FULL, 100, 5))[8:] == bytes(176)
    assert encode_packet(TickBody(256265, FULL, 100, 0))[8:] == bytes(24)


def test_depth_makes_the_round_trip_and_short_sides_are_filled() -> None:
    level = DepthLevel(0xFFFF_FFFF, -5, 0xFFFF)
    packed = pack_depth([level], [level, level])
    empty = DepthLevel(0, 0, 0)
    assert unpack_depth(packed) == ([level] + [empty] * 4, [level] * 2 + [empty] * 3)


def test_what_cannot_be_put_on_the_wire_is_refused() -> None:
    with pytest.raises(ValueError, match="mode must be"):
        encode_packet(TickBody(408065, 4, 100, 5))
    with pytest.raises(ValueError, match="120 bytes, not 119"):
        encode_packet(TickBody(408065, FULL, 100, 5, depth=bytes(119)))
    with pytest.raises(ValueError, match="120 bytes, not 0"):
        unpack_depth(b"")
    with pytest.raises(ValueError, match="at most 5 levels, not 6"):
        pack_depth([DepthLevel(0, 0, 0)] * 6, [])
    with pytest.raises(ValueError, match="65535 packets"):
        frame_of_packets([b""] * 65536)
    with pytest.raises(struct.error):
        encode_packet(TickBody(408065, LTP, 100, 2**31))


def test_the_fields_of_a_tick_body_stay_where_they_are() -> None:
    assert TickBody.__struct_fields__ == (
        "instrument_token",
        "mode",
        "divisor",
        "last_price",
        "last_traded_quantity",
        "average_traded_price",
        "volume_traded",
        "total_buy_quantity",
        "total_sell_quantity",
        "open",
        "high",
        "low",
        "close",
        "last_trade_time",
        "oi",
        "oi_day_high",
        "oi_day_low",
        "exchange_timestamp",
        "depth",
    )
