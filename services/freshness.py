"""Tells by the daemon's heartbeat whether data arrives: the same for the gateway's health and for
alerts. Pure."""

from kitefeed.protocol.feed import Heartbeat


def is_fed(heartbeat: Heartbeat) -> bool:
    """Whether every source is alive, and no open segment is held stale because the index that
    should always tick is silent."""
    held = (each.segment for shard in heartbeat.shards for each in shard.segments
            if not each.fresh_since_ns)  # fmt: skip
    is_held = any(segment not in heartbeat.closed_segments for segment in held)
    return not is_held and all(shard.is_alive for shard in heartbeat.shards)
