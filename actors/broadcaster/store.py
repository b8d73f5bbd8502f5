"""The last value of every instrument, in memory and as a file.

File: msgpack array `[version, gen, checksum, rows]`, rows being the encoded array of `Saved`, the
checksum blake2b-256 of all the rest. It is replaced as a whole; one that cannot be read is set
aside, never repaired.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from kitefeed._hot import IS_COMPILED
from kitefeed.protocol.feed import DECODE_ERRORS, Flag
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.instruments import LIST_MAX
from kitefeed.protocol.topics import NUL

FILE_VERSION = 2
FILE_BYTES_MAX = 32 * 1_048_576  # 9,000 values take about 2 MB
# Kept 24 h or until the next session's first tick, whichever is later: a value goes once another
# one is newer by this much.
KEPT_NS = 24 * 3_600 * NS_PER_S
RETIRED_MAX = 50_000
# Plain integers: one operation on an IntFlag costs a microsecond, more than all else per tick.
FIRST_PACKET = int(Flag.FIRST_PACKET)
CACHED = int(Flag.CACHED)
SOURCE_FLAGS = FIRST_PACKET


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The source of values; one for all values of a batch. `received_boot_ns` is negative for those
    that are older than this boot."""

    shard: int
    epoch: int
    source: int
    received_boot_ns: int


@dataclass(slots=True, eq=False)
class PythonValue:
    """One last value. `head`: its topic with the NUL, as its frames begin. The same object serves
    as long as the topic is known: a tick changes it in place (half the time it takes in a
    Struct)."""

    head: bytes
    seq: int
    origin: Origin
    flags: int
    body: bytes


if TYPE_CHECKING or not IS_COMPILED:
    Value = PythonValue
else:
    from kitefeed._hot.loops import Value


class Saved(msgspec.Struct, array_like=True, gc=False):
    """One row of the file. `received_utc_ns`: wall clock, the only one that survives a boot."""

    topic: bytes
    shard: int
    epoch: int
    source: int
    flags: int
    received_utc_ns: int
    body: bytes


class _File(msgspec.Struct, array_like=True):
    version: int
    gen: int
    checksum: bytes
    rows: bytes


class Damaged(ValueError):
    """A file that cannot be used; the text says why."""


_encoder = msgspec.msgpack.Encoder()
_decode_file = msgspec.msgpack.Decoder(_File).decode
_decode_rows = msgspec.msgpack.Decoder(list[Saved]).decode


class LastValues:
    """Values by topic (no NUL). `version` changes with every put, so that a save knows whether
    there is anything new."""

    def __init__(self) -> None:
        self._values: dict[bytes, Value] = {}
        self._retired: dict[bytes, int] = {}  # last seq of expired topics: it must never fall
        self._floor = 0  # highest seq that even `_retired` had to forget
        self._newest_ns: int | None = None
        self.version = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._values)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, topic: bytes) -> bool:
        return topic in self._values

    def get(self, topic: bytes) -> Value | None:
        return self._values.get(topic)

    def get_all(self, topics: list[bytes]) -> list[Value] | None:
        """Return the values of all of these; None when one is not known. It makes no call of ours
        per tick."""
        try:
            return [*map(self._values.__getitem__, topics)]
        except KeyError:
            return None

    def admit(self, topic: bytes, origin: Origin) -> Value:
        """Make the value of a new topic, still without a body; its seq goes on where it was once.
        It is kept, unless the table is full: then each of its ticks is passed on uncounted."""
        if len(self._values) >= LIST_MAX:
            self.refused += 1
            return Value(topic + NUL, -1, origin, 0, b"")
        seq = self._retired.pop(topic, self._floor)
        value = self._values[topic] = Value(topic + NUL, seq, origin, 0, b"")
        return value

    def changed(self, event_ns: int | None) -> None:
        """Note that values were put. event_ns: when they were received, if one is more than a
        cached packet."""
        self.version += 1
        if event_ns is not None:
            self._newest_ns = event_ns

    def matching(self, prefix: bytes) -> Iterator[tuple[bytes, Value]]:
        """Return the values whose topic with its NUL starts with `prefix`."""
        if prefix.endswith(NUL):
            value = self._values.get(prefix[:-1])
            return iter([(prefix[:-1], value)] if value else [])
        return ((t, v) for t, v in self._values.items() if t.startswith(prefix))

    def topics(self, prefix: bytes) -> list[bytes]:
        """Return the topics that start with `prefix`."""
        return [topic for topic in self._values if topic.startswith(prefix)]

    def expire(self) -> None:
        """Drop what is older than the newest event of this life by more than `KEPT_NS`."""
        if self._newest_ns is None:
            return
        horizon_ns = self._newest_ns - KEPT_NS
        for topic in [t for t, v in self._values.items() if v.origin.received_boot_ns < horizon_ns]:
            self._retired[topic] = self._values.pop(topic).seq
            if len(self._retired) > RETIRED_MAX:
                oldest = next(iter(self._retired))
                self._floor = max(self._floor, self._retired.pop(oldest))
            self.version += 1

    def load(self, rows: list[Saved], *, now_ns: int, utc_ns: int) -> None:
        """Take in the values of a file, with their true age, unless something newer is here
        already."""
        for row in rows[:LIST_MAX]:
            if row.topic in self._values:
                continue
            age_ns = max(0, utc_ns - row.received_utc_ns)
            origin = Origin(row.shard, row.epoch, row.source, now_ns - age_ns)
            flags = row.flags | CACHED
            self._values[row.topic] = Value(row.topic + NUL, 0, origin, flags, row.body)

    def rows(self, *, now_ns: int, utc_ns: int) -> list[Saved]:
        """Return the rows of the file."""
        offset_ns = utc_ns - now_ns
        return [
            Saved(
                topic=topic,
                shard=value.origin.shard,
                epoch=value.origin.epoch,
                source=value.origin.source,
                flags=value.flags & SOURCE_FLAGS,
                received_utc_ns=value.origin.received_boot_ns + offset_ns,
                body=value.body,
            )
            for topic, value in self._values.items()
        ]


def encode_file(gen: int, rows: list[Saved]) -> bytes:
    encoded = _encoder.encode(rows)
    return _encoder.encode(_File(FILE_VERSION, gen, _checksum(gen, encoded), encoded))


def decode_file(data: bytes) -> tuple[int, list[Saved]]:
    """Return the gen that wrote the file, and its rows. Raises Damaged."""
    try:
        file = _decode_file(data)
        if file.version != FILE_VERSION:
            raise Damaged(f"it has version {file.version}, this program knows {FILE_VERSION}")
        if file.checksum != _checksum(file.gen, file.rows):
            raise Damaged("its checksum is wrong")
        return file.gen, _decode_rows(file.rows)
    except DECODE_ERRORS as error:
        raise Damaged(f"it is not a file of last values ({error})") from None


def _checksum(gen: int, rows: bytes) -> bytes:
    """Sum up rows and gen: the next life counts on from the gen, and a wrong one might not fit the
    wire."""
    return hashlib.blake2b(_encoder.encode([FILE_VERSION, gen]) + rows, digest_size=32).digest()
