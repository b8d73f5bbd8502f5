"""Kite's binary frames as encoded tick bodies: the ticker's hot path.

Packets go from the wire into msgpack as the plain tuples of one precompiled struct: no object per
tick is built and no field is looked at twice (0.5 us a full packet against 0.9 by way of a
`TickBody`). Equal packets that follow one another are read as one run, a long one by `columns`.
`hot/frames.c` is the same compiled: what is changed here is changed there, to the byte.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from kitefeed._hot import IS_COMPILED
from kitefeed.protocol.kite.columns import Columns
from kitefeed.protocol.kite.ticks import (
    DIVISORS,
    FULL,
    LTP,
    QUOTE,
    BadFrame,
    BadReason,
)

if IS_COMPILED:
    from kitefeed._hot import loops

_PREFIX_BYTES = 2  # the packet count of a frame, and the length before each packet
_RUN_MAX = 256  # looked for at a time: a frame of short runs must not cost its square
_LONG_RUN = 45  # packets: from here on it is cheaper by columns

# The layouts are in `ticks`; here each begins with the length prefix, which is skipped.
_LTP = struct.Struct(">2xIi")
_INDEX_QUOTE = struct.Struct(">2xI5i4x")
_INDEX_FULL = struct.Struct(">2xI5i4xI")
_QUOTE = struct.Struct(">2xIiIiIII4i")
_FULL = struct.Struct(">2xIiIiIII4i5I120s")

_encode = msgspec.msgpack.Encoder().encode


class Packets(NamedTuple):
    """The readable packets of a frame, in order, and the first damage. `bodies` are encoded
    `TickBody`s: arrays of 19."""

    tokens: list[int]
    bodies: list[bytes]
    bad: BadFrame | None


Fields = Iterable[tuple[Any, ...]]  # of equal packets, in the order of their layout
Take = Callable[[Fields, list[int], list[bytes]], None]


# fmt: off
def _take_ltp(packets: Fields, tokens: list[int], bodies: list[bytes]) -> None:
    for token, last in packets:
        tokens.append(token)
        bodies.append(_encode((
            token, LTP, DIVISORS[token & 0xFF], last, None, None, None, None, None,
            None, None, None, None, None, None, None, None, None, None,
        )))


def _take_quote(packets: Fields, tokens: list[int], bodies: list[bytes]) -> None:
    for (token, last, quantity, average, volume, buy, sell,
         open_, high, low, close) in packets:
        tokens.append(token)
        bodies.append(_encode((
            token, QUOTE, DIVISORS[token & 0xFF], last, quantity, average, volume, buy, sell,
            open_, high, low, close, None, None, None, None, None, None,
        )))


def _take_index_quote(packets: Fields, tokens: list[int], bodies: list[bytes]) -> None:
    for token, last, high, low, open_, close in packets:
        tokens.append(token)
        bodies.append(_encode((
            token, QUOTE, DIVISORS[token & 0xFF], last, None, None, None, None, None,
            open_, high, low, close, None, None, None, None, None, None,
        )))


def _take_index_full(packets: Fields, tokens: list[int], bodies: list[bytes]) -> None:
    for token, last, high, low, open_, close, time in packets:
        tokens.append(token)
        bodies.append(_encode((
            token, FULL, DIVISORS[token & 0xFF], last, None, None, None, None, None,
            open_, high, low, close, None, None, None, None, time or None, None,
        )))


def _take_full(packets: Fields, tokens: list[int], bodies: list[bytes]) -> None:
    # Names of this function are faster than those of the module, and this is the hottest loop.
    encode, divisors, full = _encode, DIVISORS, FULL
    for (token, last, quantity, average, volume, buy, sell, open_, high, low, close,
         trade_time, oi, oi_high, oi_low, time, depth) in packets:
        tokens.append(token)
        bodies.append(encode((
            token, full, divisors[token & 0xFF], last, quantity, average, volume, buy, sell,
            open_, high, low, close, trade_time or None, oi, oi_high, oi_low, time or None, depth,
        )))
# fmt: on


_INDEX = "instrument_token last_price high low open close change"
_TRADED = (
    "instrument_token last_price last_traded_quantity average_traded_price volume_traded"
    " total_buy_quantity total_sell_quantity open high low close"
)
_FULL_ONLY = "last_trade_time oi oi_day_high oi_day_low exchange_timestamp depth"

# By the length prefix as it is on the wire: the layout of such packets, their length with prefix,
# and how they are read one by one and in long runs. Plain tuples: one with names takes twice as
# long to be taken apart.
_KINDS: Mapping[bytes, tuple[struct.Struct, int, Take, Columns]] = MappingProxyType(
    {
        (layout.size - _PREFIX_BYTES).to_bytes(_PREFIX_BYTES, "big"): (
            layout,
            layout.size,
            take,
            Columns(layout.size, _PREFIX_BYTES, mode, fields.split()),
        )
        for layout, take, mode, fields in (
            (_LTP, _take_ltp, LTP, "instrument_token last_price"),
            (_INDEX_QUOTE, _take_index_quote, QUOTE, _INDEX),
            (_INDEX_FULL, _take_index_full, FULL, f"{_INDEX} exchange_timestamp"),
            (_QUOTE, _take_quote, QUOTE, _TRADED),
            (_FULL, _take_full, FULL, f"{_TRADED} {_FULL_ONLY}"),
        )
    }
)


def repack_in_python(frame: bytes) -> Packets:
    """Return every readable packet of one binary frame, and the first damage found, if any.

    Never raises. Packets before the damage are kept; a packet of no known length is stepped over
    by its length prefix and the packets after it are kept too. A heartbeat is no packets and no
    damage. The kind of a packet is told by its length alone, as the official client does.
    """
    frame_bytes = len(frame)
    tokens: list[int] = []
    bodies: list[bytes] = []
    if frame_bytes < _PREFIX_BYTES:
        bad = None if frame_bytes else BadFrame(BadReason.EMPTY, 0, 0)
        return Packets(tokens, bodies, bad)
    bad = None
    offset = _PREFIX_BYTES
    remaining = int.from_bytes(frame[:_PREFIX_BYTES], "big")
    kind_of = _KINDS.get
    while remaining:
        prefix = frame[offset : offset + _PREFIX_BYTES]
        kind = kind_of(prefix)
        if kind is None:
            layout, step = None, _PREFIX_BYTES + int.from_bytes(prefix, "big")
        else:
            layout, step, take, columns = kind
        end = offset + step
        if end > frame_bytes:
            truncated = BadFrame(BadReason.TRUNCATED, offset, frame_bytes)
            return Packets(tokens, bodies, bad or truncated)
        count = 1
        if layout is None:
            bad = bad or BadFrame(BadReason.PACKET_LENGTH, offset, frame_bytes)
        elif remaining == 1 or frame[end : end + _PREFIX_BYTES] != prefix:
            take((layout.unpack_from(frame, offset),), tokens, bodies)
        else:
            count = _run_length(frame, offset, step, min(remaining, _RUN_MAX))
            end = offset + count * step
            run = frame[offset:end]
            if count < _LONG_RUN:
                take(layout.iter_unpack(run), tokens, bodies)
            else:
                columns.take(run, tokens, bodies)
        offset = end
        remaining -= count
    if offset < frame_bytes and bad is None:
        bad = BadFrame(BadReason.TRAILING, offset, frame_bytes)
    return Packets(tokens, bodies, bad)


def _run_length(frame: bytes, offset: int, step: int, most: int) -> int:
    """Count the whole packets from `offset` on that have the length of the first one."""
    most = min(most, (len(frame) - offset) // step)
    # Two strided copies instead of a comparison per packet.
    count, end = most, offset + most * step
    for place in range(offset, offset + _PREFIX_BYTES):
        column = frame[place:end:step]
        count = min(count, most - len(column.lstrip(frame[place : place + 1])))
    return count


def repack_compiled(frame: bytes) -> Packets:
    """Do what `repack_in_python` does, by the extension, which has to be there."""
    tokens, bodies, damage, offset = loops.repack(frame)
    bad = None if damage is None else BadFrame(BadReason(damage), offset, len(frame))
    return Packets(tokens, bodies, bad)


repack_frame = repack_compiled if IS_COMPILED else repack_in_python
