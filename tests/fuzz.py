"""The compiled loops beside their twins in Python, on random input, half of it damaged:
`python -m tests.fuzz --n 1000000 --seed 1`.

Both get the same and must give the same, or raise the same. The first input on which they differ
ends it, and is printed with its seed.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any, NamedTuple

from kitefeed._hot import IS_COMPILED
from kitefeed.actors.broadcaster.store import Origin, PythonValue, Value
from kitefeed.actors.broadcaster.ticks import Ticks, Wanted, keep_compiled, keep_in_python
from kitefeed.client.tick import Staleness, Tick
from kitefeed.client.view import View
from kitefeed.protocol.feed import SnapshotEnd, TickFrames, encode
from kitefeed.protocol.kite.repack import repack_compiled, repack_in_python
from kitefeed.protocol.kite.ticks import frame_of_packets
from kitefeed.protocol.tick_bodies import is_plain
from kitefeed.protocol.topics import TICKS_TOPIC

_LENGTHS = (8, 28, 32, 44, 184)
# Where numbers change their width or their sign on the wire, and the segments with other divisors.
_EDGES = [n.to_bytes(4, "big") for n in (
    0, 1, 3, 6, 9, 12, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000,
    0xFFFF_7FFF, 0xFFFF_8000, 0xFFFF_FF7F, 0xFFFF_FF80, 0xFFFF_FFDF, 0xFFFF_FFE0, 0xFFFF_FFFF,
)]  # fmt: skip
_RUNS = (1, 1, 1, 2, 5, 43, 44, 45, 46, 90, 255, 256, 257, 301)


class Loop(NamedTuple):
    """One loop: what makes its input, and the two that take it."""

    make: Callable[[Random], Any]
    python: Callable[[Any], object]
    compiled: Callable[[Any], object]


class Differs(AssertionError):
    """The two builds are not the same."""


def packet(random: Random) -> bytes:
    """One of a known length, of any bytes or of numbers at edges; seldom one of another length."""
    length = random.choice(_LENGTHS)
    if random.random() < 0.02:
        length = random.randrange(200)
    if random.random() < 0.5:
        return random.randbytes(length)
    return b"".join(random.choices(_EDGES, k=length // 4 + 1))[:length]


def frame(random: Random) -> bytes:
    """One of Kite's binary frames: few packets or many, each alone or in runs of its length."""
    packets: list[bytes] = []
    for _ in range(random.choice((0, 1, 1, 2, 3, 8))):
        one = packet(random)
        run = random.choice(_RUNS) if random.random() < 0.1 else 1
        packets += [one[:4] + random.randbytes(len(one) - 4) if len(one) > 4 else one
                    for _ in range(run - 1)]  # fmt: skip
        packets.append(one)
    return damaged(frame_of_packets(packets), random)


def damaged(data: bytes, random: Random) -> bytes:
    """Half of the time as it is; else cut, longer, or with other bytes in it."""
    match random.randrange(8):
        case 0:
            return data[: random.randrange(len(data) + 1)]
        case 1:
            return data + random.randbytes(random.randrange(1, 9))
        case 2 | 3 if data:
            changed = bytearray(data)
            # Lengths stand at the beginning: there more often than anywhere.
            for _ in range(random.randrange(1, 4)):
                reach = len(data) if random.random() < 0.5 else min(len(data), 12)
                changed[random.randrange(reach)] = random.randrange(256)
            return bytes(changed)
        case _:
            return data


class Batch(NamedTuple):
    """The state of the broadcaster before it keeps a batch. `values`: head and seq of each that is
    there; `order`: which of them the ticks are of, some of them twice."""

    values: list[tuple[bytes, int]]
    order: list[int]
    bodies: list[bytes]
    flags: list[int]
    wanted: Wanted


def batch(random: Random) -> Batch:
    """Ticks for all kinds of listeners; seldom with a body that is none, or numbers at an end."""
    count = random.choice((1, 1, 2, 3, 15, 16, 17, random.randrange(1, 300)))
    topics = [
        b"tick/" + random.randbytes(random.choice((0, 3, 20, 250, 260))) for _ in range(count)
    ]
    seqs = (-1, 0, 126, 127, 255, 65_534, 65_535, 2**32 - 2, 2**32 - 2, random.randrange(2**32 - 1))
    if random.random() < 0.05:
        seqs = (2**32 - 1, 2**40)
    values = [(topic + b"\0", random.choice(seqs)) for topic in topics]
    order = [random.randrange(count) for _ in range(random.choice((count, count, 3)))]
    bodies: list[Any] = [random.randbytes(random.choice((0, 1, 50, 200, 300))) for _ in order]
    if random.random() < 0.02:
        bodies[random.randrange(len(bodies))] = random.choice((None, "text", 7))
    flags = [random.choice((0, 16)) for _ in order] if random.random() < 0.5 else []
    exact = {random.choice(topics): 1 for _ in range(random.choice((0, 1, 5)))}
    prefixes = tuple(random.choice(topics)[:7] for _ in range(random.choice((0, 0, 1, 3))))
    chunk_seq = random.choice((None, 1, 2**32 - 1))
    wanted = Wanted(random.choice((None, {}, exact)), prefixes, chunk_seq)
    return Batch(values, order, bodies, flags, wanted)


ORIGIN = Origin(1, 2, 1, 3)
WRITER_GEN = 1_790_000_000_000_000_000
WRITER = TickFrames(WRITER_GEN, 1, 2, 1, 5, 1_790_000_000_000_000_001)


def ticks_of(values: list[Any], given: Batch) -> Ticks:
    chosen = [values[n] for n in given.order]
    return Ticks(chosen, [value.head[:-1] for value in chosen], given.bodies, given.flags)


def kept(keep: Callable[..., list[bytes]], kind: Callable[..., Any], given: Batch) -> object:
    """Return what is written, and what the values are afterwards."""
    values = [kind(head, seq, ORIGIN, 0, b"old") for head, seq in given.values]
    ticks = ticks_of(values, given)
    origin = Origin(1, 2, 1, 4)
    try:
        written: object = keep(ticks, origin, WRITER, given.wanted)
    except (TypeError, OverflowError) as error:
        written = type(error)
    return written, [(v.head, v.seq, v.origin is origin, v.flags, v.body) for v in values]


class Read(NamedTuple):
    """A frame of the feed, and when it is read."""

    frame: bytes
    now_ns: int
    utc_ns: int


class Reading(NamedTuple):
    """The messages that one reader reads, one after the other, and whose ticks it wants (None:
    all)."""

    wanted: frozenset[str] | None
    reads: list[Read]


class Publisher:
    """Writes messages as a broadcaster would, and some that none would: numbers that repeat or are
    missing, other gens, times of the past, bodies of all kinds."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.names = [b"tick/NSE:%d" % n for n in range(random.choice((1, 2, 5)))]
        self.names.append(b"last/1/NSE:L")
        self.seqs = dict.fromkeys((*self.names, TICKS_TOPIC), 0)
        self.gen = 1
        self.at_ns = 1_790_000_000_000_000_000
        # Written by columns where packets are many, else one by one.
        self.bodies = [
            body
            for length in _LENGTHS
            for count in (1, 45)
            for body in repack_in_python(frame_of_packets([number(random, length)] * count)).bodies[
                :1
            ]
        ]

    def read(self) -> Read:
        random = self.random
        if random.random() < 0.2:
            self.at_ns += random.choice((1, 1_000_000, 3_000_000_000))
        if random.random() < 0.02:
            self.gen = random.choice((1, 2, -1, 2**64 - 1))
        ago_ns = random.choice((0, 0, 0, 5_000_000, 2_500_000_000, -5))
        published = self.at_ns - ago_ns
        writer = TickFrames(
            self.gen,
            random.choice((0, 0, 0, 2)),
            7,
            random.choice((1, 1, 2)),
            published - 1_000,
            published,
        )
        make = random.choice((self.one, self.one, self.one, self.chunk, self.chunk, self.snapshot))
        frame = make(writer)
        if random.random() < 0.15:
            frame = damaged(frame, random)
        return Read(frame, self.at_ns - 10**18, self.at_ns)

    def seq(self, name: bytes) -> int:
        """The next, as nearly always."""
        step = 1 if self.random.random() < 0.95 else self.random.choice((0, -1, 2, 5, 2**31))
        self.seqs[name] = max(0, self.seqs[name] + step) % 2**32
        return self.seqs[name]

    def flags(self) -> int:
        return self.random.choice((0, 0, 0, 0, 0, 16, 16, 1, 2, 4, 12))

    def body(self) -> bytes:
        body = self.random.choice(self.bodies)
        return damaged(body, self.random) if self.random.random() < 0.03 else body

    def one(self, writer: TickFrames) -> bytes:
        name = self.random.choice(self.names)
        return writer.one(name, self.seq(name), self.flags(), self.body())

    def chunk(self, writer: TickFrames) -> bytes:
        random = self.random
        names = random.choices(self.names, k=random.choice((0, 1, 2, 3, 15, 16, 17, 60)))
        if random.random() < 0.02:
            names.append(random.choice((TICKS_TOPIC, b"order/1", b"tick/NSE:new", bytes(300))))
        seqs = [self.seq(name) if name in self.seqs else 1 for name in names]
        body = self.body()
        bodies = [body if random.random() < 0.8 else self.body() for _ in names]
        flags = [self.flags() for _ in names] if random.random() < 0.3 else []
        return writer.chunk(self.seq(TICKS_TOPIC), names, seqs, bodies, flags)

    def snapshot(self, writer: TickFrames) -> bytes:
        inside = [writer.one(name, self.seqs[name], 1, self.body()) for name in self.names]
        end: object = SnapshotEnd(len(inside)) if self.random.random() < 0.5 else inside
        return writer.one(b"snapshot/ab/tick/", 1, 0, encode(end))


def number(random: Random, length: int) -> bytes:
    """A packet of numbers, some of which change their width."""
    some = [*_EDGES, *(random.randbytes(4) for _ in range(4))]
    return b"".join(random.choices(some, k=length // 4))


def reading(random: Random) -> Reading:
    publisher = Publisher(random)
    wanted = random.choice((None, None, None, frozenset({"NSE:0", "NSE:L"}), frozenset()))
    return Reading(wanted, [publisher.read() for _ in range(random.choice((1, 5, 20)))])


class Judges(NamedTuple):
    """Nobody, as one object for both."""

    def why_stale(self, tick: Tick) -> Staleness:
        return "no_feed"

    def has_source(self, tick: Tick) -> bool:
        return False


JUDGE = Judges()


def taken_in(given: Reading, *, is_compiled: bool) -> object:
    """The ticks that it gives out, and what the view knows after each message."""
    view = View(JUDGE, given.wanted)
    if not is_compiled:
        view._take_in = None
    view.begin_chunks()
    found = []
    for read in given.reads:
        view.apply(*read)
        ticks = []
        while (tick := view.take()) is not None:
            if isinstance(tick._held, bytes) and not is_plain(tick._held):
                raise AssertionError("only a plain body is held as it came")
            ticks.append((*known(tick), view.values.is_last(tick)))
        topics = [
            (name, topic.seq, topic.value_seq, topic.flags, bytes(topic.body), topic.arrival)
            for name, topic in view._topics.items()
        ]
        counts = [getattr(view, name) for name in COUNTS]
        found.append((ticks, topics, counts, vars(view.losses).copy()))
    return found


COUNTS = (
    "gen", "gaps", "duplicates", "late", "ticks", "skipped", "overrun", "bad_messages", "behind_ns",
    "has_late",
)  # fmt: skip


def known(tick: Tick) -> tuple[object, ...]:
    """All that a tick says, but for what it was decoded from."""
    early = tick.last_price, tick.instrument_token
    return tick.instrument, early, tick.raw, tick.seq, tick.flags, tick.arrival


LOOPS: Mapping[str, Loop] = {
    "frames": Loop(frame, repack_in_python, repack_compiled),
    "batches": Loop(
        batch, partial(kept, keep_in_python, PythonValue), partial(kept, keep_compiled, Value)
    ),
    "messages": Loop(
        reading, partial(taken_in, is_compiled=False), partial(taken_in, is_compiled=True)
    ),
}


def outcome(take: Callable[[Any], object], given: object) -> object:
    """Return what it gives, or the type of what it raises."""
    try:
        return take(given)
    except Exception as error:  # noqa: BLE001 - whatever it is, both raise it
        return type(error)


def compare(loop: Loop, given: object) -> None:
    """Raises Differs with the input."""
    python, compiled = outcome(loop.python, given), outcome(loop.compiled, given)
    if python != compiled:
        raise Differs(f"given {given!r}\npython   {python!r}\ncompiled {compiled!r}")


def fuzz(name: str, n: int, seed: int) -> None:
    """`n` inputs of one loop. Raises Differs."""
    loop = LOOPS[name]
    random = Random(seed)
    for number in range(n):
        try:
            compare(loop, loop.make(random))
        except Differs as error:
            raise Differs(f"{name} differ, seed {seed}, input {number}: {error}") from None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000, help="inputs of each loop")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not IS_COMPILED:
        print("there are no compiled loops here: was there a compiler when this was installed?")
        return 1
    for name in LOOPS:
        fuzz(name, options.n, options.seed)
        print(f"{name}: {options.n:,} are the same", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
