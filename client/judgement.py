"""Judges each value by the last heartbeat: pure.

A value is fresh only while a heartbeat that was *sent* lately says so of the source of exactly this
value and of the time at which it came.
"""

from collections.abc import Mapping

from kitefeed.client.losses import Losses
from kitefeed.client.status import Status, status_of
from kitefeed.client.tick import Staleness, Tick
from kitefeed.client.values import LastTicks
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import Flag, Source
from kitefeed.protocol.kite.ticks import segment_of

# Plain integers: one operation on an IntFlag costs a microsecond, as much as decoding a tick.
_UNGRANTED = int(Flag.CACHED | Flag.STALE)
_FIRST_PACKET = int(Flag.FIRST_PACKET)

# Headlines that say by themselves why nothing is fresh.
_WORDS: Mapping[str, Staleness] = {
    word: word for word in ("closed", "paused", "login_required", "no_entitlement", "misconfigured")
}


class Judgement:
    """The reader's verdict on values. `gen`: of the broadcaster that is heard now, 0 before.
    `values`: the last tick of each instrument; `losses`: those that may have happened. The view
    keeps both up to date."""

    def __init__(self) -> None:
        self.values = LastTicks()
        self.losses = Losses()
        self.gen = 0
        self.heartbeat: f.Heartbeat | None = None
        self.shards: dict[int, f.ShardHealth] = {}
        self._state = f.FeedState()
        self._heard_ns = 0
        self._to_boot_ns = 0  # from UTC as the last heartbeat has it to our boot time

    # --- what is heard ------------------------------------------------------------------------

    def begun(self, gen: int) -> None:
        """Begin with another broadcaster: its first heartbeat will tell of the shards."""
        self.gen = gen
        self.shards = {}
        self.losses.restarted()

    def heard(self, heartbeat: f.Heartbeat, t_pub_ns: int, now_ns: int, utc_ns: int) -> None:
        """Take a heartbeat that was read at `now_ns` (boot time) and `utc_ns`, and sent at
        `t_pub_ns`."""
        self.heartbeat = heartbeat
        self.shards = {health.shard: health for health in heartbeat.shards}
        # A reader that was stopped finds old heartbeats in its queue: when they were sent counts.
        self._heard_ns = now_ns - max(0, utc_ns - t_pub_ns)
        self._to_boot_ns = self._heard_ns - t_pub_ns
        words = self._state
        words.feed, words.source = heartbeat.feed, heartbeat.source
        words.session, words.reason = heartbeat.session, heartbeat.reason

    def told(self, state: f.FeedState) -> None:
        """Take a headline that has changed."""
        self._state = state

    @property
    def heard_utc_ns(self) -> int:
        """The time at which the last heartbeat was sent, UTC ns; 0 before the first."""
        return self._heard_ns - self._to_boot_ns

    # --- what it means ------------------------------------------------------------------------

    def is_lost(self, now_ns: int) -> bool:
        """Whether no heartbeat was sent lately: then nothing is known of any value."""
        return self.heartbeat is None or now_ns - self._heard_ns > f.HEARTBEAT_HOLDS_NS

    def has_source(self, tick: Tick, now_ns: int) -> bool:
        """Whether the source that gave this value still is the one that feeds its shard."""
        health = self.shards.get(tick.shard)
        return (
            health is not None
            and not self.is_lost(now_ns)
            and not tick.flags & _UNGRANTED
            and tick.gen == self.gen
            and health.epoch == tick.epoch
            and health.source == tick.source_code
            and health.source != Source.NONE
        )

    def is_fresh(self, tick: Tick, now_ns: int) -> bool:
        """Whether nothing newer came or may have been lost, and the broadcaster judges it so."""
        return not self.why_stale(tick, now_ns)

    def why_stale(self, tick: Tick, now_ns: int) -> Staleness:
        """Return the first reason for which the tick is not fresh; empty when there is none."""
        if not self.values.is_last(tick):
            return "replaced"
        if self.is_lost(now_ns):
            return "lost"
        if self.losses.is_in_doubt and tick.arrival.losses != self.losses.count:
            return "gap"
        if not self.has_source(tick, now_ns):
            return "cached"
        return self._judged(tick, now_ns)

    def _judged(self, tick: Tick, now_ns: int) -> Staleness:
        """Return what the last heartbeat says of the tick. Times are compared on our own clock, by
        the times that messages tell: a clock that steps between two messages changes nothing."""
        health = self.shards[tick.shard]
        since_ns, otherwise = health.fresh_since_ns, _WORDS.get(self._state.feed, "unproven")
        if since_ns:
            otherwise = "old"
        segment = segment_of(tick.instrument_token) if health.segments else -1
        for listed in health.segments:
            if listed.segment == segment:
                is_first = bool(tick.flags & _FIRST_PACKET)
                since_ns = 0 if is_first else listed.fresh_since_ns
                otherwise = "first_packet" if is_first else "closed"
        is_fresh = since_ns and now_ns - tick.age_ns(now_ns) >= since_ns + self._to_boot_ns
        return "" if is_fresh else otherwise

    @property
    def word(self) -> str:
        """The headline as it was told last."""
        return self._state.feed

    def status(self, now_ns: int) -> Status:
        age_ns = None if self.heartbeat is None else now_ns - self._heard_ns
        epochs = [health.epoch for health in self.shards.values()]
        return status_of(self._state, self.heartbeat, age_ns, epochs, self.is_lost(now_ns))
