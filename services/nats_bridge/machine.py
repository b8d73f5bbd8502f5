"""Decides what the bridge publishes, in which order, and what it gives up. Pure.

Ticks wait in one queue, in the order in which they came. At most so many are on their way
unacknowledged. When more wait than there is room for, the newest of each instrument is kept, and
the rest is a gap that is told once NATS takes messages again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, Flag, TickFrames
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.nats import BridgeBeat, BridgeGap, Subjects, message_id
from kitefeed.protocol.topics import SNAPSHOT, STATE_TOPIC, TICK, TICKS_TOPIC, key_of

WINDOW = 4_096  # ticks on their way: at 6,000 a second NATS may take 0.7 s for its answer
# ~15 MB: five seconds at full rate, and more than all instruments
WAITING_MAX = 32_768
GROUP_MAX = 128  # ticks that share one acknowledgement
ACK_NS = 2 * NS_PER_S  # after that a group is taken for not stored
BEHIND_NS = NS_PER_S  # while ticks wait longer than this no heartbeat vouches for anything
_SNAPSHOT, _REPLAY, _CACHED = int(Flag.SNAPSHOT), int(Flag.REPLAY), int(Flag.CACHED)

Place = tuple[int, int]  # gen and seq of a tick on its topic


class Out(NamedTuple):
    """One message for NATS. `id`: empty for what no stream keeps. Times: boot ns, and UTC ns."""

    topic: bytes
    place: Place
    subject: str
    id: str
    frame: bytes
    queued_ns: int
    t_rx_ns: int


class Group(NamedTuple):
    """Messages to be published in this order; the last one asks for the acknowledgement."""

    number: int
    outs: list[Out]


class Machine:
    """`wants`: whether ticks of a key are published. `is_leading`: this bridge is the one that
    publishes; another one keeps the newest tick of each instrument, and no more."""

    def __init__(self, subjects: Subjects, bridge: str, wants: Callable[[str], bool]) -> None:
        self._subjects = subjects
        self._bridge = bridge
        self._wants = wants
        self._names: dict[bytes, str] = {}  # topics and their subjects; empty: not wanted
        self.gen = 0
        self.newest: dict[bytes, Out] = {}
        self._waiting: deque[Out] = deque()
        self._groups: dict[int, list[Out]] = {}
        self._asked_ns: dict[int, int] = {}
        self._on_the_way = 0
        self._number = 0
        self._stored_seq = 0  # of LAST, as its last answer told
        self.is_connected = False
        self.is_leading = False
        self.is_reconciled = False  # LAST was compared with what is known here
        self._is_new = True  # as the one that publishes: it begins where the one before it ended
        self._first: dict[bytes, tuple[Place, int]] = {}  # ticks since then, and when received
        self.sent = 0
        self.stored = 0
        self.given_up = 0
        self._gap: BridgeGap | None = None
        self._gap_topics: set[bytes] = set()  # of that gap
        self.term = 0

    # --- the feed -----------------------------------------------------------------------------

    def take(self, frame: bytes, now_ns: int) -> None:
        """Take one frame of the feed. Raises nothing for what it holds, but
        `feed.DECODE_ERRORS`."""
        topic, array = f.split_frame(frame)
        if topic == TICKS_TOPIC:
            self._take_chunk(f.decode_chunk_message(array), now_ns)
        elif topic.startswith(TICK) or topic == STATE_TOPIC:
            message = f.decode_feed_message(array)
            self._take_tick(topic, message.gen, message.seq, message.t_rx_ns, frame, now_ns)
        elif topic.startswith(SNAPSHOT):
            self._take_snapshot(f.decode_feed_message(array), now_ns)

    def heard(self, gen: int) -> None:
        """Take the gen of a heartbeat, which may come before anything else of this broadcaster."""
        self.gen = max(self.gen, gen)

    def _take_chunk(self, message: f.ChunkMessage, now_ns: int) -> None:
        body = message.body
        frames = TickFrames(
            message.gen, message.shard, message.epoch, message.source, message.t_rx_ns,
            message.t_pub_ns,
        )  # fmt: skip
        flags = body.flags or [0] * len(body.topics)
        for topic, seq, flag, tick in zip(body.topics, body.seqs, flags, body.bodies, strict=True):
            made = frames.one(topic, seq, flag, bytes(tick))
            self._take_tick(topic, message.gen, seq, message.t_rx_ns, made, now_ns)

    def _take_snapshot(self, message: FeedMessage, now_ns: int) -> None:
        """Take last values. Those that were published already are passed over; the others were lost
        on the way to us, or came before our time."""
        body = f.decode_snapshot_chunk(message.body)
        if isinstance(body, f.SnapshotEnd):
            return
        for frame in body:
            topic, array = f.split_frame(frame)
            if not topic.startswith(TICK) and topic != STATE_TOPIC:
                continue
            tick = f.decode_feed_message(array)
            known = self.newest.get(topic)
            if tick.flags & _CACHED and known is not None and known.t_rx_ns >= tick.t_rx_ns:
                continue  # from the daemon's file
            tick.flags = tick.flags & ~_SNAPSHOT | _REPLAY
            again = f.feed_frame(topic, tick)
            self._take_tick(topic, tick.gen, tick.seq, tick.t_rx_ns, again, now_ns)

    def _take_tick(
        self, topic: bytes, gen: int, seq: int, t_rx_ns: int, frame: bytes, now_ns: int
    ) -> None:
        subject = self._subject(topic)
        if not subject or gen < self.gen:
            return
        self.gen = gen
        known = self.newest.get(topic)
        if known is not None and known.place >= (gen, seq):
            return
        if self._is_new and self.is_leading:
            self._first.setdefault(topic, ((gen, seq), t_rx_ns))
        name = message_id(gen, topic.decode(), seq)
        out = Out(topic, (gen, seq), subject, name, frame, now_ns, t_rx_ns)
        self.newest[topic] = out
        if not seq:  # from the daemon's file: LAST may hold what is newer
            self.is_reconciled = False
        elif self.is_leading:
            self._waiting.append(out)
            if len(self._waiting) > WAITING_MAX:
                self._shorten("NATS takes no messages, or too few")

    def _subject(self, topic: bytes) -> str:
        subject = self._names.get(topic)
        if subject is None:
            wanted = topic == STATE_TOPIC or self._wants(key_of(topic))
            subject = self._names[topic] = self._subjects.of_topic(topic) if wanted else ""
        return subject

    # --- what is given up ---------------------------------------------------------------------

    def _shorten(self, reason: str) -> None:
        """Keep the newest tick of each instrument. The others that waited are a gap."""
        kept: dict[bytes, Out] = {}
        for out in self._waiting:
            before = kept.pop(out.topic, None)
            if before is not None:
                self._give_up(before, reason)
            kept[out.topic] = out
        self._waiting = deque(kept.values())

    def _give_up(self, out: Out, reason: str) -> None:
        self._note_gap(out.topic, out.t_rx_ns, out.t_rx_ns, 1, reason)

    def _note_gap(self, topic: bytes, from_ns: int, to_ns: int, ticks: int, reason: str) -> None:
        self.given_up += ticks
        gap = self._gap
        if gap is None:
            gap = self._gap = BridgeGap(self.term, self._bridge, from_ns, to_ns, 0, 0, reason)
            self._gap_topics = set()
        self._gap_topics.add(topic)
        gap.from_utc_ns = min(gap.from_utc_ns, from_ns)
        gap.to_utc_ns = max(gap.to_utc_ns, to_ns)
        gap.ticks += ticks
        gap.instruments = len(self._gap_topics)

    def gap_due(self) -> BridgeGap | None:
        """Return the gap of what was given up, once NATS has taken all that waits; it is told
        once."""
        if self._gap is None or self._waiting or self._groups or not self._may_publish:
            return None
        gap, self._gap = self._gap, None
        gap.term = self.term
        return gap

    # --- NATS ---------------------------------------------------------------------------------

    @property
    def _may_publish(self) -> bool:
        return self.is_connected and self.is_leading and not self._is_new

    def connected(self) -> None:
        self.is_connected = True
        self._stored_seq = 0

    def cut(self) -> None:
        """Note that the connection has ended: what was on its way may have arrived or not. It goes
        again, by the same ids, before what waits."""
        self.is_connected = self.is_reconciled = False
        self._again(list(self._groups))

    def lead(self, term: int) -> None:
        """Publish from now on. LAST is compared before the first tick: what it has is not published
        again, and what was missed before our time is told."""
        self.is_leading, self.term = True, term
        self.is_reconciled = False
        self._is_new = True
        self._first = {topic: (out.place, out.t_rx_ns) for topic, out in self.newest.items()}

    def stand_by(self) -> None:
        """Stop publishing: another bridge does, and nothing of ours may come after."""
        self.is_leading = self.is_reconciled = False
        self._waiting.clear()
        self._groups.clear()
        self._asked_ns.clear()
        self.sent -= self._on_the_way  # nobody waits for their acknowledgement any more
        self._on_the_way = 0
        self._gap = None

    def due(self, now_ns: int) -> Group | None:
        """Return the group to publish now; None when nothing waits, or there is no room on
        the way."""
        if not self._may_publish or not self._waiting or self._on_the_way >= WINDOW:
            return None
        take = self._waiting.popleft
        outs = [take() for _ in range(min(GROUP_MAX, len(self._waiting)))]
        self._number += 1
        self._groups[self._number] = outs
        self._asked_ns[self._number] = now_ns
        self._on_the_way += len(outs)
        self.sent += len(outs)
        return Group(self._number, outs)

    def acked(self, number: int, seq: int) -> None:
        """Note that LAST has taken this group; `seq`: the number it gave the last message, 0 when
        it had that already. An unexpected number tells of messages that LAST did not take, or that
        another bridge wrote."""
        outs = self._groups.pop(number, None)
        if outs is None:
            return
        del self._asked_ns[number]
        self._on_the_way -= len(outs)
        if self._stored_seq and seq and seq != self._stored_seq + len(outs):
            self.is_reconciled = False
        self._stored_seq = seq
        self.stored += len(outs)

    def refused(self, number: int) -> None:
        """Note that LAST did not take the last message of this group, and perhaps not others. Live
        listeners have them; comparing puts right what is kept, and history lacks the rest."""
        outs = self._groups.pop(number, [])
        self._asked_ns.pop(number, None)
        self._on_the_way -= len(outs)
        self.sent -= len(outs)
        self._stored_seq = 0
        self.is_reconciled = False
        for out in outs:
            if self.newest.get(out.topic) is not out:
                self._give_up(out, "NATS did not keep them")

    def overdue(self, now_ns: int) -> bool:
        """Whether NATS owes answers for longer than it may; those groups are taken for refused."""
        late = [number for number, at_ns in self._asked_ns.items() if now_ns - at_ns > ACK_NS]
        for number in late:
            self.refused(number)
        return bool(late)

    def _again(self, numbers: Iterable[int]) -> None:
        for number in sorted(numbers, reverse=True):
            outs = self._groups.pop(number, [])
            self._asked_ns.pop(number, None)
            self._on_the_way -= len(outs)
            self.sent -= len(outs)
            self._waiting.extendleft(reversed(outs))
        self._stored_seq = 0
        if len(self._waiting) > WAITING_MAX:
            self._shorten("NATS takes no messages, or too few")

    def on_the_way(self) -> set[str]:
        """Return the ids of what is not acknowledged yet."""
        return {out.id for outs in self._groups.values() for out in outs}

    def reconciled(
        self, stored: Mapping[str, tuple[Place, int]], sent: set[str], asked_ns: int
    ) -> None:
        """Compare with what LAST holds by subject: place and receive time, asked for at boot time
        `asked_ns`, when `sent` was on its way. The newest of ours that it lacks are published
        again."""
        if self._is_new:
            self._begin_behind(stored)
        waiting = {out.id for out in self._waiting}
        for out in list(self.newest.values()):
            place, t_rx_ns = stored.get(out.subject, ((0, 0), 0))
            is_cached = out.place[1] == 0  # from the daemon's file: never before what is newer
            is_known = place == out.place or (is_cached and t_rx_ns >= out.t_rx_ns)
            is_news = out.queued_ns >= asked_ns or out.id in sent or out.id in waiting
            if not is_known and not is_news:
                self._waiting.append(out)
        self.is_reconciled = True

    def _begin_behind(self, stored: Mapping[str, tuple[Place, int]]) -> None:
        """Leave out what LAST has of this daemon's. Nobody published what came between that and our
        first tick: it is noted as a gap."""
        nothing = ((0, 0), 0)
        for topic, ((gen, seq), t_rx_ns) in self._first.items():
            (stored_gen, stored_seq), since_ns = stored.get(self._subject(topic), nothing)
            missing = seq - stored_seq - 1
            if gen == stored_gen and stored_seq and missing > 0:
                self._note_gap(topic, since_ns, t_rx_ns, missing, "the bridge did not run")
        self._waiting = deque(
            out for out in self._waiting if stored.get(out.subject, nothing)[0] < out.place
        )
        self._is_new, self._first = False, {}

    # --- what is said -------------------------------------------------------------------------

    def is_behind(self, now_ns: int) -> bool:
        """Whether ticks wait too long for any heartbeat to be passed on."""
        return bool(self._waiting) and now_ns - self._waiting[0].queued_ns > BEHIND_NS

    def beat(self, utc_ns: int) -> BridgeBeat:
        is_whole = self.is_reconciled and not self._waiting
        return BridgeBeat(
            self.term, self._bridge, self.gen, self.sent, self.stored, is_whole, self.given_up,
            utc_ns,
        )  # fmt: skip
