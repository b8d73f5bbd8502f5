"""Judges for all readers since when the values of each shard count as fresh. Pure.

A heartbeat holds until the next one, at most `HEARTBEAT_HOLDS_NS` after it was sent. The freshness
of some values (a polled one, one of a closed segment) ends by itself meanwhile, so these are judged
as of the end of that time.
"""

from kitefeed.actors.broadcaster.fence import Fence, Holding
from kitefeed.protocol.feed import (
    HEARTBEAT_HOLDS_NS,
    FeedState,
    SegmentHealth,
    ShardHealth,
    Source,
)
from kitefeed.protocol.kite.units import NS_PER_S

# A value of a segment that the calendar has closed is believed this long: ticks overrule it.
CLOSED_FRESH_NS = 60 * NS_PER_S
# Headlines under which nothing may read fresh, whatever the sources say.
NEVER_FRESH = frozenset({"misconfigured", "paused", "closed", "no_entitlement"})


def judge(fence: Fence, words: FeedState, now_ns: int, utc_ns: int) -> list[ShardHealth]:
    """Return every shard as a heartbeat of now tells it. `words`: the supervisor's."""
    to_utc_ns = utc_ns - now_ns
    return [
        _health(shard, held, _is_vouched_for(shard, words), words, now_ns, to_utc_ns)
        for shard, held in sorted(fence.holdings.items())
    ]


def _health(
    shard: int, held: Holding, is_vouched_for: bool, words: FeedState, now_ns: int, to_utc_ns: int
) -> ShardHealth:
    is_alive = held.is_alive(now_ns)
    segments: list[SegmentHealth] = []
    fresh_since_ns = 0
    if is_alive and is_vouched_for:
        since_ns = _since_ns(held, now_ns)
        fresh_since_ns = _utc_ns(since_ns, to_utc_ns)
        closed_since_ns = max(since_ns, now_ns + HEARTBEAT_HOLDS_NS - CLOSED_FRESH_NS)
        closed = dict.fromkeys(words.closed_segments, _utc_ns(closed_since_ns, to_utc_ns))
        none = dict.fromkeys(held.held_segments, 0)  # because of a silent canary
        segments = [SegmentHealth(*each) for each in (closed | none).items()]
    return ShardHealth(
        shard=shard,
        source=held.source,
        epoch=held.epoch,
        is_alive=is_alive,
        frame_age_ns=_age_ns(held.frame_ns, now_ns),
        canary_age_ns=_age_ns(held.canary_ns, now_ns),
        period_ns=held.period_ns,
        loss_age_ns=_age_ns(held.loss_ns, now_ns),
        fresh_since_ns=fresh_since_ns,
        segments=segments,
    )


def _is_vouched_for(shard: int, words: FeedState) -> bool:
    """Whether the headline lets values of this shard be fresh. `stale` is the word for the worst
    shard; an older supervisor does not tell which others are well."""
    if words.source not in ("websocket", "rest") or words.feed in NEVER_FRESH:
        return False
    return words.feed != "stale" if words.fresh_shards is None else shard in words.fresh_shards


def _since_ns(held: Holding, now_ns: int) -> int:
    """Return the boot time since which values of a living source are fresh; 0 for all that it gave.
    Those of a stream do not grow old; a polled one is believed for two periods."""
    if held.source != Source.REST:
        return held.loss_ns
    return max(held.loss_ns, now_ns + HEARTBEAT_HOLDS_NS - 2 * held.period_ns)


def _utc_ns(boot_ns: int, to_utc_ns: int) -> int:
    """Return the time for the wire. There 0 means no value, so 1 stands for all."""
    return max(1, boot_ns + to_utc_ns) if boot_ns else 1


def _age_ns(then_ns: int, now_ns: int) -> int:
    return max(0, now_ns - then_ns) if then_ns else -1
