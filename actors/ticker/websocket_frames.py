"""Whole binary WebSocket messages (RFC 6455) straight out of a byte stream. Pure.

Autobahn takes some 150 us for any message, however small: as much as all else that happens to 90
ticks. Kite sends almost nothing but whole, unmasked, unfragmented binary messages; any other form
is left to autobahn.
"""

from typing import NamedTuple

_BINARY = 0x82  # final fragment, no extension, opcode 2
_HEADER_BYTES = 2
_LENGTH_16, _LENGTH_64 = 126, 127  # larger ones carry the mask bit, and are not a server's


class StreamHead(NamedTuple):
    """The beginning of a byte stream. payloads: of its first whole messages. rest: the bytes behind
    them. is_ours: whether the rest may become another such message when more bytes come."""

    payloads: list[bytes]
    rest: bytes
    is_ours: bool


def binary_messages(stream: bytes, payload_bytes_max: int) -> StreamHead:
    """Split whole binary messages off; never raises. A length above the limit, or one that is not
    written in the shortest form, is left in the rest: autobahn then fails the connection."""
    payloads: list[bytes] = []
    offset, is_ours = 0, True
    while len(stream) - offset >= _HEADER_BYTES:
        first, code = stream[offset], stream[offset + 1]
        start, length = offset + _HEADER_BYTES, code
        if first != _BINARY or code > _LENGTH_64:
            is_ours = False
            break
        if code >= _LENGTH_16:
            start += 2 if code == _LENGTH_16 else 8
            length = int.from_bytes(stream[offset + _HEADER_BYTES : start], "big")
            if len(stream) < start:
                break
            if length < (_LENGTH_16 if code == _LENGTH_16 else 0x1_0000):
                is_ours = False
                break
        if length > payload_bytes_max:
            is_ours = False
            break
        if start + length > len(stream):
            break
        payloads.append(stream[start : start + length])
        offset = start + length
    else:
        is_ours = stream[offset:] in (b"", bytes([_BINARY]))
    return StreamHead(payloads, stream[offset:], is_ours)
