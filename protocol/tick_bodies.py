"""Encoded tick bodies as they lie in a chunk: told apart, and checked, without being decoded.

Decoding a body costs as much as everything else that a reader does with it, and of most ticks a
program reads one field or none. The daemon writes the bodies of long runs of packets plainly: 19
elements, every number in four bytes, one layout for each kind of packet. A body with such a layout
certainly decodes. For any other body only the decoder knows, so it is decoded at once.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from itertools import chain, compress
from types import MappingProxyType

import msgspec

from kitefeed.protocol.feed import (
    ChunkMessage,
    FeedMessage,
    TickChunk,
    decode_body,
    decode_chunk_message,
)
from kitefeed.protocol.kite.ticks import DEPTH_BYTES, FULL, LTP, QUOTE, TickBody

Encoded = bytes | msgspec.Raw
# A body that was checked: as it came (bytes if it is plain, else `Raw`), or decoded.
Held = bytes | msgspec.Raw | TickBody
Bodies = msgspec.Raw | list[msgspec.Raw]  # of a chunk: the encoded list, or each body

_UINT32, _INT32, _NIL = b"\xce", b"\xd2", b"\xc0"  # msgpack's markers
_HEAD = b"\xdc\x00\x13" + _UINT32  # of an array of 19 that begins with a number
_DIVISOR_AT = 9  # its marker; a compact body has the number itself there
_RUN_BYTES_MIN = 1_500  # a run that the ticker writes plainly is longer than this
_DEPTH = b"\xc4" + bytes([DEPTH_BYTES])
_SIGNED = frozenset({"last_price", "average_traded_price", "open", "high", "low", "close"})
_TIMES = frozenset({"last_trade_time", "exchange_timestamp"})  # nil where zero
_ALWAYS = ("instrument_token", "divisor", "last_price")
_PRICES = ("open", "high", "low", "close")
_TRADED = (
    "last_traded_quantity", "average_traded_price", "volume_traded", "total_buy_quantity",
    "total_sell_quantity", *_PRICES,
)  # fmt: skip
_FULL_ONLY = (
    "last_trade_time", "oi", "oi_day_high", "oi_day_low", "exchange_timestamp", "depth",
)  # fmt: skip
# By kind of packet: its mode, and its fields.
_KINDS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (FULL, (*_ALWAYS, *_TRADED, *_FULL_ONLY)),
    (FULL, (*_ALWAYS, *_PRICES, "exchange_timestamp")),
    (QUOTE, (*_ALWAYS, *_TRADED)),
    (QUOTE, (*_ALWAYS, *_PRICES)),
    (LTP, _ALWAYS),
)
# Reads divisor and last price out of a plain body, and nothing else.
unpack_last_price = struct.Struct(">10xIxi").unpack_from

_decode_list = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Layout:
    """The layout of the plain bodies of one kind of packet. `size`: bytes, with all times; a body
    of another size has another layout. `places`: by field, where its four bytes are, and whether it
    is signed."""

    def __init__(self, mode: int, present: tuple[str, ...]) -> None:
        self._marks: list[tuple[int, bytes]] = []  # where a byte is the same in all
        self.pattern = b""
        self.size = 0
        self.places: dict[str, tuple[int, bool]] = {}
        self._add(_HEAD[:-1], 0)
        for name in TickBody.__struct_fields__:
            if name == "mode":
                self._add(bytes([mode]), 0)
            elif name not in present:
                self._add(_NIL, 0)
            elif name == "depth":
                self._add(_DEPTH, DEPTH_BYTES)
            else:
                self.places[name] = self.size + 1, name in _SIGNED
                self._add(_INT32 if name in _SIGNED else _UINT32, 4, is_time=name in _TIMES)
                if name == "divisor":
                    self.pattern = self.pattern[:-4] + b"(?!\\x00{4})...."  # as the decoder has it
        self._bodies = struct.Struct(f"{self.size}s")

    def _add(self, mark: bytes, width: int, *, is_time: bool = False) -> None:
        self._marks += [(self.size + n, mark[n : n + 1]) for n in range(len(mark))]
        self.size += len(mark) + width
        # Dots for short fields: one repeat costs the matcher as much as ten dots.
        rest = b"." * width if width < DEPTH_BYTES else b".{%d}+" % width
        part = re.escape(mark) + rest
        self.pattern += b"(?:%b|%b)" % (part, _NIL) if is_time else part

    def split(self, run: bytes, count: int) -> list[bytes] | None:
        """Split `run` into `count` bodies of this layout; None if it is anything else. It compares
        byte n of all of them at once."""
        size = self.size
        for at, mark in self._marks:
            if run[at::size] != mark * count:
                return None
        if 0 in run[_DIVISOR_AT + 4 :: size]:  # no divisor of Kite's ends so, and zero is refused
            return None
        return [*chain.from_iterable(self._bodies.iter_unpack(run))]


LAYOUTS: Mapping[int, Layout] = MappingProxyType(
    {layout.size: layout for layout in (Layout(*kind) for kind in _KINDS)}
)
_PLAIN = b"|".join(layout.pattern for layout in LAYOUTS.values())
_match_plain = re.compile(_PLAIN, re.DOTALL).fullmatch
# The first body that is not plain ends the search: searching on would cost its square.
_find_plain = re.compile(_PLAIN + b"|.+", re.DOTALL).findall


class _WholeChunk(TickChunk):
    bodies: msgspec.Raw  # type: ignore[assignment]  # of the whole list


class _WholeMessage(FeedMessage):
    body: _WholeChunk  # type: ignore[assignment]


_decode_whole = msgspec.msgpack.Decoder(_WholeMessage).decode


def decode_chunk(array: bytes) -> ChunkMessage | _WholeMessage:
    """Decode a message of `ticks/all`, for `bodies_of`. Raises as decoders do."""
    # The last body most likely tells how all are written; both ways are right for any message.
    if len(array) > _RUN_BYTES_MIN:
        last = array.rfind(_HEAD) + _DIVISOR_AT
        if array[last : last + 1] == _UINT32:
            return _decode_whole(array)
    return decode_chunk_message(array)


def bodies_of(
    encoded: Bodies, count: int, wanted: Sequence[bool] | None = None
) -> tuple[Sequence[bytes], Sequence[Held]]:
    """Return the bodies of a chunk twice: as they came, and checked. `count`: how many it has to
    have. `wanted`: which of them matter; the others are neither given nor checked. Raises what
    `decode_body` raises for any body that it refuses, and DecodeError for another number of
    them."""
    if not isinstance(encoded, list):
        whole = bytes(encoded)
        plain = split_plain(whole, count)
        if plain is not None:
            bodies = plain if wanted is None else [*compress(plain, wanted)]
            return bodies, bodies
        encoded = _decode_list(whole)
    if len(encoded) != count:
        raise msgspec.ValidationError(f"{len(encoded)} bodies instead of {count}")
    if wanted is not None:
        encoded = [*compress(encoded, wanted)]
    held = [*map(decode_body, encoded)]
    return [*map(bytes, encoded)], held


def split_plain(encoded: bytes, count: int) -> list[bytes] | None:
    """Split an encoded list of `count` bodies; None unless all are plain."""
    if not 0 < count <= 0xFFFF or encoded[:3] != b"\xdc" + count.to_bytes(2, "big"):
        return None
    run = encoded[3:]
    layout = LAYOUTS.get(len(run) // count)
    if layout is not None and len(run) == layout.size * count:
        found = layout.split(run, count)
        if found is not None:
            return found
    # The matches leave no byte out, and only the last one may not be plain.
    found = _find_plain(run)
    return found if len(found) == count and is_plain(found[-1]) else None


def is_plain(body: bytes) -> bool:
    """Whether the body is plain, so that it certainly decodes."""
    return _match_plain(body) is not None


def token_of(plain: bytes) -> int:
    """Return the instrument token of a plain body."""
    return int.from_bytes(plain[4:8], "big")
