"""A segment of a recording: feed frames as they came, and notes of what was missed between them, in
blocks that each stand for themselves. Pure: bytes in, bytes out. docs/recording-format.md describes
it.

A file is `HEAD`, then blocks. A block is 36 bytes of head and a payload, which may be compressed; a
checksum covers both. Whatever befalls a file, every whole block in it is found and read.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from datetime import datetime
from enum import IntEnum
from importlib import import_module
from typing import Any, NamedTuple

import msgspec

from kitefeed.protocol.kite.units import IST, NS_PER_S

MAGIC = b"\x89KFREC\r\n"
VERSION = 1
HEAD = MAGIC + struct.pack(">HH", VERSION, 0)
SUFFIX = ".kfrec"
DAY_NAME = re.compile(r"\d{4}-\d\d-\d\d\Z")  # a folder, one for each day in India
SEGMENT_NAME = re.compile(r"\d{6}-\d{3}\.kfrec\Z")  # a file in it, by its first moment: HHMMSS-ms
HOUR_NS = 3_600 * NS_PER_S
_IST_NS = 19_800 * NS_PER_S

MARK = b"KFB\x01"
# mark, kind, codec, flags, bytes stored, bytes unpacked, first and last time (UTC ns), checksum
_BLOCK = struct.Struct(">4sBBHIIQQI")
_RECORD = struct.Struct(">BQI")  # type, time (UTC ns), bytes
BLOCK_HEAD_BYTES = _BLOCK.size
BLOCK_BYTES_MAX = 16_777_216  # unpacked; whoever writes stays far below
_CHECKED = BLOCK_HEAD_BYTES - 4


class Kind(IntEnum):
    """The kinds of a block. Others are passed over."""

    HEADER = 1  # the first block, holds a `Header`
    RECORDS = 2
    END = 3  # the last block of a sealed segment, holds an `End`


HAS_NOTES = 1  # flag of a block: some of its records are no frames


class Codec(IntEnum):
    """The ways to compress a payload."""

    NONE = 0
    ZLIB = 1
    ZSTD = 2


class Type(IntEnum):
    """The types of a record. Others are passed over."""

    FRAME = 1  # a feed frame, as it came (docs/wire-format.md)
    GAP = 2  # a `Gap`
    INSTRUMENTS = 3  # an array of `Described`: more than the header has


class Described(msgspec.Struct, array_like=True, frozen=True):
    """An instrument as the day's list describes it; a field that the list lacks is empty.

    segment: the low byte of the token. expiry: ISO date. kind: EQ, FUT, CE, PE. Prices of its ticks
    are divided by `divisor`.
    """

    token: int
    key: str
    divisor: int
    segment: int
    name: str = ""
    expiry: str = ""
    strike: float = 0.0
    kind: str = ""
    lot_size: int = 0
    tick_size: float = 0.0


class Header(msgspec.Struct):
    """The content of the first block. day: ISO date in India. started_ns: UTC. writer: version of
    kitefeed."""

    version: int
    day: str
    started_ns: int
    writer: str
    instruments: list[Described] = []


class Gap(msgspec.Struct, array_like=True, frozen=True):
    """A stretch of which not everything was recorded, UTC ns.

    reason: stopped, killed, silence, restart, lost, slow, disk, or damaged (never written: of what
    lies damaged in the file). healed: the last values came whole afterwards, so that only ticks in
    between are missing. lost: messages that are known to be missing, 0 when it is not known.
    The same gap may be told twice, again when it has healed: the later record counts.
    """

    from_ns: int
    to_ns: int
    reason: str
    healed: bool = False
    lost: int = 0
    detail: str = ""


class End(msgspec.Struct):
    """The last block of a sealed segment. reason: hour (the next segment follows), stopped, or
    killed (sealed by the next start)."""

    reason: str
    records: int = 0
    frames: int = 0


class Block(NamedTuple):
    """A whole block as it lies in the file, from `offset` to `end`. Times: of its first and last
    record, UTC ns."""

    kind: int
    codec: int
    flags: int
    first_ns: int
    last_ns: int
    offset: int
    end: int
    unpacked_bytes: int
    stored: bytes


class Damage(NamedTuple):
    """The bytes from `offset` to `end` that are no block."""

    offset: int
    end: int
    why: str


class Record(NamedTuple):
    """One record. `t_ns`: when it was written down, UTC."""

    type: int
    t_ns: int
    data: bytes


class BadRecording(ValueError):
    """The recording cannot be read. The text is a sentence with the remedy."""


encode = msgspec.msgpack.Encoder().encode
decode_header = msgspec.msgpack.Decoder(Header).decode
decode_gap = msgspec.msgpack.Decoder(Gap).decode
decode_end = msgspec.msgpack.Decoder(End).decode
decode_instruments = msgspec.msgpack.Decoder(list[Described]).decode


# --- names --------------------------------------------------------------------------------------


def day_of(utc_ns: int) -> str:
    """Return the day in India, as an ISO date."""
    return datetime.fromtimestamp(utc_ns // NS_PER_S, IST).date().isoformat()


def hour_of(utc_ns: int) -> int:
    """Return a number for each hour of India's clock."""
    return (utc_ns + _IST_NS) // HOUR_NS


def segment_name(utc_ns: int) -> str:
    """Return the name of a segment that begins now, in the folder of its day."""
    millis = utc_ns // 1_000_000
    return f"{datetime.fromtimestamp(millis // 1_000, IST):%H%M%S}-{millis % 1_000:03d}{SUFFIX}"


# --- writing ------------------------------------------------------------------------------------


def encode_record(kind: int, t_ns: int, data: bytes) -> bytes:
    return _RECORD.pack(kind, t_ns, len(data)) + data


def encode_block(
    kind: int, payload: bytes, first_ns: int, last_ns: int, codec: int, flags: int = 0
) -> bytes:
    """Encode one block. A payload that does not shrink is stored as it is."""
    stored = compress(codec, payload)
    if len(stored) >= len(payload):
        codec, stored = Codec.NONE, payload
    head = _BLOCK.pack(MARK, kind, codec, flags, len(stored), len(payload), first_ns, last_ns, 0)
    checked = head[:_CHECKED]
    checksum = zlib.crc32(stored, zlib.crc32(checked))
    return b"".join((checked, checksum.to_bytes(4, "big"), stored))


# --- reading ------------------------------------------------------------------------------------


def check_head(data: Any) -> None:
    """Raise BadRecording unless this is a segment of a version that is known here."""
    head = bytes(data[: len(HEAD)])
    if not head:
        raise BadRecording("it is empty")
    if not head.startswith(MAGIC):
        raise BadRecording("it is no recording of kitefeed, or its first bytes are damaged")
    version = int.from_bytes(head[len(MAGIC) : len(MAGIC) + 2], "big")
    if len(head) < len(HEAD) or version != VERSION:
        raise BadRecording(
            f"its format is version {version}, and this kitefeed reads {VERSION}: use a newer one"
        )


def blocks(
    data: Any, offset: int = len(HEAD), *, has_notes: bool = False
) -> Iterator[Block | Damage]:
    """Yield whole blocks, and the damage between them, from `offset` on, in order. `data`: bytes,
    or what has length, slices and `find` as these. A torn tail is a Damage that reaches the end.

    has_notes: blocks of nothing but frames are passed over by their heads, unread and unchecked.
    """
    size = len(data)
    while offset < size:
        if has_notes and (end := _end_of_frames(data, offset)):
            offset = end
            continue
        found = _block_at(data, offset, size)
        if isinstance(found, Block):
            yield found
            offset = found.end
            continue
        end = _next_block(data, offset + 1, size)
        yield Damage(offset, end, found)
        offset = end


def _block_at(data: Any, offset: int, size: int) -> Block | str:
    """Return the block there, or the reason why there is none."""
    head = bytes(data[offset : offset + BLOCK_HEAD_BYTES])
    if len(head) < BLOCK_HEAD_BYTES:
        return "torn"
    mark, kind, codec, flags, stored_bytes, unpacked, first_ns, last_ns, checksum = _BLOCK.unpack(
        head
    )
    if mark != MARK or max(stored_bytes, unpacked) > BLOCK_BYTES_MAX:
        return "no block begins here"
    end = offset + BLOCK_HEAD_BYTES + stored_bytes
    if end > size:
        return "torn"
    stored = bytes(data[offset + BLOCK_HEAD_BYTES : end])
    if len(stored) < stored_bytes:  # the file was cut off since
        return "torn"
    if zlib.crc32(stored, zlib.crc32(head[:_CHECKED])) != checksum:
        return "its checksum is wrong"
    return Block(kind, codec, flags, first_ns, last_ns, offset, end, unpacked, stored)


def _end_of_frames(data: Any, offset: int) -> int:
    """Return the end of the block that begins there, if it holds frames alone and another follows;
    else 0."""
    head = bytes(data[offset : offset + BLOCK_HEAD_BYTES])
    if len(head) < BLOCK_HEAD_BYTES:
        return 0
    mark, kind, _, flags, stored_bytes, *_ = _BLOCK.unpack(head)
    if mark != MARK or kind != Kind.RECORDS or flags & HAS_NOTES:
        return 0
    end: int = offset + BLOCK_HEAD_BYTES + stored_bytes
    return end if bytes(data[end : end + len(MARK)]) == MARK else 0


def _next_block(data: Any, offset: int, size: int) -> int:
    """Return the offset of the next whole block; `size` when there is none."""
    while (offset := data.find(MARK, offset)) >= 0:
        if isinstance(_block_at(data, offset, size), Block):
            return offset
        offset += 1
    return size


def last_blocks(data: Any) -> int:
    """Return an offset from which to read the last block of a file: no later than the last but one,
    and before the first damage. It looks at the heads alone, which is quick in a file of
    gigabytes."""
    before = offset = len(HEAD)
    while len(head := bytes(data[offset : offset + BLOCK_HEAD_BYTES])) == BLOCK_HEAD_BYTES:
        mark, _, _, _, stored_bytes, *_ = _BLOCK.unpack(head)
        end = offset + BLOCK_HEAD_BYTES + stored_bytes
        if mark != MARK or end > len(data):
            break
        before, offset = offset, end
    return before


def records(block: Block) -> Iterator[Record]:
    """Yield the records of a block. Raises BadRecording for a block that this Python cannot unpack,
    or that was written wrong."""
    payload = unpack(block)
    offset = 0
    while offset < len(payload):
        if len(payload) - offset < _RECORD.size:
            raise BadRecording("a record in it is cut short")
        kind, t_ns, count = _RECORD.unpack_from(payload, offset)
        offset += _RECORD.size
        if len(payload) - offset < count:
            raise BadRecording("a record in it is cut short")
        yield Record(kind, t_ns, payload[offset : offset + count])
        offset += count


def unpack(block: Block) -> bytes:
    """Return the payload. Raises BadRecording."""
    payload = decompress(block.codec, block.stored, block.unpacked_bytes)
    if len(payload) != block.unpacked_bytes:
        raise BadRecording("a block in it has another length than it says")
    return payload


# --- compression --------------------------------------------------------------------------------

ZLIB_LEVEL = 1
ZSTD_LEVEL = 3


def best_codec() -> Codec:
    """Choose zstd where there is one: it takes a third of zlib's time, and less room."""
    return Codec.ZLIB if _zstd() is None else Codec.ZSTD


def _zstd() -> Any:
    """Import the module of Python 3.14, or the same for older ones; None without."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ModuleNotFoundError:
            pass
    return None


def compress(codec: int, payload: bytes) -> bytes:
    match codec:
        case Codec.ZLIB:
            return zlib.compress(payload, ZLIB_LEVEL)
        case Codec.ZSTD:
            return bytes(_zstd().compress(payload, ZSTD_LEVEL))
    return payload


def decompress(codec: int, stored: bytes, bytes_max: int) -> bytes:
    """Return at most `bytes_max` bytes. Raises BadRecording."""
    match codec:
        case Codec.NONE:
            return stored
        case Codec.ZLIB:
            try:
                return zlib.decompressobj().decompress(stored, bytes_max) if bytes_max else b""
            except zlib.error as error:
                raise BadRecording(f"a block in it cannot be unpacked: {error}") from None
        case Codec.ZSTD:
            return _decompress_zstd(stored, bytes_max)
    raise BadRecording(f"a block in it is compressed in a way not known here ({codec})")


def _decompress_zstd(stored: bytes, bytes_max: int) -> bytes:
    zstd = _zstd()
    if zstd is None:
        raise BadRecording(
            "it is compressed with zstd, which is not installed: pip install 'kitefeed[record]'"
        )
    try:
        return bytes(zstd.ZstdDecompressor().decompress(stored, bytes_max))
    except zstd.ZstdError as error:
        raise BadRecording(f"a block in it cannot be unpacked: {error}") from None
