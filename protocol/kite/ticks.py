"""Kite's binary tick frames, both directions, and the tick body that kitefeed itself carries.

Source: kite.trade/docs/connect/v3/websocket ("Message structure") and `_parse_binary` of the
official Python client (kiteconnect 5.2.2). Where they disagree (BCD and NCO divisors) the client
is followed.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, NamedTuple

import msgspec

LTP = 1
QUOTE = 2
FULL = 3
MODE_NAMES: Mapping[int, str] = MappingProxyType({LTP: "ltp", QUOTE: "quote", FULL: "full"})
_MODES = {name: mode for mode, name in MODE_NAMES.items()}

SEGMENT_CDS = 3
SEGMENT_BCD = 6
SEGMENT_INDICES = 9
SEGMENT_NCO = 12
EXCHANGE_NAMES: Mapping[int, str] = MappingProxyType(
    {
        1: "NSE",
        2: "NFO",
        SEGMENT_CDS: "CDS",
        4: "BSE",
        5: "BFO",
        SEGMENT_BCD: "BCD",
        7: "MCX",
        8: "MCXSX",
        SEGMENT_INDICES: "INDICES",
        SEGMENT_NCO: "NCO",
    }
)

DIVISOR_DEFAULT = 100
_DIVISOR_BY_SEGMENT = {SEGMENT_CDS: 10_000_000, SEGMENT_BCD: 10_000, SEGMENT_NCO: 10_000}
# Indexed by the low byte of a token: one tuple lookup per packet.
DIVISORS = tuple(_DIVISOR_BY_SEGMENT.get(segment, DIVISOR_DEFAULT) for segment in range(256))

DEPTH_LEVELS = 5
DEPTH_BYTES = 120


class TickBody(msgspec.Struct, array_like=True, gc=False):
    """One tick as kitefeed carries it, and the decoded form of one Kite packet.

    Prices are integers as on Kite's wire: divide by `divisor` for rupees. A field the packet does
    not have is None; so is a time of zero. Times are UTC epoch seconds. `depth` is the 120 bytes
    of the packet (see `unpack_depth`). Fields are only ever appended: readers go by position.
    """

    instrument_token: int
    mode: int
    divisor: Annotated[int, msgspec.Meta(gt=0)]
    last_price: int
    last_traded_quantity: int | None = None
    average_traded_price: int | None = None
    volume_traded: int | None = None
    total_buy_quantity: int | None = None
    total_sell_quantity: int | None = None
    open: int | None = None
    high: int | None = None
    low: int | None = None
    close: int | None = None
    last_trade_time: int | None = None
    oi: int | None = None
    oi_day_high: int | None = None
    oi_day_low: int | None = None
    exchange_timestamp: int | None = None
    depth: bytes | None = None


class BadReason(StrEnum):
    """The kinds of damage in a frame. A closed list: counters are kept by it."""

    EMPTY = "empty"  # zero bytes
    TRUNCATED = "truncated"  # ends inside a packet or before the promised count
    TRAILING = "trailing"  # bytes after the last packet
    PACKET_LENGTH = "packet_length"  # a packet of no known length, zero included
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"  # also JSON nested too deeply to read
    NOT_OBJECT = "not_object"  # valid JSON, but no object: the official client dies of it
    BAD_FIELD = "bad_field"  # a known type whose fields are missing or of another type


class BadFrame(msgspec.Struct, frozen=True, gc=False):
    """The first damage found in a frame: a value to count, never an exception."""

    reason: BadReason
    offset: int
    frame_bytes: int


class DepthLevel(NamedTuple):
    """One level of market depth. `price` is scaled by the tick's divisor; all zero means empty."""

    quantity: int
    price: int
    orders: int


_EMPTY_LEVEL = DepthLevel(0, 0, 0)


def mode_from_name(name: str) -> int:
    """Return the mode number of `ltp`, `quote` or `full`; ValueError for anything else."""
    mode = _MODES.get(name)
    if mode is None:
        raise ValueError(f"mode must be ltp, quote or full, not {name!r}")
    return mode


def segment_of(token: int) -> int:
    return token & 0xFF


def divisor_of(token: int) -> int:
    """Return the divisor that makes rupees of this instrument's wire prices."""
    return DIVISORS[token & 0xFF]


def is_index(token: int) -> bool:
    return token & 0xFF == SEGMENT_INDICES


# --- packets -----------------------------------------------------------------------------------
# Big-endian, told apart by length alone. Kite documents the fields as int32; the official clients
# read them unsigned. Prices (p) are read signed, because a commodity price and an index change can
# be negative; tokens, quantities, volume and open interest (u) are read unsigned.
#
#   offset width ltp 8    index quote 28 / full 32   quote 44 / full 184     unit
#   0      4     token u  token u                    token u
#   4      4     last p   last p                     last p                  1/divisor rupee
#   8      4              high p                     last quantity u
#   12     4              low p                      average price p         1/divisor rupee
#   16     4              open p                     volume u
#   20     4              close p                    total buy quantity u
#   24     4              change p (last - close)    total sell quantity u
#   28     4              [32] exchange time u       open p                  UTC epoch s / price
#   32     4                                         high p                  1/divisor rupee
#   36     4                                         low p
#   40     4                                         close p
#   44     4                                         [184] last trade time u UTC epoch s
#   48     4                                         open interest u
#   52     4                                         oi day high u
#   56     4                                         oi day low u
#   60     4                                         exchange time u         UTC epoch s
#   64     120                                       depth: 5 buy, 5 sell
#   one depth level: quantity u (4), price p (4), orders u (2), zero (2)
#
# A frame is a u16 packet count, then for each packet a u16 length and the packet.
_U16 = struct.Struct(">H")
_LTP = struct.Struct(">Ii")
_INDEX_QUOTE = struct.Struct(">I5iI")
_INDEX_FULL = struct.Struct(">I5iII")
_QUOTE = struct.Struct(">IiIiIII4i")
_FULL = struct.Struct(">IiIiIII4i5I120s")
_DEPTH_LEVEL = struct.Struct(">IiH2x")

FRAME_PACKETS_MAX = 0xFFFF  # the count is a u16


# --- the other direction: what the simulator sends -----------------------------------------------


def encode_packet(body: TickBody) -> bytes:
    """Return the packet Kite would send for this body; absent fields become zero.

    An index (segment 9) gets the index layout with its signed change. `divisor` is not on the
    wire. ValueError for an unknown mode or a depth that is not 120 bytes; struct.error for a
    number that does not fit its field.
    """
    if body.mode == LTP:
        return _LTP.pack(body.instrument_token, body.last_price)
    if body.mode not in (QUOTE, FULL):
        raise ValueError(f"mode must be 1, 2 or 3, not {body.mode!r}")
    return _encode_index(body) if is_index(body.instrument_token) else _encode_tradable(body)


def _encode_index(body: TickBody) -> bytes:
    prices = (body.last_price, body.high or 0, body.low or 0, body.open or 0, body.close or 0)
    # Packed as its 32-bit two's complement, so that no pair of prices can overflow the field.
    change = (body.last_price - (body.close or 0)) & 0xFFFF_FFFF
    if body.mode == QUOTE:
        return _INDEX_QUOTE.pack(body.instrument_token, *prices, change)
    return _INDEX_FULL.pack(body.instrument_token, *prices, change, body.exchange_timestamp or 0)


def _encode_tradable(body: TickBody) -> bytes:
    common = (
        body.instrument_token,
        body.last_price,
        body.last_traded_quantity or 0,
        body.average_traded_price or 0,
        body.volume_traded or 0,
        body.total_buy_quantity or 0,
        body.total_sell_quantity or 0,
        body.open or 0,
        body.high or 0,
        body.low or 0,
        body.close or 0,
    )
    if body.mode == QUOTE:
        return _QUOTE.pack(*common)
    return _FULL.pack(
        *common,
        body.last_trade_time or 0,
        body.oi or 0,
        body.oi_day_high or 0,
        body.oi_day_low or 0,
        body.exchange_timestamp or 0,
        _checked_depth(body.depth),
    )


def _checked_depth(depth: bytes | None) -> bytes:
    if depth is None:
        return bytes(DEPTH_BYTES)
    if len(depth) != DEPTH_BYTES:  # struct would pad or cut it in silence
        raise ValueError(f"depth must be {DEPTH_BYTES} bytes, not {len(depth)}")
    return depth


def encode_frame(bodies: Iterable[TickBody]) -> bytes:
    """Return one binary frame of these ticks, in order. ValueError above 65 535 of them."""
    return frame_of_packets([encode_packet(body) for body in bodies])


def frame_of_packets(packets: Sequence[bytes]) -> bytes:
    """Return one binary frame of packets that are already encoded (or deliberately damaged)."""
    return frame_of_parts([*map(part_of_frame, packets)])


def part_of_frame(packet: bytes) -> bytes:
    """Return a packet as it stands in a frame, behind its length."""
    return _U16.pack(len(packet)) + packet


def frame_of_parts(parts: Sequence[bytes]) -> bytes:
    """Return one binary frame of what `part_of_frame` made. ValueError above 65 535 of them."""
    if len(parts) > FRAME_PACKETS_MAX:
        raise ValueError(f"a frame holds at most {FRAME_PACKETS_MAX} packets, not {len(parts)}")
    return b"".join((_U16.pack(len(parts)), *parts))


def unpack_depth(depth: bytes) -> tuple[list[DepthLevel], list[DepthLevel]]:
    """Return five buy and five sell levels, best first. ValueError unless 120 bytes are given."""
    levels = [DepthLevel._make(level) for level in iter_depth(depth)]
    return levels[:DEPTH_LEVELS], levels[DEPTH_LEVELS:]


def iter_depth(depth: bytes) -> Iterator[tuple[int, int, int]]:
    """Return quantity, price and orders of five buy levels, then of five sell levels, best first.
    ValueError unless 120 bytes are given."""
    return _DEPTH_LEVEL.iter_unpack(_checked_depth(depth))


def pack_depth(buy: Sequence[DepthLevel], sell: Sequence[DepthLevel]) -> bytes:
    """Return the 120 bytes of `unpack_depth`; a side shorter than five is filled with empty levels.

    ValueError for more than five levels, struct.error for a number that does not fit.
    """
    return b"".join(_DEPTH_LEVEL.pack(*level) for level in _five(buy) + _five(sell))


def _five(levels: Sequence[DepthLevel]) -> list[DepthLevel]:
    if len(levels) > DEPTH_LEVELS:
        raise ValueError(f"a side of depth has at most {DEPTH_LEVELS} levels, not {len(levels)}")
    return [*levels, *[_EMPTY_LEVEL] * (DEPTH_LEVELS - len(levels))]
