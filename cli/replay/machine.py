"""A recorded day on a feed of its own: records in, feed frames out. Pure.

It is a broadcaster without sources: subscribers get what they would get from one, but the values
and the verdicts are those of the recording. All says `replay`: headline, source, every value.

Times are moved to now, and ages are divided by the speed, so that what was fresh for so many of the
day's seconds is so for as many of the replay's. While it stands still, nothing grows old.
"""

from collections.abc import Sequence

import msgspec

from kitefeed.actors.broadcaster.fence import Holding
from kitefeed.actors.broadcaster.machine import HEARTBEAT_NS, Broadcaster
from kitefeed.actors.broadcaster.store import LastValues, Origin
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import HEARTBEAT_HOLDS_NS, Flag, SegmentHealth, ShardHealth, Source
from kitefeed.protocol.recording import Gap, Record, Type, decode_gap
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, SNAPSHOT, TICK, TICKS_TOPIC, key_of

WORD = "replay"
_KEPT_FLAGS = int(Flag.FIRST_PACKET | Flag.STALE | Flag.CACHED)


class Replay(Broadcaster):
    """gen: of this run. day: ISO date. speed: None for as fast as it goes, and for step by step.
    wanted, prefixes: names, and beginnings of names, of what is played; None for all.

    is_still: time stands still between two records; the shell says so.
    """

    def __init__(
        self,
        gen: int,
        now_ns: int,
        day: str,
        speed: float | None = 1.0,
        wanted: frozenset[str] | None = None,
        prefixes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(gen, now_ns, LastValues())
        self.is_still = True
        self.played_ns = 0  # the day's time, UTC
        self._day = day
        self._scale = speed or 1.0
        self._wanted = wanted
        self._prefixes = prefixes
        self._is_wanted: dict[bytes, bool] = {}
        self._recorded: dict[bytes, tuple[int, int]] = {}  # topic -> gen and seq, as recorded
        self._shards: list[ShardHealth] = []
        self._heard_ns = 0  # boot time of the last recorded heartbeat
        self._words = self._said_of("it has not begun")

    @property
    def words(self) -> f.FeedState:
        """The feed in words, as of now."""
        return self._words

    # --- records in ---------------------------------------------------------------------------

    def play(self, record: Record, now_ns: int, utc_ns: int) -> list[bytes]:
        """Return the frames to publish for one record."""
        self.played_ns = record.t_ns
        try:
            if record.type == Type.GAP:
                return self._play_gap(decode_gap(record.data), now_ns, utc_ns)
            if record.type == Type.FRAME:
                return self._play_frame(record.data, now_ns, utc_ns)
        except f.DECODE_ERRORS:
            self.bad_batches += 1
        return []

    def end(self, now_ns: int, utc_ns: int) -> list[bytes]:
        """End the day: its values stay, and nobody vouches for them."""
        return self._vouch_for_none("the recording is over", now_ns, utc_ns)

    def _play_gap(self, gap: Gap, now_ns: int, utc_ns: int) -> list[bytes]:
        if gap.healed:
            return []
        seconds = (gap.to_ns - gap.from_ns) / 1e9
        return self._vouch_for_none(f"{seconds:.0f} s are missing: {gap.reason}", now_ns, utc_ns)

    def _play_frame(self, frame: bytes, now_ns: int, utc_ns: int) -> list[bytes]:
        topic, array = f.split_frame(frame)
        if topic == TICKS_TOPIC:
            chunk = f.decode_chunk_message(array)
            columns = chunk.body
            flags = columns.flags or [0] * len(columns.topics)
            return self._play_ticks(
                chunk, columns.topics, columns.seqs, columns.bodies, flags, now_ns, utc_ns
            )
        message = f.decode_feed_message(array)
        if topic == HEARTBEAT_TOPIC:
            heard = f.decode_heartbeat(message.body)
            return self._play_heartbeat(heard, message.t_pub_ns, now_ns, utc_ns)
        if topic.startswith(SNAPSHOT):
            body = f.decode_snapshot_chunk(message.body)
            return (
                [] if isinstance(body, f.SnapshotEnd) else self._play_values(body, now_ns, utc_ns)
            )
        return []

    def _play_values(self, frames: list[bytes], now_ns: int, utc_ns: int) -> list[bytes]:
        """Play last values: those that were not played yet."""
        found: list[bytes] = []
        for frame in frames:
            topic, array = f.split_frame(frame)
            if topic.startswith(TICK):
                one = f.decode_feed_message(array)
                found += self._play_ticks(
                    one, [topic], [one.seq], [one.body], [one.flags], now_ns, utc_ns
                )
        return found

    def _play_ticks(
        self,
        then: f.FeedMessage,
        topics: Sequence[bytes],
        seqs: Sequence[int],
        bodies: Sequence[msgspec.Raw],
        flags: Sequence[int],
        now_ns: int,
        utc_ns: int,
    ) -> list[bytes]:
        age_ns = int(max(0, then.t_pub_ns - then.t_rx_ns) / self._scale)
        origin = Origin(then.shard, then.epoch, Source.REPLAY, now_ns - age_ns)
        writer = self._frames.of(origin, now_ns, utc_ns)
        columns: tuple[list[bytes], list[int], list[bytes], list[int]] = ([], [], [], [])
        for topic, seq, body, given in zip(topics, seqs, bodies, flags, strict=False):
            if not self._is_next(topic, then.gen, seq):
                continue
            value = self.values.get(topic) or self.values.admit(topic, origin)
            value.seq += 1
            value.body, value.origin, value.flags = bytes(body), origin, given & _KEPT_FLAGS
            for column, entry in zip(
                columns, (topic, value.seq, value.body, value.flags), strict=True
            ):
                column.append(entry)  # type: ignore[attr-defined]
        if not columns[0]:
            return []
        self.published += len(columns[0])
        self.values.changed(None)
        return self._read_now(writer, *columns)

    def _read_now(
        self,
        writer: f.TickFrames,
        topics: list[bytes],
        seqs: list[int],
        bodies: list[bytes],
        flags: list[int],
    ) -> list[bytes]:
        """Return the frames of those ticks that somebody listens to."""
        listeners = self.listeners
        has_all, wanted, prefixes = (
            listeners.has_all_ticks, listeners.wanted_topics, listeners.prefixes,
        )  # fmt: skip
        found = [
            writer.one(topic, seq, given, body)
            for topic, seq, body, given in zip(topics, seqs, bodies, flags, strict=True)
            if has_all or topic in wanted or (prefixes and topic.startswith(prefixes))
        ]
        if listeners.has_chunks:
            number = self._sequences.next(TICKS_TOPIC)
            given = flags if any(flags) else []
            found.append(writer.chunk(number, topics, seqs, bodies, given))
        return found

    def _is_next(self, topic: bytes, gen: int, seq: int) -> bool:
        """Whether this is wanted, and was not played before."""
        is_wanted = self._is_wanted.get(topic)
        if is_wanted is None:
            key = key_of(topic)
            is_wanted = (
                self._wanted is None or key in self._wanted or key.startswith(self._prefixes)
            )
            self._is_wanted[topic] = is_wanted
        before = self._recorded.get(topic)
        if not is_wanted or (before is not None and before[0] == gen and seq <= before[1]):
            return False
        self._recorded[topic] = gen, seq
        return True

    # --- heartbeats ---------------------------------------------------------------------------

    def _play_heartbeat(
        self, heard: f.Heartbeat, t_pub_ns: int, now_ns: int, utc_ns: int
    ) -> list[bytes]:
        self._shards = [self._moved(shard, t_pub_ns, utc_ns) for shard in heard.shards]
        self.fence.holdings = {
            shard.shard: Holding(shard.epoch, shard.source) for shard in self._shards
        }
        self._heard_ns = now_ns
        was = f"it was {heard.feed} by {heard.source}"
        return self._say(f"{was}: {heard.reason}" if heard.reason else was, now_ns, utc_ns, heard)

    def _moved(self, shard: ShardHealth, t_pub_ns: int, utc_ns: int) -> ShardHealth:
        def moved(since_ns: int) -> int:
            if since_ns <= 1:  # none, or all
                return since_ns
            return utc_ns - int((t_pub_ns - since_ns) / self._scale)

        return msgspec.structs.replace(
            shard,
            source=Source.REPLAY if shard.source else Source.NONE,
            fresh_since_ns=moved(shard.fresh_since_ns),
            segments=[
                SegmentHealth(each.segment, moved(each.fresh_since_ns)) for each in shard.segments
            ],
        )

    def _vouch_for_none(self, why: str, now_ns: int, utc_ns: int) -> list[bytes]:
        self._shards = [
            msgspec.structs.replace(shard, is_alive=False, fresh_since_ns=0, segments=[])
            for shard in self._shards
        ]
        return self._say(why, now_ns, utc_ns)

    def _said_of(self, what: str, heard: f.Heartbeat | None = None) -> f.FeedState:
        return f.FeedState(
            feed=WORD,
            source=WORD,
            session="unknown",
            reason=f"replay of {self._day}: {what}",
            closed_segments=heard.closed_segments if heard else [],
            fresh_shards=heard.fresh_shards if heard else None,
        )

    def _say(
        self, what: str, now_ns: int, utc_ns: int, heard: f.Heartbeat | None = None
    ) -> list[bytes]:
        """Return a heartbeat, and the state when its words are new."""
        words = self._said_of(what, heard)
        words.since_utc_ns, words.at_utc_ns = self._words.since_utc_ns or utc_ns, utc_ns
        is_news = words.reason != self._words.reason
        self._words = words
        # `_words` is set already, so `_announce` gives the state alone: the heartbeat goes anyway.
        state = self._announce(words, now_ns, utc_ns) if is_news or self._state is None else []
        return [self._heartbeat(now_ns, utc_ns), *state]

    def _heartbeat(self, now_ns: int, utc_ns: int) -> bytes:
        """Return the heartbeat as it was recorded last. If that would no longer hold in the day,
        this one vouches for nothing."""
        if not self.is_still and (now_ns - self._heard_ns) * self._scale > HEARTBEAT_HOLDS_NS:
            self._shards = [
                msgspec.structs.replace(shard, is_alive=False, fresh_since_ns=0, segments=[])
                for shard in self._shards
            ]
        self._said = self.fence.signature(now_ns)
        self._heartbeat_ns = now_ns
        self._heartbeat_due_ns = now_ns + HEARTBEAT_NS
        body = f.Heartbeat(
            gen=self.gen,
            feed=WORD,
            source=WORD,
            session="unknown",
            reason=self._words.reason,
            shards=self._shards,
            published=self.published,
            fenced=0,
            lost_batches=0,
            bad_batches=self.bad_batches,
            values=len(self.values),
            subscribers=self.listeners.subscribers,
            supervisor_age_ns=0,
            closed_segments=self._words.closed_segments,
            fresh_shards=self._words.fresh_shards,
            full_queues=self.full_queues,
        )
        seq = self._sequences.next(HEARTBEAT_TOPIC)
        return self._frames.own(HEARTBEAT_TOPIC, body, utc_ns, seq=seq)
