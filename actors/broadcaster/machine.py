"""Decides what the feed carries: fences, numbers, stamps, keeps last values, answers subscribers.

Pure. Items are bytes from end to end: a tick's body is never decoded here. Events carry the wall
clock beside the boot time given to `handle`, because stamps are for other hosts; everything that
is kept is kept in boot time, so that a stepped wall clock cannot change an age.
"""

import msgspec

from kitefeed.actors.broadcaster.events import (
    Command,
    Event,
    Ingest,
    Introduced,
    Publish,
    Save,
    SaveFailed,
    Subscription,
    Tell,
    Told,
    Turn,
)
from kitefeed.actors.broadcaster.fence import Fence
from kitefeed.actors.broadcaster.listeners import Listeners, is_exact_tick, is_usable
from kitefeed.actors.broadcaster.sequences import Sequences
from kitefeed.actors.broadcaster.store import SOURCE_FLAGS, LastValues, Saved, Value
from kitefeed.protocol import feed as f
from kitefeed.protocol import messages as m
from kitefeed.protocol.feed import FeedMessage, Flag, IngestBatch, Item, Source
from kitefeed.protocol.topics import (
    HEARTBEAT,
    HEARTBEAT_TOPIC,
    NOTICE,
    NUL,
    ORDER,
    STATE_TOPIC,
    SUBSCRIPTION_BYTES_MAX,
    TICK,
    parse_snapshot_request,
)

HEARTBEAT_NS = 1_000_000_000
HEARTBEAT_GAP_NS = 100_000_000  # new subscribers get one early, but never more than ten per second
LISTENERS_DELAY_NS = 50_000_000  # a program subscribes to its instruments in one burst
SAVE_NS = 10_000_000_000
SNAPSHOTS_QUEUED_MAX = 1_000
REPLAY, SNAPSHOT, STALE = int(Flag.REPLAY), int(Flag.SNAPSHOT), int(Flag.STALE)
SNAPSHOT_CHUNK = 100  # 30 messages for 3,000 values: far from any high-water mark


class Broadcaster:
    """`gen`: this life, higher than every one before. `misconfigured`: why there is no feed."""

    def __init__(
        self, gen: int, now_ns: int, values: LastValues, misconfigured: str | None = None
    ) -> None:
        self.gen = gen
        self.values = values
        self.fence = Fence()
        self.listeners = Listeners()
        self.published = 0
        self.bad_batches = 0
        self.bad_items = 0
        self._sequences = Sequences()
        self._words = f.FeedState()
        if misconfigured:
            self._words = f.FeedState(feed="misconfigured", reason=misconfigured)
        self._state: Value | None = None
        self._snapshots: dict[bytes, bytes] = {}  # request -> prefix, oldest first
        self._supervisor_heard_ns = 0
        self._said = self.fence.signature(now_ns)
        self._heartbeat_due_ns = now_ns
        self._heartbeat_ns = 0
        self._death_due_ns: int | None = None  # of the first source, unless it is heard
        self._save_due_ns = now_ns + SAVE_NS
        self._saved_version = values.version
        self._listeners_due_ns: int | None = None
        self._listeners_told: tuple[str, ...] | None = None  # None: whatever it is, tell it

    @property
    def deadline_ns(self) -> int:
        """Boot time at which a Turn is wanted."""
        due_ns = self._heartbeat_due_ns
        if self._death_due_ns is not None:
            due_ns = min(due_ns, self._death_due_ns)
        if self._listeners_due_ns is not None:
            due_ns = min(due_ns, self._listeners_due_ns)
        return 0 if self._snapshots else due_ns

    def handle(self, event: Event, now_ns: int) -> list[Command]:
        commands = self._handle(event, now_ns)
        self._death_due_ns = self.fence.next_death_ns(now_ns)
        return commands

    def _handle(self, event: Event, now_ns: int) -> list[Command]:
        match event:
            case Ingest():
                frames = self._ingest(event.frame, now_ns, event.utc_ns)
                return [Publish(frames)] if frames else []
            case Subscription():
                return self._on_subscription(event.frame, now_ns, event.utc_ns)
            case Turn():
                return self._on_turn(event, now_ns)
            case Told():
                self._supervisor_heard_ns = now_ns
                return self._on_told(event.message, now_ns, event.utc_ns)
            case Introduced():
                self._listeners_told = None
                self._listeners_due_ns = now_ns + LISTENERS_DELAY_NS
            case SaveFailed():
                self._saved_version = -1
        return []

    def rows(self, now_ns: int, utc_ns: int) -> list[Saved]:
        """What is to survive this life."""
        self.values.expire()
        return self.values.rows(now_ns=now_ns, utc_ns=utc_ns)

    def grants(self) -> tuple[m.GrantReport, ...]:
        """For a supervisor that wants to adopt what runs."""
        return tuple(
            m.GrantReport(shard, held.epoch, held.source_name)
            for shard, held in sorted(self.fence.holdings.items())
        )

    def counters(self) -> dict[str, int]:
        return {
            "published": self.published,
            "fenced": self.fence.fenced,
            "lost_batches": self.fence.lost_batches,
            "bad_batches": self.bad_batches,
            "bad_items": self.bad_items,
            "values_refused": self.values.refused,
            "subscriptions_ignored": self.listeners.ignored,
        }

    # --- ingest: the hot path -----------------------------------------------------------------

    def _ingest(self, frame: bytes, now_ns: int, utc_ns: int) -> list[bytes]:
        try:
            batch = f.decode_batch(frame)
        except f.DECODE_ERRORS:
            self.bad_batches += 1
            return []
        if batch.v != f.VERSION:
            self.bad_batches += 1
            return []
        if not self.fence.admit(batch, now_ns):
            return []
        # A source that came to life is told before its values, so that they read fresh at once.
        frames = self._maybe_heartbeat(now_ns, utc_ns)
        self._add_items(frames, batch, now_ns, utc_ns)
        return frames

    def _add_items(self, frames: list[bytes], batch: IngestBatch, now_ns: int, utc_ns: int) -> None:
        shard, epoch, source = batch.shard, batch.epoch, batch.source
        received_ns = min(batch.received_boot_ns, now_ns)
        rx_ns = received_ns + utc_ns - now_ns
        gen, values, encode = self.gen, self.values, f.encode
        count = len(frames)
        for item in batch.items:
            topic = item.topic
            flags = item.flags & SOURCE_FLAGS
            body = item.body.copy()  # a view would keep the whole batch alive
            if item.flags & STALE:
                frames += self._end(topic, now_ns, utc_ns)
                continue
            if topic in values or (topic.startswith(TICK) and _is_topic(topic)):
                value = Value(shard, epoch, 0, source, flags, received_ns, body)
                seq = values.put(topic, value)
            elif _is_passed_on(item):
                seq = self._sequences.next(topic)
            else:
                self.bad_items += 1
                continue
            message = FeedMessage(
                f.VERSION, gen, shard, epoch, seq, source, flags, rx_ns, utc_ns, body
            )
            frames.append(topic + NUL + encode(message))
        self.published += len(frames) - count

    def _end(self, topic: bytes, now_ns: int, utc_ns: int) -> list[bytes]:
        """The source streams this instrument no more: its last value is sent again as stale, and
        stays so until a new packet comes. Nobody would know otherwise: the source is alive."""
        value = self.values.get(topic)
        if value is None or value.flags & STALE:
            return []
        ended = msgspec.structs.replace(value, flags=value.flags | STALE)
        self.values.put(topic, ended)
        return [self._repeat(topic, ended, 0, now_ns, utc_ns)]

    # --- subscribers --------------------------------------------------------------------------

    def _on_subscription(self, frame: bytes, now_ns: int, utc_ns: int) -> list[Command]:
        verb, subscription = frame[:1], frame[1:]
        if verb == b"\1" and not is_usable(subscription):
            self.listeners.ignored += 1
            return []
        if verb == b"\0":
            self.listeners.remove(subscription)
            self._snapshots.pop(subscription, None)
            self._note_listeners(subscription, now_ns)
            return []
        if verb != b"\1":
            return []
        self.listeners.add(subscription)
        self._note_listeners(subscription, now_ns)
        return self._welcome(subscription, now_ns, utc_ns)

    def _note_listeners(self, subscription: bytes, now_ns: int) -> None:
        if self._listeners_due_ns is None and is_exact_tick(subscription):
            self._listeners_due_ns = now_ns + LISTENERS_DELAY_NS

    def _welcome(self, subscription: bytes, now_ns: int, utc_ns: int) -> list[Command]:
        """What a new subscriber gets at once, on the same pipe as the live stream."""
        prefix = parse_snapshot_request(subscription)
        if prefix is not None:
            if len(self._snapshots) < SNAPSHOTS_QUEUED_MAX and NUL not in subscription[:-1]:
                self._snapshots[subscription] = prefix
            return []
        if subscription.startswith(HEARTBEAT):
            early_ns = max(now_ns, self._heartbeat_ns + HEARTBEAT_GAP_NS)
            self._heartbeat_due_ns = min(self._heartbeat_due_ns, early_ns)
            return []
        if not subscription.endswith(NUL):
            return []
        topic = subscription[:-1]
        value = self._kept(topic)
        if value is None:
            return []
        return [Publish([self._repeat(topic, value, REPLAY, now_ns, utc_ns)])]

    def _kept(self, topic: bytes) -> Value | None:
        return self._state if topic == STATE_TOPIC else self.values.get(topic)

    def _repeat(self, topic: bytes, value: Value, flag: int, now_ns: int, utc_ns: int) -> bytes:
        """A kept message again, with its old seq and its true age."""
        flags = value.flags | flag
        if value.source and not self.fence.has_grant(value.shard, value.epoch, value.source):
            flags |= STALE
        message = FeedMessage(
            v=f.VERSION,
            gen=self.gen,
            shard=value.shard,
            epoch=value.epoch,
            seq=value.seq,
            source=value.source,
            flags=flags,
            t_rx_ns=value.received_boot_ns + utc_ns - now_ns,
            t_pub_ns=utc_ns,
            body=value.body,
        )
        return f.feed_frame(topic, message)

    def _next_snapshot(self, now_ns: int, utc_ns: int) -> list[bytes]:
        """The answer to the oldest request: one per turn, so that many clients at once cost many
        short pauses and not a long one."""
        request = next(iter(self._snapshots))
        prefix = self._snapshots.pop(request)
        found = list(self.values.matching(prefix))
        if self._state is not None and (STATE_TOPIC + NUL).startswith(prefix):
            found.append((STATE_TOPIC, self._state))
        frames = [self._repeat(t, v, SNAPSHOT, now_ns, utc_ns) for t, v in found]
        bodies: list[object] = [
            frames[start : start + SNAPSHOT_CHUNK]
            for start in range(0, len(frames), SNAPSHOT_CHUNK)
        ]
        bodies.append(f.SnapshotEnd(len(frames)))
        topic = request.removesuffix(NUL)  # the NUL that ends an exact prefix also ends the topic
        return [
            self._own(topic, body, utc_ns, seq=seq, flags=SNAPSHOT)
            for seq, body in enumerate(bodies, start=1)
        ]

    def _own(self, topic: bytes, body: object, utc_ns: int, *, seq: int, flags: int = 0) -> bytes:
        """A message of the broadcaster's own: no shard, no source, made now."""
        message = FeedMessage(
            v=f.VERSION,
            gen=self.gen,
            shard=0,
            epoch=0,
            seq=seq,
            source=Source.NONE,
            flags=flags,
            t_rx_ns=utc_ns,
            t_pub_ns=utc_ns,
            body=msgspec.Raw(f.encode(body)),
        )
        return f.feed_frame(topic, message)

    # --- the supervisor -----------------------------------------------------------------------

    def _on_told(self, message: m.BusMessage, now_ns: int, utc_ns: int) -> list[Command]:
        match message:
            case m.Grant():
                held = self.fence.grant(message.shard, message.epoch, message.source)
                if held is None:
                    return []
                answer = Tell(m.Granted(message.shard, held.epoch, held.source_name))
                frames = self._maybe_heartbeat(now_ns, utc_ns)
                return [Publish(frames), answer] if frames else [answer]
            case m.Announce():
                return [Publish(self._announce(message.state, now_ns, utc_ns))]
            case _:
                return []

    def _announce(self, state: f.FeedState, now_ns: int, utc_ns: int) -> list[bytes]:
        is_new_headline = _headline(state) != _headline(self._words)
        self._words = state
        seq = self._sequences.next(STATE_TOPIC)
        body = msgspec.Raw(f.encode(state))
        self._state = Value(0, state.epoch, seq, Source.NONE, 0, now_ns, body)
        frames = [self._repeat(STATE_TOPIC, self._state, 0, now_ns, utc_ns)]
        if is_new_headline:
            frames.append(self._heartbeat(now_ns, utc_ns))
        return frames

    # --- time ---------------------------------------------------------------------------------

    def _on_turn(self, turn: Turn, now_ns: int) -> list[Command]:
        self._supervisor_heard_ns = now_ns - turn.supervisor_age_ns
        frames = self._maybe_heartbeat(now_ns, turn.utc_ns)
        if not frames and now_ns >= self._heartbeat_due_ns:
            frames.append(self._heartbeat(now_ns, turn.utc_ns))
        if self._snapshots:
            frames += self._next_snapshot(now_ns, turn.utc_ns)
        commands: list[Command] = [Publish(frames)] if frames else []
        return commands + self._maybe_tell_listeners(now_ns) + self._maybe_save(now_ns, turn.utc_ns)

    def _maybe_heartbeat(self, now_ns: int, utc_ns: int) -> list[bytes]:
        """A heartbeat out of turn when a grant or the life of a source changed."""
        if self.fence.signature(now_ns) == self._said:
            return []
        return [self._heartbeat(now_ns, utc_ns)]

    def _heartbeat(self, now_ns: int, utc_ns: int) -> bytes:
        self._said = self.fence.signature(now_ns)
        self._heartbeat_ns = now_ns
        self._heartbeat_due_ns = now_ns + HEARTBEAT_NS
        body = f.Heartbeat(
            gen=self.gen,
            feed=self._words.feed,
            source=self._words.source,
            session=self._words.session,
            reason=self._words.reason,
            shards=self.fence.health(now_ns),
            published=self.published,
            fenced=self.fence.fenced,
            lost_batches=self.fence.lost_batches,
            bad_batches=self.bad_batches,
            values=len(self.values),
            subscribers=self.listeners.subscribers,
            supervisor_age_ns=now_ns - self._supervisor_heard_ns,
            closed_segments=self._words.closed_segments,
        )
        seq = self._sequences.next(HEARTBEAT_TOPIC)
        return self._own(HEARTBEAT_TOPIC, body, utc_ns, seq=seq)

    def _maybe_tell_listeners(self, now_ns: int) -> list[Command]:
        if self._listeners_due_ns is None or now_ns < self._listeners_due_ns:
            return []
        self._listeners_due_ns = None
        keys = self.listeners.keys
        if keys == self._listeners_told:
            return []
        self._listeners_told = keys
        return [Tell(m.ListenersWant(keys))]

    def _maybe_save(self, now_ns: int, utc_ns: int) -> list[Command]:
        if now_ns < self._save_due_ns:
            return []
        self._save_due_ns = now_ns + SAVE_NS
        if self.values.version == self._saved_version:
            return []
        rows = self.rows(now_ns, utc_ns)
        self._saved_version = self.values.version
        return [Save(rows)]


def _headline(state: f.FeedState) -> tuple[object, ...]:
    """What readers judge freshness by: a heartbeat tells it at once."""
    return (state.feed, state.source, state.closed_segments)


def _is_topic(topic: bytes) -> bool:
    return len(topic) < SUBSCRIPTION_BYTES_MAX and NUL not in topic


def _is_passed_on(item: Item) -> bool:
    """Whether this is an order or a notice: published and numbered, never kept or replayed."""
    return item.topic.startswith((ORDER, NOTICE)) and _is_topic(item.topic)
