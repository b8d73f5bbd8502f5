"""Builds what is streamed: instruments, and frames whose every packet can be told apart.

Nothing of kitefeed's codec is used here: the bytes, and what a reader must make of them
(`benchmarks.check`), are written from Kite's documentation, so that a fault of ours cannot hide.

A packet's last price is `first_price` of its run plus the number of its frame. Price and token name
the packet; all other fields are drawn from a seeded pool.
"""

import random
import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from benchmarks import mixes

NS = 1_000_000_000
INDEX_EVERY = 30  # 100 of 3,000 instruments are indices; Kite lists about as many
LISTED = 9_000
POOL = 1_021  # a prime, so that bodies do not fall into step with the instruments
FRAMES_MAX = 65_536  # of one run: the distance between two runs' prices
FIRST_PRICE = 1_000_000
UNPACED = -1
Scheme = Literal["ws", "wss"]

# NSE, NFO, CDS, BSE, BCD, MCX. NCO is left out: the official clients disagree about its divisor.
SEGMENTS = (1, 2, 3, 4, 6, 7)
INDEX_SEGMENT = 9
DIVISORS = {3: 10_000_000, 6: 10_000}  # those of currencies; 100 elsewhere
_EXCHANGES = {1: "NSE", 2: "NFO", 3: "CDS", 4: "BSE", 6: "BCD", 7: "MCX", 9: "NSE"}
_U16 = struct.Struct(">H")
_HEAD = struct.Struct(">II")
_RECORD = struct.Struct("<qI")


class Instrument(NamedTuple):
    token: int
    key: str


class BadShape(ValueError):
    """Frames that cannot be made: the text says of what there are too few."""


class Universe:
    """The first `count` of all instruments: indices, and tradables of several segments, of which
    some are currencies."""

    def __init__(self, count: int) -> None:
        self.all = [_instrument(number) for number in range(count)]
        self.indices = [i for i in self.all if i.token & 0xFF == INDEX_SEGMENT]
        self.tradables = [i for i in self.all if i.token & 0xFF != INDEX_SEGMENT]
        self.currencies = [i for i in self.all if i.token & 0xFF in DIVISORS]

    @property
    def keys(self) -> list[str]:
        return [instrument.key for instrument in self.all]

    def of(self, kind: str) -> list[Instrument]:
        """Those that have such packets."""
        if kind in mixes.INDEX_KINDS:
            return self.indices
        return self.currencies if kind == "currency" else self.tradables


def _instrument(number: int) -> Instrument:
    segment = SEGMENTS[number % len(SEGMENTS)] if number % INDEX_EVERY else INDEX_SEGMENT
    name = f"BENCH{number}" if number % INDEX_EVERY else f"INDEX {number}"
    return Instrument(((number + 1_000) << 8) | segment, f"{_EXCHANGES[segment]}:{name}")


class Shape(NamedTuple):
    """`per_s` packets per second in frames of `packets`; UNPACED: as fast as they are taken.
    `burst`: so many frames are due at once, 1 for an even stream. `mix`: benchmarks/mixes.py."""

    mix: str
    packets: int
    frames: int
    per_s: int = UNPACED
    burst: int = 1

    @property
    def ticks(self) -> int:
        return self.packets * self.frames

    @property
    def text(self) -> str:
        if self.per_s == UNPACED:
            return f"{self.frames} frames of {self.packets} {self.mix}"
        bursts = f", {self.burst} frames at once" if self.burst > 1 else ""
        return f"{self.per_s:,}/s, {self.packets} {self.mix} a frame{bursts}"


class Plan(msgspec.Struct):
    """One run. `due_ns` counts from its start; UNPACED for no wait."""

    first_price: int
    frames: list[bytes]
    due_ns: list[int]

    @property
    def ticks(self) -> int:
        return sum(_U16.unpack_from(frame)[0] for frame in self.frames)

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            file.write(_RECORD.pack(self.first_price, len(self.frames)))
            for due_ns, frame in zip(self.due_ns, self.frames, strict=True):
                file.write(_RECORD.pack(due_ns, len(frame)))
                file.write(frame)


def load(path: Path) -> Plan:
    data = path.read_bytes()
    first_price, count = _RECORD.unpack_from(data)
    plan = Plan(first_price, [], [])
    offset = _RECORD.size
    for _ in range(count):
        due_ns, length = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size
        plan.due_ns.append(due_ns)
        plan.frames.append(data[offset : offset + length])
        offset += length
    return plan


def packets_of(frame: bytes) -> Iterator[bytes]:
    offset = _U16.size
    for _ in range(_U16.unpack_from(frame)[0]):
        (length,) = _U16.unpack_from(frame, offset)
        offset += _U16.size
        yield frame[offset : offset + length]
        offset += length


def join(packets: Sequence[bytes]) -> bytes:
    """One frame of these packets."""
    return _U16.pack(len(packets)) + b"".join(_U16.pack(len(p)) + p for p in packets)


def token_of(packet: bytes) -> int:
    return int.from_bytes(packet[:4], "big")


def price_of(packet: bytes) -> int:
    """The last price as on the wire."""
    return int.from_bytes(packet[4:8], "big")


def divisor_of(token: int) -> int:
    return DIVISORS.get(token & 0xFF, 100)


class Builder:
    """Makes the plans of one benchmark: every run has prices of its own."""

    def __init__(self, seed: int = 1) -> None:
        rng = random.Random(seed)
        self._pools = {kind: [_body(kind, rng) for _ in range(POOL)] for kind in mixes.KINDS}
        self._runs = 0

    def plan(self, shape: Shape, universe: Universe) -> Plan:
        if shape.frames > FRAMES_MAX:
            raise BadShape(f"a run has at most {FRAMES_MAX:,} frames, not {shape.frames:,}")
        self._runs += 1
        first_price = FIRST_PRICE + self._runs * FRAMES_MAX
        kinds = mixes.sequence(shape.mix)
        turns = {kind: Turn(kind, universe.of(kind)) for kind in kinds}
        frames = []
        kind_of_next = cycle(kinds)  # over all frames: those of one packet are mixed, too
        for number in range(shape.frames):
            used: set[int] = set()
            price = first_price + number
            packets = [
                self.packet(kind, turns[kind].next_but(used), price)
                for kind in islice(kind_of_next, shape.packets)
            ]
            frames.append(join(packets))
        return Plan(first_price, frames, [_due_ns(shape, n) for n in range(shape.frames)])

    def packet(self, kind: str, token: int, price: int) -> bytes:
        body = self._pools[kind][(token * 31 + price * 7) % POOL]
        return _HEAD.pack(token, price) + body


class Turn:
    """The instruments of one kind of packet, one after the other."""

    def __init__(self, kind: str, among: list[Instrument]) -> None:
        self._kind = kind
        self._among = among
        self._position = 0

    def next_but(self, used: set[int]) -> int:
        """A token that is not in this frame yet, and from now on is: twice in a frame, two packets
        could not be told apart."""
        for _ in self._among:
            token = self._among[self._position % len(self._among)].token
            self._position += 1
            if token not in used:
                used.add(token)
                return token
        raise BadShape(
            f"a frame holds more {self._kind} packets than there are instruments for them, "
            f"{len(self._among):,}"
        )


def _due_ns(shape: Shape, number: int) -> int:
    if shape.per_s == UNPACED:
        return UNPACED
    return number // shape.burst * shape.burst * shape.packets * NS // shape.per_s


def _body(kind: str, rng: random.Random) -> bytes:
    """Everything behind token and last price; below 2**31, which kiteconnectjs reads as signed."""
    if kind == "ltp":
        return b""
    price = rng.randrange(100_000, 5_000_000)
    if kind in mixes.INDEX_KINDS:  # high low open close change, exchange time
        prices = struct.pack(">4Ii", price + 900, price - 900, price, price + 17, -17)
        return prices + struct.pack(">I", _time(rng)) if kind == "index" else prices
    quote = struct.pack(
        ">9I",
        rng.randrange(1, 5_000),  # last quantity
        price - rng.randrange(100),  # average
        rng.randrange(10_000, 90_000_000),  # volume
        rng.randrange(1_000, 9_000_000),  # total buy quantity
        rng.randrange(1_000, 9_000_000),  # total sell quantity
        price - rng.randrange(1_000),
        price + 2_000,
        price - 2_000,
        price - rng.randrange(1_000),
    )
    if kind == "quote":
        return quote
    oi = rng.randrange(1_000, 9_000_000)
    times_and_oi = struct.pack(">5I", _time(rng), oi, oi + 100, oi - 100, _time(rng))
    return quote + times_and_oi + b"".join(_level(price, n, rng) for n in range(10))


def _time(rng: random.Random) -> int:
    return 1_790_000_000 + rng.randrange(20_000)


def _level(price: int, number: int, rng: random.Random) -> bytes:
    return struct.pack(">IIHH", rng.randrange(1, 90_000), price + number * 5, rng.randrange(400), 0)


def read_stamps(path: Path) -> "array[int]":
    """Return when each frame was sent, in ns of the monotonic clock."""
    stamps = array("q")
    stamps.frombytes(path.read_bytes())
    return stamps
