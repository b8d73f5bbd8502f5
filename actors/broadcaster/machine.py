"""Decides what the feed carries: fences, numbers, stamps, keeps last values, answers subscribers.

Pure. Items are bytes from end to end: a tick's body is never decoded here. Events carry the wall
clock beside the boot time given to `handle`, because stamps are for other hosts. All times that are
kept are boot times, so that a stepped wall clock cannot change an age.
"""

from itertools import compress

from kitefeed.actors.broadcaster.conflation import Conflation
from kitefeed.actors.broadcaster.events import (
    Command,
    Event,
    Ingest,
    Publish,
    Save,
    SaveFailed,
    SaveOrders,
    Subscription,
    Tell,
    Told,
    Wake,
)
from kitefeed.actors.broadcaster.fence import Fence
from kitefeed.actors.broadcaster.frames import Frames
from kitefeed.actors.broadcaster.judge import judge
from kitefeed.actors.broadcaster.listeners import Listeners, is_usable
from kitefeed.actors.broadcaster.orders import InHand, Orders
from kitefeed.actors.broadcaster.sequences import Sequences
from kitefeed.actors.broadcaster.snapshots import Snapshots
from kitefeed.actors.broadcaster.store import SOURCE_FLAGS, LastValues, Origin, Saved, Value
from kitefeed.actors.broadcaster.ticks import Ticks, Wanted, keep
from kitefeed.actors.broadcaster.wishes import Wishes
from kitefeed.actors.policy.machine import Welcomed
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import Flag, IngestBatch, Item, Source
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import GrantReport
from kitefeed.protocol.topics import (
    HEARTBEAT,
    HEARTBEAT_TOPIC,
    NOTICE,
    NUL,
    ORDER,
    STATE_TOPIC,
    SUBSCRIPTION_BYTES_MAX,
    TICK,
    TICKS_TOPIC,
)

HEARTBEAT_NS = NS_PER_S
HEARTBEAT_GAP_NS = 100_000_000  # new subscribers get one early, but never more than ten per second
SAVE_NS = 10 * NS_PER_S
REPLAY, SNAPSHOT, STALE = int(Flag.REPLAY), int(Flag.SNAPSHOT), int(Flag.STALE)


class Broadcaster:
    """Decides for the broadcaster. `gen`: this life, higher than every one before. `misconfigured`:
    why there is no feed."""

    def __init__(
        self,
        gen: int,
        now_ns: int,
        values: LastValues,
        misconfigured: str | None = None,
        orders: Orders | None = None,
    ) -> None:
        self.gen = gen
        self.values = values
        self.orders = orders or Orders()
        self.fence = Fence()
        self.listeners = Listeners()
        self.published = 0
        self.bad_batches = 0
        self.bad_items = 0
        self.full_queues = 0  # how often the queue to a reader was full
        self._sequences = Sequences()
        self._words = f.FeedState()
        if misconfigured:
            self._words = f.FeedState(feed="misconfigured", reason=misconfigured)
        self._state: Value | None = None
        self._frames = Frames(gen, self.fence)
        self._conflation = Conflation(values, self._frames)
        self._snapshots = Snapshots(self._frames, self._under)
        self._wishes = Wishes(self.listeners)
        self._books: list[InHand] = []  # order books: the one in hand, and one that waits
        self._supervisor_heard_ns = 0
        self._said = self.fence.signature(now_ns)
        self._heartbeat_due_ns = now_ns
        self._heartbeat_ns = 0
        self._death_due_ns: int | None = None  # of the first source, unless it is heard
        self._save_due_ns = now_ns + SAVE_NS
        self._saved_version = values.version

    @property
    def deadline_ns(self) -> int:
        """Boot time at which a Turn is wanted."""
        if self._snapshots or self._books:
            return 0
        due_ns = min(self._heartbeat_due_ns, self._save_due_ns)
        others = (self._death_due_ns, self._wishes.due_ns, self._conflation.deadline_ns)
        return min((due_ns, *(other for other in others if other is not None)))

    def handle(self, event: Event, now_ns: int) -> list[Command]:
        commands = self._handle(event, now_ns)
        self._death_due_ns = self.fence.next_death_ns(now_ns)
        is_due = self.orders.has_changed and not self._books  # once for a book
        return [*commands, SaveOrders()] if is_due else commands

    def _handle(self, event: Event, now_ns: int) -> list[Command]:
        match event:
            case Ingest():
                return self._ingest(event.frame, now_ns, event.utc_ns)
            case Subscription():
                return self._on_subscription(event.frame, now_ns, event.utc_ns)
            case Wake():
                return self._on_turn(event, now_ns)
            case Told():
                self._supervisor_heard_ns = now_ns
                return self._on_told(event.message, now_ns, event.utc_ns)
            case Welcomed():
                # At once, before a grant can be answered: a supervisor that does not know of these
                # wants when the answer comes would end them upstream.
                return [*self._wishes.all_at_once(now_ns)]
            case SaveFailed():
                self._saved_version = -1
        return []

    def note_full_queues(self, count: int, now_ns: int) -> None:
        """Note how often a queue was full (`count`: in this life). Readers hear of it soon: one of
        them has lost something."""
        if count > self.full_queues:
            self.full_queues = count
            self._hasten_heartbeat(now_ns)

    def rows(self, now_ns: int, utc_ns: int) -> list[Saved]:
        """Return the last values that the next life begins with."""
        self.values.expire()
        return self.values.rows(now_ns=now_ns, utc_ns=utc_ns)

    def grants(self) -> tuple[GrantReport, ...]:
        """Return the grants, for a supervisor that wants to adopt what runs."""
        return tuple(
            GrantReport(shard, held.epoch, held.source_name)
            for shard, held in sorted(self.fence.holdings.items())
        )

    def counters(self) -> dict[str, int]:
        return {
            "published": self.published,
            "conflated": self._conflation.published,
            "fenced": self.fence.fenced,
            "lost_batches": self.fence.lost_batches,
            "full_queues": self.full_queues,
            "bad_batches": self.bad_batches,
            "bad_items": self.bad_items,
            "orders_missed": self.orders.missed,
            "orders_repeated": self.orders.repeated,
            "values_refused": self.values.refused,
            "subscriptions_ignored": self.listeners.ignored,
        }

    # --- ingest: the hot path -----------------------------------------------------------------

    def _ingest(self, frame: bytes, now_ns: int, utc_ns: int) -> list[Command]:
        try:
            batch = f.decode_batch(frame)
        except f.DECODE_ERRORS:
            self.bad_batches += 1
            return []
        count = len(batch.topics)  # the columns have one length
        is_even = len(batch.bodies) == count and len(batch.flags) in (0, count)
        if batch.v != f.VERSION or not is_even:
            self.bad_batches += 1
            return []
        if batch.book is not None:
            del self._books[1:]  # one that waits knows less than this one
            self._books.append(InHand(batch.book, min(batch.received_boot_ns, now_ns)))
            return self._compare(now_ns, utc_ns)
        if not self.fence.admit(batch, now_ns):
            return []
        # A source that came to life is told before its values, so that they read fresh at once.
        frames = self._maybe_heartbeat(now_ns, utc_ns)
        if batch.topics:
            self._add_ticks(frames, batch, now_ns, utc_ns)
        elif batch.items:
            self._add_items(frames, batch, now_ns, utc_ns)
        return [Publish(frames)] if frames else []

    def _compare(self, now_ns: int, utc_ns: int) -> list[Command]:
        """Publish updates that the order book in hand has and Kite never sent: a part of them,
        because ticks wait meanwhile. `OrdersHealed` comes with the last one."""
        if not self._books:
            return []
        hand = self._books[0]
        missed = self.orders.compare(hand, utc_ns)
        writer = self._frames.of(Origin(0, 0, Source.REST, hand.asked_ns), now_ns, utc_ns)
        next_seq = self._sequences.next
        frames = [writer.one(topic, next_seq(topic), 0, body) for topic, body in missed]
        self.published += len(frames)
        commands: list[Command] = [Publish(frames)] if frames else []
        if hand.is_over:
            del self._books[0]
            orders = len(hand.book.orders)
            commands.append(Tell(m.OrdersHealed(hand.book.reading, orders, hand.missed)))
        return commands

    def _add_ticks(self, frames: list[bytes], batch: IngestBatch, now_ns: int, utc_ns: int) -> None:
        """Keep and number every tick, and write it for those who listen. This is the hot path."""
        origin, writer = self._origin_of(batch, now_ns, utc_ns)
        values = self.values.get_all(batch.topics)
        if values is None:
            self._drop_bad(batch)
            values = [self.values.get(t) or self.values.admit(t, origin) for t in batch.topics]
        flags = [given & SOURCE_FLAGS for given in batch.flags]
        listeners = self.listeners
        wanted = Wanted(
            None if listeners.has_all_ticks else listeners.wanted_topics,
            listeners.prefixes,
            self._sequences.next(TICKS_TOPIC) if listeners.has_chunks else None,
        )
        frames += keep(Ticks(values, batch.topics, batch.bodies, flags), origin, writer, wanted)
        self.published += len(values)
        self.values.changed(origin.received_boot_ns if not flags or 0 in flags else None)

    def _drop_bad(self, batch: IngestBatch) -> None:
        """Take out of the columns what no source of ours writes; looks only at new topics."""
        is_good = [t in self.values or (t.startswith(TICK) and _is_topic(t)) for t in batch.topics]
        self.bad_items += is_good.count(False)
        batch.topics = list(compress(batch.topics, is_good))
        batch.bodies = list(compress(batch.bodies, is_good))
        batch.flags = list(compress(batch.flags, is_good))

    def _origin_of(
        self, batch: IngestBatch, now_ns: int, utc_ns: int
    ) -> tuple[Origin, f.TickFrames]:
        received_ns = min(batch.received_boot_ns, now_ns)
        origin = Origin(batch.shard, batch.epoch, batch.source, received_ns)
        return origin, self._frames.of(origin, now_ns, utc_ns)

    def _add_items(self, frames: list[bytes], batch: IngestBatch, now_ns: int, utc_ns: int) -> None:
        """Publish orders and notices, which are numbered but not kept; end instruments that stream
        no more."""
        _, writer = self._origin_of(batch, now_ns, utc_ns)
        for item in batch.items:
            if item.flags & STALE:
                frames += self._end(item.topic, batch.shard, now_ns, utc_ns)
            elif not _is_passed_on(item):
                self.bad_items += 1
            elif item.topic.startswith(NOTICE) or self.orders.is_news(item, now_ns, utc_ns):
                seq = self._sequences.next(item.topic)
                flags = item.flags & SOURCE_FLAGS
                frames.append(writer.one(item.topic, seq, flags, bytes(item.body)))
                self.published += 1

    def _end(self, topic: bytes, shard: int, now_ns: int, utc_ns: int) -> list[bytes]:
        """Send an instrument's last value again as stale, because its source streams it no more. It
        stays stale until a new packet comes. Nobody would know otherwise: the source is alive. A
        source cannot end an instrument that another shard has taken over."""
        value = self.values.get(topic)
        if value is None or value.origin.shard != shard or value.flags & STALE:
            return []
        value.seq += 1
        value.flags |= STALE
        self.values.changed(None)
        self.published += 1
        frames = [self._repeat(topic, value, 0, now_ns, utc_ns)]
        if self.listeners.has_chunks:
            writer = self._frames.of(value.origin, now_ns, utc_ns)
            seq = self._sequences.next(TICKS_TOPIC)
            frames.append(writer.chunk(seq, [topic], [value.seq], [value.body], [value.flags]))
        return frames + self._conflation.ended(topic, now_ns, utc_ns)

    # --- subscribers --------------------------------------------------------------------------

    def _on_subscription(self, frame: bytes, now_ns: int, utc_ns: int) -> list[Command]:
        verb, subscription = frame[:1], frame[1:]
        if verb == b"\0":
            self.listeners.remove(subscription)
            self._conflation.remove(subscription)
            self._snapshots.forget(subscription)
            self._wishes.note(subscription, now_ns)
            return []
        if verb != b"\1":
            return []
        self.listeners.add(subscription)
        self._conflation.add(subscription, now_ns)
        self._wishes.note(subscription, now_ns)
        return self._welcome(subscription, now_ns, utc_ns) if is_usable(subscription) else []

    def _welcome(self, subscription: bytes, now_ns: int, utc_ns: int) -> list[Command]:
        """Give a new subscriber its last values at once, on the same pipe as the live stream."""
        if self._snapshots.ask(subscription):
            return []
        if subscription.startswith(HEARTBEAT):
            self._hasten_heartbeat(now_ns)
            return []
        if not subscription.endswith(NUL):
            return []
        topic = subscription[:-1]
        value = self._state if topic == STATE_TOPIC else self.values.get(topic)
        if value is None:
            frames = self._conflation.replay(topic, now_ns, utc_ns)
        else:
            frames = [self._repeat(topic, value, REPLAY, now_ns, utc_ns)]
        return [Publish(frames)] if frames else []

    def _repeat(self, topic: bytes, value: Value, flag: int, now_ns: int, utc_ns: int) -> bytes:
        """Write a kept message again, with its old seq and its true age."""
        flags = value.flags | flag
        return self._frames.kept(topic, value.seq, flags, value.origin, value.body, now_ns, utc_ns)

    def _under(self, prefix: bytes, now_ns: int, utc_ns: int) -> list[bytes]:
        """Return the values kept under `prefix`, for a snapshot."""
        found = list(self.values.matching(prefix))
        if self._state is not None and (STATE_TOPIC + NUL).startswith(prefix):
            found.append((STATE_TOPIC, self._state))
        frames = [self._repeat(t, v, SNAPSHOT, now_ns, utc_ns) for t, v in found]
        return frames + self._conflation.snapshot(prefix, now_ns, utc_ns)

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
        origin = Origin(0, state.epoch, Source.NONE, now_ns)
        self._state = Value(STATE_TOPIC + NUL, seq, origin, 0, f.encode(state))
        frames = [self._heartbeat(now_ns, utc_ns)] if is_new_headline else []
        return [*frames, self._repeat(STATE_TOPIC, self._state, 0, now_ns, utc_ns)]

    # --- time ---------------------------------------------------------------------------------

    def _on_turn(self, turn: Wake, now_ns: int) -> list[Command]:
        self._supervisor_heard_ns = now_ns - turn.supervisor_age_ns
        frames = self._maybe_heartbeat(now_ns, turn.utc_ns)
        if not frames and now_ns >= self._heartbeat_due_ns:
            frames.append(self._heartbeat(now_ns, turn.utc_ns))
        frames += self._conflation.turn(now_ns, turn.utc_ns)
        frames += self._snapshots.next(now_ns, turn.utc_ns)
        commands: list[Command] = [Publish(frames)] if frames else []
        commands += self._wishes.turn(now_ns)
        commands += self._compare(now_ns, turn.utc_ns)
        return commands + self._maybe_save(now_ns, turn.utc_ns)

    def _maybe_heartbeat(self, now_ns: int, utc_ns: int) -> list[bytes]:
        """Write a heartbeat out of turn when a grant or the life of a source changed."""
        if self.fence.signature(now_ns) == self._said:
            return []
        return [self._heartbeat(now_ns, utc_ns)]

    def _hasten_heartbeat(self, now_ns: int) -> None:
        early_ns = max(now_ns, self._heartbeat_ns + HEARTBEAT_GAP_NS)
        self._heartbeat_due_ns = min(self._heartbeat_due_ns, early_ns)

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
            shards=judge(self.fence, self._words, now_ns, utc_ns),
            published=self.published,
            fenced=self.fence.fenced,
            lost_batches=self.fence.lost_batches,
            bad_batches=self.bad_batches,
            values=len(self.values),
            subscribers=self.listeners.subscribers,
            supervisor_age_ns=now_ns - self._supervisor_heard_ns,
            closed_segments=self._words.closed_segments,
            fresh_shards=self._words.fresh_shards,
            full_queues=self.full_queues,
        )
        seq = self._sequences.next(HEARTBEAT_TOPIC)
        return self._frames.own(HEARTBEAT_TOPIC, body, utc_ns, seq=seq)

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
    """Return the words by which readers judge freshness: a heartbeat tells a change at once."""
    return (state.feed, state.source, state.closed_segments, state.fresh_shards)


def _is_topic(topic: bytes) -> bool:
    return len(topic) < SUBSCRIPTION_BYTES_MAX and NUL not in topic


def _is_passed_on(item: Item) -> bool:
    """Whether this is an order or a notice: published and numbered, never kept or replayed."""
    return item.topic.startswith((ORDER, NOTICE)) and _is_topic(item.topic)
