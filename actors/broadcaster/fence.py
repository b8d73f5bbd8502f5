"""Knows who may feed each shard, how alive that source is, and what was lost on the way.

The broadcaster itself checks the fence when it publishes. So a source that was paused and wakes up
need not behave well: its epoch is no longer the granted one.
"""

from typing import Literal

import msgspec

from kitefeed.protocol.feed import IngestBatch, Source
from kitefeed.protocol.kite.units import NS_PER_S

SHARDS_MAX = 16  # Kite allows three sockets per key; a grant for more is not ours to believe
BEAT_STALE_NS = 1_500_000_000  # sources send a batch or a beat about every 300 ms
FRAME_STALE_NS = 3 * NS_PER_S  # Kite sends at least a heartbeat per second
CANARY_STALE_NS = 5 * NS_PER_S
POLL_GRACE_NS = NS_PER_S

SourceName = Literal["websocket", "rest", "none"]
SOURCES: dict[SourceName, Source] = {
    "none": Source.NONE,
    "websocket": Source.WEBSOCKET,
    "rest": Source.REST,
}
_NAMES: dict[int, SourceName] = {int(source): name for name, source in SOURCES.items()}


class Holding(msgspec.Struct):
    """One shard's grant, and the reports of its source since. Boot-time ns; 0 means never."""

    epoch: int
    source: int
    batch_seq: int = 0
    heard_ns: int = 0
    frame_ns: int = 0
    canary_ns: int = 0
    value_ns: int = 0
    period_ns: int = 0
    # Batches were lost before this time: a value received earlier may not be the latest.
    loss_ns: int = 0
    received_ns: int = 0  # of the last batch
    held_segments: list[int] = []  # whose values are stale while the source is alive

    @property
    def source_name(self) -> SourceName:
        return _NAMES[self.source]

    @property
    def alive_until_ns(self) -> int:
        """The boot time until which the source counts as alive if nothing more is heard of it; 0
        before it was heard, and has heard Kite."""
        if self.source == Source.NONE or not self.heard_ns:
            return 0
        heard_until_ns = self.heard_ns + BEAT_STALE_NS
        if self.source == Source.REST:
            value_until_ns = self.value_ns + 2 * self.period_ns + POLL_GRACE_NS
            return min(heard_until_ns, value_until_ns) if self.value_ns else 0
        if not self.frame_ns:
            return 0
        until_ns = min(heard_until_ns, self.frame_ns + FRAME_STALE_NS)
        return min(until_ns, self.canary_ns + CANARY_STALE_NS) if self.canary_ns else until_ns

    def is_alive(self, now_ns: int) -> bool:
        return now_ns <= self.alive_until_ns


class Fence:
    """Grants per shard. `fenced` counts batches with values from a source that held no grant."""

    def __init__(self) -> None:
        self.holdings: dict[int, Holding] = {}
        self.fenced = 0
        self.lost_batches = 0
        self.losses: dict[int, int] = {}  # of batches, by shard

    @property
    def highest_epoch(self) -> int:
        return max((holding.epoch for holding in self.holdings.values()), default=0)

    def grant(self, shard: int, epoch: int, source: SourceName) -> Holding | None:
        """Adopt the grant unless a higher epoch was seen; return the one in force.

        A repetition changes nothing. None for a shard that cannot exist.
        """
        held = self.holdings.get(shard)
        if held and (epoch, SOURCES[source]) == (held.epoch, held.source):
            return held
        if held and epoch < held.epoch:
            return held
        if not 0 <= shard < SHARDS_MAX:
            return None
        self.holdings[shard] = Holding(epoch, SOURCES[source])
        return self.holdings[shard]

    def has_grant(self, shard: int, epoch: int, source: int) -> bool:
        held = self.holdings.get(shard)
        return held is not None and held.epoch == epoch and held.source == source

    def admit(self, batch: IngestBatch, now_ns: int) -> bool:
        """Whether `batch` comes from the granted source; if so, note its signs of life and
        losses."""
        held = self.holdings.get(batch.shard)
        if (
            held is None
            or held.epoch != batch.epoch
            or held.source != batch.source
            or not held.source
        ):
            self.fenced += bool(batch.topics or batch.items)
            return False
        # The first batch sets the base: what came before the grant was refused, not lost.
        received_ns = min(batch.received_boot_ns, now_ns)
        if held.batch_seq and batch.batch_seq > held.batch_seq + 1:
            self._note_loss(held, batch, received_ns)
        held.batch_seq = max(held.batch_seq, batch.batch_seq)
        held.received_ns = received_ns
        held.heard_ns = now_ns
        held.frame_ns = min(batch.last_frame_boot_ns, now_ns)
        held.canary_ns = min(batch.canary_boot_ns, now_ns)
        held.period_ns = batch.period_ns
        held.held_segments = batch.held_segments
        if batch.topics:
            held.value_ns = received_ns
        return True

    def _note_loss(self, held: Holding, batch: IngestBatch, received_ns: int) -> None:
        """Date a loss halfway between the last batch before it and the first after it, so that a
        reader can tell their values apart by ages that are not exact."""
        lost = batch.batch_seq - held.batch_seq - 1
        self.lost_batches += lost
        self.losses[batch.shard] = self.losses.get(batch.shard, 0) + lost
        held.loss_ns = max(1, (held.received_ns + received_ns) // 2)

    def alive(self, now_ns: int) -> list[int]:
        """Return the shards whose source is alive: in others every value reads stale."""
        return [shard for shard, held in self.holdings.items() if held.is_alive(now_ns)]

    def next_death_ns(self, now_ns: int) -> int | None:
        """Return the boot time at which the first living source counts as dead, if nothing more is
        heard of it."""
        untils_ns = [held.alive_until_ns for held in self.holdings.values()]
        return min([until_ns + 1 for until_ns in untils_ns if until_ns >= now_ns], default=None)

    def signature(self, now_ns: int) -> list[tuple[object, ...]]:
        """Return the facts that readers must be told at once when they change."""
        return [
            (
                shard, held.epoch, held.source, held.loss_ns, now_ns <= held.alive_until_ns,
                held.held_segments,
            )
            for shard, held in self.holdings.items()
        ]  # fmt: skip
