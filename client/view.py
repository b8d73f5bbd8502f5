"""Keeps all that a reader knows of the feed: pure, fed with frames and times. It counts losses and
drops repetitions; how it judges is in `judgement`.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import compress

import msgspec

from kitefeed._hot import IS_COMPILED
from kitefeed.client.breaks import Breaks
from kitefeed.client.gaps import GapReason, Gaps
from kitefeed.client.judgement import Judgement
from kitefeed.client.order import Order
from kitefeed.client.tick import Arrival, Judge, Tick
from kitefeed.client.values import Topic
from kitefeed.client.waiting import PENDING_MAX, Waiting
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, Flag
from kitefeed.protocol.tick_bodies import Encoded, Held, bodies_of, decode_chunk
from kitefeed.protocol.topics import (
    HEARTBEAT_TOPIC,
    LAST,
    NOTICE,
    NUL,
    ORDER,
    SNAPSHOT,
    STATE_TOPIC,
    TICK,
    TICKS_TOPIC,
    key_of,
)

if IS_COMPILED:
    from kitefeed._hot import loops

MAX_AGE_S = 2.0  # beyond it a message is late: about to be wrong, at a few ticks a second
EVENTS_MAX = 1_000  # orders, and notices, that wait for the program
_UNKNOWN_NS = 1 << 62  # more than any skew
# Plain integers below: one operation on an IntFlag costs a microsecond, as much as decoding a tick.
_CACHED = int(Flag.CACHED)
_SEEN = int(Flag.SNAPSHOT | Flag.REPLAY)  # sent again on purpose: not a duplicate, not an event

# View, frame, now_ns, utc_ns, gen, losses noticed so far; see `loops.Intake.take`.
TakeIn = Callable[["View", bytes, int, int, int, int], int]
_TICKS = (TICK, LAST)  # both carry one instrument's tick


class View(Judgement):
    """`wanted`: the keys whose ticks matter, None for all; `prefixes`: of more such keys.
    `max_age_s`: how far behind the program may be, None for any. `is_remote`: the daemon's clock is
    not ours; how far ahead ours is, is then taken from the quickest message of a connection.

    Counters: `ticks` received, `gaps` messages lost on the way to this reader, `duplicates`,
    `late` ones older than 2 s on arrival, `skipped` ticks that were not given out because newer
    ones had come, `overrun` ticks for which there was no room, `reconnects` because it was behind,
    `bad_messages` that no reader could decode.
    """

    def __init__(
        self,
        judge: Judge,
        wanted: frozenset[str] | None = None,
        prefixes: tuple[str, ...] = (),
        max_age_s: float | None = MAX_AGE_S,
        is_remote: bool = False,
    ) -> None:
        super().__init__()
        # Of those who asked for them; the oldest go first when nobody takes them.
        self.orders: deque[Order] = deque(maxlen=EVENTS_MAX)
        self.notices: deque[f.Notice] = deque(maxlen=EVENTS_MAX)
        self.gaps = 0
        self.duplicates = 0
        self.late = 0
        self.ticks = 0
        self.skipped = 0
        self.reconnects = 0
        self.overrun = 0
        self.bad_messages = 0
        self.heartbeats = 0
        self.holes = Gaps()
        self.waiting = Waiting(self.values, self.holes)
        self.arrived = self.waiting.ticks
        # The past was left behind on purpose: until a snapshot has come, nothing is given out.
        self.is_catching_up = False
        self.is_doubled = False  # ticks come by `ticks/all` and one by one, for a moment
        self.behind_ns = 0  # how old the last message was when it was read
        self.lag_ns = 0  # the most by which the program was behind; whoever reads it sets it to 0
        self._late_ns = int((MAX_AGE_S if max_age_s is None else max_age_s) * 1e9)
        self._may_skip = max_age_s is not None
        self._is_remote = is_remote
        self._skew_ns = _UNKNOWN_NS if is_remote else 0
        self.has_late = False
        self._judge = judge
        self._wanted = None if wanted is None else set(wanted)
        self._prefixes = prefixes
        self._topics: dict[bytes, Topic] = {}
        self._take_in: TakeIn | None = None  # of messages in which all is in order
        if IS_COMPILED:
            intake = loops.Intake(self._topics, self.arrived, Tick, msgspec.Raw, View._admitted)
            self._take_in = intake.take
        self._shared: Arrival | None = None  # of the last tick, and when that was published
        self._shared_pub_ns = 0
        self._chunked: dict[bytes, int] = {}  # values received so far, per snapshot request
        self._breaks = Breaks(self.values, self.holes)

    # --- frames in ----------------------------------------------------------------------------

    def apply(self, frame: bytes, now_ns: int, utc_ns: int) -> None:
        """Take in one feed frame, read at boot time `now_ns`. Never raises for what it holds."""
        take_in = self._take_in
        if take_in is not None:
            taken = take_in(self, frame, now_ns, utc_ns, self.gen, self.losses.count)
            if taken >= 0:
                self.ticks += taken
                if len(self.arrived) > PENDING_MAX:
                    self.overrun += self.waiting.make_room()
                return
        topic, _, array = frame.partition(NUL)
        try:
            if topic.startswith(_TICKS):
                self._apply_tick(topic, f.decode_feed_message(array), now_ns, utc_ns)
            elif topic == TICKS_TOPIC:
                self._apply_chunk(array, now_ns, utc_ns)
            else:
                message = f.decode_feed_message(array)
                if self._admits(message, utc_ns):
                    self._apply(topic, message, now_ns, utc_ns)
        except f.DECODE_ERRORS:
            self.bad_messages += 1

    def _admits(self, message: FeedMessage, utc_ns: int) -> bool:
        """Whether this reader can read the message; note its age and its gen."""
        if message.v != f.VERSION:
            self.bad_messages += 1
            return False
        self._note_age(message.t_pub_ns, utc_ns)
        if message.gen != self.gen:
            # The broadcaster was restarted: numbers start anew. Its answer to our subscriptions,
            # which ZeroMQ repeats by itself, brings the values.
            if self.gen:
                since_ns = self.heard_utc_ns or message.t_pub_ns
                self.holes.missed("restarted", {}, since_ns, message.t_pub_ns)
            self.begun(message.gen)
            for known in self._topics.values():
                known.seq = 0
        return True

    def _note_age(self, t_pub_ns: int, utc_ns: int) -> bool:
        """Note the age of a message, and return whether it is late. An arrival is shared only by
        the messages that follow it."""
        self._shared = None
        behind_ns = self.behind_ns = utc_ns - t_pub_ns - self._skew_ns
        losses = self.losses
        if behind_ns > losses.worst_ns:
            losses.worst_ns = behind_ns
        if behind_ns > self._late_ns:
            self.late += 1
            self.has_late = True
            return True
        if behind_ns < 0:
            self._set_skew(utc_ns - t_pub_ns)
        return False

    def _apply(self, topic: bytes, message: FeedMessage, now_ns: int, utc_ns: int) -> None:
        if topic.startswith(SNAPSHOT):
            self._apply_snapshot(topic, message, now_ns, utc_ns)
        elif topic == HEARTBEAT_TOPIC:
            heartbeat = f.decode_heartbeat(message.body)
            self._is_new(self._topic(topic), message.seq, message.flags, message.t_pub_ns)
            self._apply_heartbeat(heartbeat, message.t_pub_ns, now_ns, utc_ns)
        elif topic.startswith(ORDER):
            order = f.decode_order(message.body)
            if self._is_new(self._topic(topic), message.seq, message.flags, message.t_pub_ns):
                self.overrun += len(self.orders) == EVENTS_MAX
                is_rest = message.source == f.Source.REST
                self.orders.append(Order(order.data, "rest" if is_rest else "websocket"))
        elif topic.startswith(NOTICE):
            notice = f.decode_notice(message.body)
            if self._is_new(self._topic(topic), message.seq, message.flags, message.t_pub_ns):
                self.overrun += len(self.notices) == EVENTS_MAX
                self.notices.append(notice)
        elif topic == STATE_TOPIC:
            state = f.decode_state(message.body)
            if self._is_new(self._topic(topic), message.seq, message.flags, message.t_pub_ns):
                self.told(state)

    def _apply_heartbeat(
        self, heartbeat: f.Heartbeat, t_pub_ns: int, now_ns: int, utc_ns: int
    ) -> None:
        self.heartbeats += 1
        self.losses.heard(heartbeat.full_queues)
        before, heard_utc_ns = self.shards, self.heard_utc_ns
        self.heard(heartbeat, t_pub_ns, now_ns, utc_ns)
        if self.holes.is_wanted:
            self._breaks.heard(before, self.shards, heard_utc_ns, t_pub_ns)

    def _apply_snapshot(self, topic: bytes, message: FeedMessage, now_ns: int, utc_ns: int) -> None:
        body = f.decode_snapshot_chunk(message.body)
        if isinstance(body, f.SnapshotEnd):
            self._end_snapshot(topic, is_whole=self._chunked.pop(topic, 0) >= body.count)
            return
        if message.seq == 1:
            self._chunked.clear()
        self._chunked[topic] = self._chunked.get(topic, 0) + len(body)
        for frame in body:
            if not frame.startswith(SNAPSHOT):  # one inside another would never end
                self.apply(frame, now_ns, utc_ns)

    def _end_snapshot(self, topic: bytes, *, is_whole: bool) -> None:
        if self.losses.answered(topic, is_whole=is_whole):
            self.is_catching_up = False
            if not self.losses.is_in_doubt:
                self.holes.heal("lost", "skipped", "restarted")

    # --- the past -----------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        """Whether the last message was too old: the pipe is full of the past, or was cut."""
        return self._may_skip and self.behind_ns > self._late_ns

    @property
    def has_next(self) -> bool:
        return bool(self.arrived) and not self.is_catching_up

    def fullness(self, now_ns: int) -> float:
        """Return how much is used up of the room for ticks, or of the time after which older ticks
        are given up for newer ones: at 1 some are."""
        if not self._may_skip or self.is_catching_up:
            return self.waiting.fullness(now_ns, None)
        late_ns = max(1, self._late_ns)
        return max(self.behind_ns / late_ns, self.waiting.fullness(now_ns, late_ns))

    def reopened(self) -> None:
        """A new connection was made: what comes now was sent now."""
        self.reconnects += 1
        self.behind_ns = 0
        self._skew_ns = _UNKNOWN_NS if self._is_remote else 0
        self.begin_chunks()
        self.is_doubled = False
        self.is_catching_up = True
        self.losses.note()

    def skip_old(self, now_ns: int) -> None:
        """Keep only the newest tick of each instrument, once those that wait are old."""
        waited_ns = now_ns - self.waiting.oldest_ns(now_ns)
        self.lag_ns = max(self.lag_ns, self.behind_ns, waited_ns)
        is_old = self.has_late or waited_ns > self._late_ns
        if not is_old or self.is_catching_up:
            return
        self.has_late = False
        if self._may_skip:
            self.skipped += self.waiting.keep_newest()

    def take(self) -> Tick | None:
        """Take the next tick to give out; None when there is none, or none yet. In any thread."""
        try:
            return None if self.is_catching_up else self.arrived.popleft()
        except IndexError:
            return None

    def _set_skew(self, age_ns: int) -> None:
        """Allow for the clocks' difference by `age_ns`, the age of the quickest message so far. A
        clock that is behind needs no allowance."""
        self._skew_ns = max(0, age_ns) if self._is_remote else 0
        self.behind_ns = 0

    def _arrival_of(self, message: FeedMessage, now_ns: int, utc_ns: int) -> Arrival | None:
        """Return the arrival of a tick, the same for all of one batch that are read together: to
        make it costs as much as to decode the tick. None when the tick cannot be read."""
        last = self._shared
        if (
            last is not None
            and last.boot_ns == now_ns
            and message.t_pub_ns == self._shared_pub_ns
            and message.t_rx_ns == last.t_rx_ns
            and message.epoch == last.epoch
            and message.shard == last.shard
            and message.source == last.source_code
            and message.gen == last.gen == self.gen
            and message.v == f.VERSION
            and last.losses == self.losses.count
        ):
            return last
        if not self._admits(message, utc_ns):
            return None
        arrival = self._arrival(message, now_ns, utc_ns)
        is_late = self.behind_ns > self._late_ns  # each of those is counted
        self._shared, self._shared_pub_ns = None if is_late else arrival, message.t_pub_ns
        return arrival

    def _arrival(self, message: FeedMessage, now_ns: int, utc_ns: int) -> Arrival:
        m = message
        return self._arrival_at(
            m.gen, m.shard, m.epoch, m.source, m.t_rx_ns, m.t_pub_ns, now_ns, utc_ns
        )

    def _arrival_at(
        self, gen: int, shard: int, epoch: int, source: int, t_rx_ns: int, t_pub_ns: int,
        now_ns: int, utc_ns: int,
    ) -> Arrival:  # fmt: skip
        age_ns = t_pub_ns - t_rx_ns if t_pub_ns > t_rx_ns else 0  # `max` costs five times as much
        if utc_ns > t_pub_ns:
            age_ns += utc_ns - t_pub_ns
        return Arrival(
            gen, shard, epoch, source, t_rx_ns, age_ns, now_ns, self._judge, self.losses.count
        )

    def _admitted(
        self, gen: int, shard: int, epoch: int, source: int, t_rx_ns: int, t_pub_ns: int,
        now_ns: int, utc_ns: int,
    ) -> tuple[Arrival, bool]:  # fmt: skip
        """Return the arrival of a message that `loops.Intake` takes in, and whether others may
        share it: each late message is counted."""
        is_late = self._note_age(t_pub_ns, utc_ns)
        arrival = self._arrival_at(gen, shard, epoch, source, t_rx_ns, t_pub_ns, now_ns, utc_ns)
        return arrival, not is_late

    def _apply_tick(self, name: bytes, message: FeedMessage, now_ns: int, utc_ns: int) -> None:
        body = f.decode_body(message.body)  # by itself it costs as much to be checked
        arrival = self._arrival_of(message, now_ns, utc_ns)
        if arrival is None:
            return
        self.ticks += 1
        topic = self._topics.get(name) or self._topic(name)
        if not topic.is_wanted:
            return
        seq, flags, arrived = message.seq, message.flags, self.arrived
        if seq != topic.seq + 1 or flags & _CACHED or len(arrived) >= PENDING_MAX:
            self._apply_ticks(((topic, seq, flags, message.body, body),), arrival)
            return
        topic.seq = topic.value_seq = seq
        topic.arrival, topic.flags, topic.body = arrival, flags, message.body
        arrived.append(Tick(topic.key, body, seq, flags, arrival))

    def _apply_chunk(self, array: bytes, now_ns: int, utc_ns: int) -> None:
        """Take in ticks of all instruments, numbered by their own topics. The chunk's own number
        tells only that something is missing. Ticks that are not wanted are not decoded."""
        message = decode_chunk(array)
        body = message.body
        names, seqs = body.topics, body.seqs
        flags = body.flags or [0] * len(seqs)
        if not len(names) == len(seqs) == len(flags):
            self.bad_messages += 1
            return
        try:
            topics = [*map(self._topics.__getitem__, names)]
        except KeyError:  # one is new
            topics = [*map(self._topic, names)]
        wanted = None
        if self._wanted is not None:
            wanted = [topic.is_wanted for topic in topics]
            topics, seqs = [*compress(topics, wanted)], [*compress(seqs, wanted)]
            flags = [*compress(flags, wanted)]
        encoded, held = bodies_of(body.bodies, len(names), wanted)
        if not self._admits(message, utc_ns):
            return
        chunks = self._topic(TICKS_TOPIC)
        if chunks.seq and message.seq > chunks.seq + 1:
            self.losses.note()
            self.holes.missed("lost", {}, message.t_rx_ns, message.t_rx_ns)
        chunks.seq = message.seq
        self.ticks += len(topics)
        if topics:
            arrival = self._arrival(message, now_ns, utc_ns)
            self._apply_ticks(zip(topics, seqs, flags, encoded, held, strict=True), arrival)

    def _apply_ticks(
        self, ticks: Iterable[tuple[Topic, int, int, Encoded, Held]], arrival: Arrival
    ) -> None:
        """Keep and give out wanted ticks that came together: the hot loop of every reader. Each is
        topic, seq, flags and body, as the body came and as a tick holds it."""
        arrived = self.arrived
        give = arrived.append
        for topic, seq, flags, encoded, held in ticks:
            if seq == topic.seq + 1:  # as nearly always
                topic.seq = seq
            elif not self._is_new(topic, seq, flags, arrival.t_rx_ns):
                continue
            elif arrival.losses != self.losses.count:  # it came after what it shows to be missing
                arrival = msgspec.structs.replace(arrival, losses=self.losses.count)
            if flags and flags & _CACHED:  # nearly always 0
                before = topic.arrival
                if before is not None and before.t_rx_ns > arrival.t_rx_ns:
                    continue  # the broadcaster's file is older than what we hold
            topic.arrival, topic.value_seq = arrival, seq
            topic.flags, topic.body = flags, encoded
            give(Tick(topic.key, held, seq, flags, arrival))
        if len(arrived) > PENDING_MAX:
            self.overrun += self.waiting.make_room()

    def _topic(self, name: bytes) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            key = key_of(name)
            wanted = self._wanted
            is_wanted = wanted is None or key in wanted or key.startswith(self._prefixes)
            topic = self._topics[name] = Topic(key, is_wanted)
            if name.startswith(_TICKS):
                self.values.add(topic)
        return topic

    def begin_chunks(self) -> None:
        """Forget the number of `ticks/all`, which is subscribed to from now on: its messages are
        numbered from anywhere."""
        self._topic(TICKS_TOPIC).seq = 0

    def want(self, topics: Iterable[bytes]) -> None:
        """Take in the ticks of these topics (no NUL) from now on."""
        for name in topics:
            if self._wanted is not None:
                self._wanted.add(key_of(name))
            if name in self._topics and not self._topics[name].is_wanted:
                del self._topics[name]

    def drop(self, topics: Iterable[bytes]) -> None:
        """Forget the ticks of these topics (no NUL), also those that wait to be given out."""
        gone = set()
        for name in topics:
            key = key_of(name)
            gone.add(key)
            if self._wanted is not None:
                self._wanted.discard(key)
            self._topics.pop(name, None)
            self.values.remove(key)
        self.waiting.drop(gone)

    def _is_new(self, topic: Topic, seq: int, flags: int, at_ns: int) -> bool:
        """Whether this message, of UTC `at_ns`, is ahead of its topic; counts what is missing
        before it."""
        last = topic.seq
        if seq == 0:  # uncounted: from disk, which never replaces what this gen published
            return not (last and flags & _CACHED)
        if last:
            if seq <= last:
                self.duplicates += not flags & _SEEN and not self.is_doubled
                return False
            if seq > last + 1 and self.is_catching_up:
                self.skipped += seq - last - 1
                self._miss("skipped", topic, seq - last - 1, at_ns)
            elif seq > last + 1:
                self.gaps += seq - last - 1
                self.losses.note()
                self._miss("lost", topic, seq - last - 1, at_ns)
        topic.seq = seq
        return True

    def _miss(self, reason: GapReason, topic: Topic, count: int, at_ns: int) -> None:
        """Note that so many messages of a topic are missing before one of `at_ns`. A loss on any
        other topic than those of ticks shows that ticks may be lost, too."""
        last = topic.arrival
        if last is None:
            self.holes.missed(reason, {}, at_ns, at_ns)
        else:
            self.holes.missed(reason, {topic.key: count}, last.t_rx_ns, at_ns)

    def doubt(self, utc_ns: int) -> None:
        """Note that something may have been lost that no number tells of: some queue was full since
        the last heartbeat but one, and it may have been ours."""
        self.holes.missed("lost", {}, self.heard_utc_ns - max(0, self.behind_ns), utc_ns)

    def numbers(self) -> dict[str, int]:
        """Return the number of the last tick of each instrument that this gen has published."""
        return self.values.numbers(self.gen)
