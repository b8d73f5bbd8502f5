"""Decides what is recorded: frames into blocks, blocks into hourly segments, and what was missed.

Pure. A segment begins with the last values: they are asked for when an hour ends, and the answer is
the first thing in the next segment. What was missed is told twice, when it is noticed and when all
last values have come since.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from kitefeed.protocol import feed as f
from kitefeed.protocol import recording as r
from kitefeed.protocol.feed import HEARTBEAT_HOLDS_NS
from kitefeed.protocol.kite.ticks import segment_of
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.recording import Described, End, Gap, Header, Type
from kitefeed.protocol.topics import (
    HEARTBEAT_TOPIC,
    NUL,
    SNAPSHOT,
    STATE_TOPIC,
    TICK,
    TICKS_TOPIC,
    key_of,
    snapshot_request,
)

BLOCK_NS = 750_000_000  # a block is written when the next look finds it this old: within a second
BLOCK_BYTES = 524_288
GATHER_NS = 2 * NS_PER_S  # how long a segment waits for the last values that it begins with
GATHER_BYTES = 8_388_608  # 9,000 of them are 3 MB
ROTATE_NS = 60 * NS_PER_S  # after the hour a segment begins without them
ASK_NS = 2 * NS_PER_S  # between two requests for the last values; doubled by each without answer
ASK_NS_MAX = 30 * NS_PER_S
# So much may wait for the disk: nine seconds at 9,000 ticks a second. Then recording pauses until
# half of it has been written.
BACKLOG_BYTES_MAX = 16_777_216


class Ask(NamedTuple):
    """Ask the feed for all last values: subscribe to `request`, and to the one before no more."""

    request: bytes


class Open(NamedTuple):
    """Begin a segment."""

    header: Header


class Write(NamedTuple):
    """One block of records; times of its first and last, UTC ns; flags as in the format."""

    payload: bytes
    first_ns: int
    last_ns: int
    flags: int


class Seal(NamedTuple):
    """End the segment that was begun last."""

    end: End


Command = Ask | Open | Write | Seal
Describe = Callable[[list[Described]], list[Described]]


class Previous(NamedTuple):
    """The end of what was recorded before this process: UTC ns of its last block, and why it
    ended."""

    last_ns: int
    reason: str


class Recorder:
    """seed: what no other reader has, 1-12 hex digits, for requests. describe: fills in what the
    day's list knows of instruments.

    backlog_bytes: what waits for the disk; the shell keeps it true. trouble: why it waits, if it
    is known.
    """

    def __init__(
        self, seed: str, writer: str, describe: Describe, previous: Previous | None = None
    ) -> None:
        self.backlog_bytes = 0
        self.trouble = ""
        self.frames = 0
        self.ticks = 0
        self.lost = 0  # messages
        self.bad = 0  # frames that this version cannot read; they are recorded
        self.gaps = 0
        self._seed = seed
        self._writer = writer
        self._describe = describe
        self._previous = previous
        # The block that is being filled.
        self._parts: list[bytes] = []
        self._bytes = 0
        self._first_ns = 0
        self._last_ns = 0
        self._flags = 0
        self._flush_due_ns = 0
        # The segment.
        self._hour = 0
        self._is_open = False
        self._gather_due_ns = 0
        self._rotate_due_ns = 0  # 0 until the hour has ended
        self._records = 0
        self._frames = 0
        self._day = ""
        self._known: dict[bytes, Described] = {}  # of this day, by topic
        self._new: list[Described] = []  # of them, in neither header nor record yet
        # The feed.
        self._gen = 0
        self._heard_ns = 0
        self._heard_utc_ns = 0
        self._seqs: dict[bytes, int] = {}
        self._kept: dict[bytes, bytes] = {}  # the last heartbeat and state, for the next segment
        # What was missed.
        self._gap: Gap | None = None
        self._is_paused = False
        self._paused_utc_ns = 0  # of the first record that was left out
        self._paused_why = ""
        # The last values.
        self._request = b""
        self._number = 0
        self._asked_ns = 0
        self._ask_after_ns = 0
        self._rotation_request = b""
        self._is_wanted = True  # they are asked for when that is due
        self._is_whole = False  # they have come
        self._is_covering = True  # nothing was missed since the answer began
        self._counted = 0

    # --- in -----------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> list[Command]:
        """Begin, when everything else is subscribed to."""
        return self._maybe_ask(now_ns)

    def frame(self, frame: bytes, now_ns: int, utc_ns: int) -> list[Command]:
        """Takes one feed frame, read at boot time `now_ns`. Never raises for what it holds."""
        self._hear(now_ns, utc_ns)
        topic, array = f.split_frame(frame)
        commands: list[Command] = []
        if self._rotate_due_ns and topic == self._rotation_request:
            commands += self._rotate(now_ns, utc_ns)
        try:
            self._look_into(topic, array, utc_ns)
        except f.DECODE_ERRORS:
            self.bad += 1
        if topic in (HEARTBEAT_TOPIC, STATE_TOPIC):
            self._kept[topic] = frame
        self.frames += 1
        self._frames += 1
        self._add(Type.FRAME, utc_ns, frame, now_ns)
        if self._bytes >= BLOCK_BYTES:
            commands += self._flush(now_ns)
        return commands

    def turn(self, now_ns: int, utc_ns: int) -> list[Command]:
        """Do what is due; to be called a few times a second."""
        commands: list[Command] = []
        if self._is_open and not self._rotate_due_ns and r.hour_of(utc_ns) != self._hour:
            self._rotate_due_ns, self._rotation_request = now_ns + ROTATE_NS, b""
        if self._rotate_due_ns and now_ns >= self._rotate_due_ns:
            self._is_wanted, self._is_whole = True, False
            commands += self._rotate(now_ns, utc_ns)
        if self._parts and now_ns >= self._flush_due_ns:
            commands += self._flush(now_ns)
        return commands + self._maybe_ask(now_ns)

    def end(self) -> list[Command]:
        """End in order: everything is written, and the segment sealed."""
        self._gather_due_ns = 0
        commands = self._flush(self._heard_ns) if self._parts else []
        return commands + (self._sealed("stopped") if self._is_open else [])

    # --- what a frame tells -------------------------------------------------------------------

    def _hear(self, now_ns: int, utc_ns: int) -> None:
        """Notices a silence, of the daemon, of this process, or of the host."""
        if not self._heard_ns:
            if self._previous is not None:
                self._miss(self._previous.reason, self._previous.last_ns, utc_ns)
        elif now_ns - self._heard_ns > HEARTBEAT_HOLDS_NS:
            self._miss("silence", self._heard_utc_ns, utc_ns)
        self._heard_ns, self._heard_utc_ns = now_ns, utc_ns

    def _look_into(self, topic: bytes, array: bytes, utc_ns: int) -> None:
        if topic == TICKS_TOPIC:
            chunk = f.decode_chunk_message(array)
            self._count(topic, chunk.gen, chunk.seq, utc_ns)
            self.ticks += len(chunk.body.topics)
            self._learn(chunk.body.topics, chunk.body.bodies)
        elif topic.startswith(SNAPSHOT):
            self._look_into_answer(topic, f.decode_feed_message(array))
        else:
            message = f.decode_feed_message(array)
            self._count(topic, message.gen, message.seq, utc_ns)

    def _count(self, topic: bytes, gen: int, seq: int, utc_ns: int) -> None:
        if gen != self._gen:
            if self._gen:
                self._miss("restart", self._last_of(utc_ns), utc_ns)
            self._gen = gen
            self._seqs.clear()
        last = self._seqs.get(topic, 0)
        if last and seq > last + 1:
            lost = seq - last - 1
            self.lost += lost
            self._miss("lost", self._last_of(utc_ns), utc_ns, lost)
        self._seqs[topic] = max(seq, last)

    def _last_of(self, utc_ns: int) -> int:
        """Return when the record before this one came; `utc_ns` when there was none."""
        return self._last_ns or utc_ns

    def _look_into_answer(self, topic: bytes, message: f.FeedMessage) -> None:
        """Counts what has come of the last values."""
        if topic != self._request:
            return
        body = f.decode_snapshot_chunk(message.body)
        if message.seq == 1:
            # The answer was made after all losses that are known by now: it came by the same pipe.
            self._counted, self._is_wanted, self._is_covering = 0, False, True
        if isinstance(body, f.SnapshotEnd):
            self._is_whole = self._counted >= body.count
            self._counted = 0
            if self._is_whole and self._is_covering:
                self._heal()
            return
        self._counted += len(body)
        for frame in body:
            inner, array = f.split_frame(frame)
            if inner.startswith(TICK):
                self._learn([inner], [f.decode_feed_message(array).body])

    def _learn(self, topics: Iterable[bytes], bodies: Iterable[msgspec.Raw]) -> None:
        """Notes instruments that this day has not had yet."""
        known, new = self._known, []
        for topic, body in zip(topics, bodies, strict=False):
            if topic not in known:
                tick = f.decode_body(body)
                token = tick.instrument_token
                known[topic] = Described(token, key_of(topic), tick.divisor, segment_of(token))
                new.append(topic)
        if new:
            for topic, found in zip(new, self._describe([known[t] for t in new]), strict=True):
                known[topic] = found
                self._new.append(found)

    # --- what was missed ----------------------------------------------------------------------

    def _miss(self, reason: str, from_ns: int, to_ns: int, lost: int = 0, detail: str = "") -> None:
        """Note one stretch at a time: what is missed before the last has healed belongs to it."""
        if self._gap is None:
            self._gap = Gap(from_ns, to_ns, reason, lost=lost, detail=detail)
            self.gaps += 1
        else:
            self._gap = msgspec.structs.replace(
                self._gap, to_ns=max(to_ns, self._gap.to_ns), lost=self._gap.lost + lost
            )
        self._is_wanted, self._is_covering = True, False
        self._add(Type.GAP, to_ns, r.encode(self._gap), self._heard_ns)

    def _heal(self) -> None:
        if self._gap is not None:
            healed = msgspec.structs.replace(self._gap, healed=True)
            self._add(Type.GAP, self._heard_utc_ns, r.encode(healed), self._heard_ns)
            self._gap = None

    # --- the last values ----------------------------------------------------------------------

    def _maybe_ask(self, now_ns: int) -> list[Command]:
        is_for_rotation = bool(self._rotate_due_ns and not self._rotation_request)
        is_wanted = self._is_wanted or is_for_rotation or not self._is_whole
        is_due = not self._asked_ns or now_ns - self._asked_ns >= self._ask_after_ns
        if not (is_wanted and is_due):
            return []
        is_again = self._asked_ns and not self._is_whole
        self._ask_after_ns = min(2 * self._ask_after_ns, ASK_NS_MAX) if is_again else ASK_NS
        self._asked_ns = now_ns
        self._is_wanted = self._is_whole = False
        self._counted = 0
        self._number += 1
        self._request = snapshot_request(f"{self._seed}{self._number:x}", b"")
        if self._rotate_due_ns:
            self._rotation_request = self._request
        return [Ask(self._request)]

    # --- out ----------------------------------------------------------------------------------

    def _add(self, kind: int, utc_ns: int, data: bytes, now_ns: int) -> None:
        if not self._parts:
            self._first_ns = utc_ns
            self._flush_due_ns = now_ns + BLOCK_NS
            if not self._is_open and not self._gather_due_ns:
                self._gather_due_ns = now_ns + GATHER_NS
        self._last_ns = utc_ns
        self._flags |= 0 if kind == Type.FRAME else r.HAS_NOTES
        record = r.encode_record(kind, utc_ns, data)
        self._parts.append(record)
        self._bytes += len(record)
        self._records += 1

    def _flush(self, now_ns: int) -> list[Command]:
        """Give out the block, and before it the header of a segment that begins with it."""
        commands: list[Command] = []
        if not self._is_open:
            has_values = self._is_whole and self._is_covering
            is_due = now_ns >= self._gather_due_ns or self._bytes >= GATHER_BYTES
            if not (has_values or is_due):
                return []
            commands.append(self._opened())
        if not self._has_room():
            self._empty()
            return commands
        if self._new:
            self._add(Type.INSTRUMENTS, self._last_ns, r.encode(self._new), now_ns)
            self._new = []
        block = Write(b"".join(self._parts), self._first_ns, self._last_ns, self._flags)
        self._empty()
        return [*commands, block]

    def _empty(self) -> None:
        self._parts, self._bytes, self._flags = [], 0, 0

    def _has_room(self) -> bool:
        """Whether the disk keeps up. Records that it has no room for are a gap, which is told when
        there is room again."""
        if self._is_paused and self.backlog_bytes <= BACKLOG_BYTES_MAX // 2:
            self._is_paused = False
            self._empty()  # what is told of the gap comes first
            why = "disk" if self._paused_why else "slow"
            self._miss(why, self._paused_utc_ns, self._last_ns, detail=self._paused_why)
        elif not self._is_paused and self.backlog_bytes > BACKLOG_BYTES_MAX:
            self._is_paused = True
            self._paused_utc_ns = self._first_ns
        if self._is_paused:
            self._paused_why = self.trouble or self._paused_why
        return not self._is_paused

    def _opened(self) -> Open:
        """Open a segment, which begins with the first record that waits."""
        self._is_open = True
        at_ns = self._first_ns
        self._hour, self._day = r.hour_of(at_ns), r.day_of(at_ns)
        self._rotate_due_ns = self._gather_due_ns = 0
        self._new = []
        return Open(Header(r.VERSION, self._day, at_ns, self._writer, [*self._known.values()]))

    def _rotate(self, now_ns: int, utc_ns: int) -> list[Command]:
        """Ends a segment; the next begins with what is known of the feed's words."""
        commands = self._flush(now_ns) if self._parts else []
        commands += self._sealed("hour")
        if r.day_of(utc_ns) != self._day:
            self._known.clear()
        self._rotate_due_ns = 0
        if now_ns - self._heard_ns <= HEARTBEAT_HOLDS_NS:
            for frame in self._kept.values():
                self._add(Type.FRAME, utc_ns, frame, now_ns)
        return commands

    def _sealed(self, reason: str) -> list[Command]:
        end = End(reason, self._records, self._frames)
        self._is_open, self._records, self._frames = False, 0, 0
        return [Seal(end)]


def subscriptions() -> tuple[bytes, ...]:
    """Return what is recorded: all ticks, and the feed's words. Not the account's orders and
    notices."""
    return (TICKS_TOPIC + NUL, HEARTBEAT_TOPIC + NUL, STATE_TOPIC + NUL)
