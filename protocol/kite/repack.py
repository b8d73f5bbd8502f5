"""Kite's binary frames as tick bodies: the ticker's hot path.

A frame of a busy socket is mostly equal packets. They are read run by run with one precompiled
struct each and become plain tuples, which msgpack writes all at once as it would `TickBody`s: no
object per tick is built and no field is looked at twice.
"""

import struct
from collections.abc import Callable, Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from kitefeed.protocol.kite.ticks import (
    DIVISORS,
    FULL,
    LTP,
    QUOTE,
    BadFrame,
    BadReason,
)

_PREFIX_BYTES = 2  # the packet count of a frame, and the length before each packet
_RUN_MAX = 256  # looked for at a time: a frame of alternating kinds must not cost its square

# The layouts are in `ticks`; here each begins with the length prefix, which is skipped.
_LTP = struct.Struct(">2xIi")
_INDEX_QUOTE = struct.Struct(">2xI5i4x")
_INDEX_FULL = struct.Struct(">2xI5i4xI")
_QUOTE = struct.Struct(">2xIiIiIII4i")
_FULL = struct.Struct(">2xIiIiIII4i5I120s")

Row = tuple[Any, ...]
"""A `TickBody` as a tuple: its 19 fields in order."""

_token_of = itemgetter(0)


class Packets(NamedTuple):
    """What could be read of a frame, in order, and the first damage. `tokens`: of the rows."""

    tokens: list[int]
    rows: list[Row]
    bad: BadFrame | None


Take = Callable[[memoryview], list[Row]]


# fmt: off
def _take_ltp(run: memoryview) -> list[Row]:
    return [
        (
            token, LTP, DIVISORS[token & 0xFF], last, None, None, None, None, None,
            None, None, None, None, None, None, None, None, None, None,
        )
        for token, last in _LTP.iter_unpack(run)
    ]


def _take_quote(run: memoryview) -> list[Row]:
    return [
        (
            token, QUOTE, DIVISORS[token & 0xFF], last, quantity, average, volume, buy, sell,
            open_, high, low, close, None, None, None, None, None, None,
        )
        for token, last, quantity, average, volume, buy, sell,
            open_, high, low, close in _QUOTE.iter_unpack(run)
    ]


def _take_index_quote(run: memoryview) -> list[Row]:
    return [
        (
            token, QUOTE, DIVISORS[token & 0xFF], last, None, None, None, None, None,
            open_, high, low, close, None, None, None, None, None, None,
        )
        for token, last, high, low, open_, close in _INDEX_QUOTE.iter_unpack(run)
    ]


def _take_index_full(run: memoryview) -> list[Row]:
    return [
        (
            token, FULL, DIVISORS[token & 0xFF], last, None, None, None, None, None,
            open_, high, low, close, None, None, None, None, time or None, None,
        )
        for token, last, high, low, open_, close, time in _INDEX_FULL.iter_unpack(run)
    ]


def _take_full(run: memoryview) -> list[Row]:
    # Names of this function are faster than those of the module, and this is the hottest loop.
    full, divisors = FULL, DIVISORS
    return [
        (
            token, full, divisors[token & 0xFF], last, quantity, average, volume, buy, sell,
            open_, high, low, close, trade_time or None, oi, oi_high, oi_low, time or None, depth,
        )
        for token, last, quantity, average, volume, buy, sell, open_, high, low, close,
            trade_time, oi, oi_high, oi_low, time, depth in _FULL.iter_unpack(run)
    ]
# fmt: on


_KINDS: Mapping[int, Take] = MappingProxyType(
    {
        _LTP.size - _PREFIX_BYTES: _take_ltp,
        _INDEX_QUOTE.size - _PREFIX_BYTES: _take_index_quote,
        _INDEX_FULL.size - _PREFIX_BYTES: _take_index_full,
        _QUOTE.size - _PREFIX_BYTES: _take_quote,
        _FULL.size - _PREFIX_BYTES: _take_full,
    }
)


def repack_frame(frame: bytes) -> Packets:
    """Every readable packet of one binary frame, and the first damage found, if any.

    Never raises. Packets before the damage are kept; a packet of no known length is stepped over
    by its length prefix and the packets after it are kept too. A heartbeat is no packets and no
    damage. The kind of a packet is told by its length alone, as the official client does.
    """
    rows: list[Row] = []
    bad = _read(frame, rows)
    return Packets([*map(_token_of, rows)], rows, bad)


def _read(frame: bytes, rows: list[Row]) -> BadFrame | None:
    """Adds to `rows`; returns the first damage."""
    frame_bytes = len(frame)
    if frame_bytes < _PREFIX_BYTES:
        return None if frame_bytes else BadFrame(BadReason.EMPTY, 0, 0)
    bad = None
    view = memoryview(frame)
    offset = _PREFIX_BYTES
    remaining = int.from_bytes(frame[:_PREFIX_BYTES], "big")
    while remaining:
        length, count = _next_run(frame, offset, remaining)
        end = offset + count * (_PREFIX_BYTES + length)
        if not count:
            return bad or BadFrame(BadReason.TRUNCATED, offset, frame_bytes)
        take = _KINDS.get(length)
        if take is not None:
            rows += take(view[offset:end])
        elif bad is None:
            bad = BadFrame(BadReason.PACKET_LENGTH, offset, frame_bytes)
        offset = end
        remaining -= count
    if offset < frame_bytes and bad is None:
        bad = BadFrame(BadReason.TRAILING, offset, frame_bytes)
    return bad


def _next_run(frame: bytes, offset: int, remaining: int) -> tuple[int, int]:
    """Length of the packet at `offset`, and how many of that length follow one another there; no
    packets when not even one is whole."""
    prefix = frame[offset : offset + _PREFIX_BYTES]
    if len(prefix) < _PREFIX_BYTES:
        return 0, 0
    length = prefix[0] << 8 | prefix[1]
    step = _PREFIX_BYTES + length
    most = min(remaining, (len(frame) - offset) // step, _RUN_MAX)
    if most <= 1:
        return length, most
    # Two strided copies instead of a comparison per packet.
    end = offset + most * step
    count = most
    for place in range(_PREFIX_BYTES):
        column = frame[offset + place : end : step]
        count = min(count, most - len(column.lstrip(prefix[place : place + 1])))
    return length, count
