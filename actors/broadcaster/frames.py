"""The feed frames that are written one by one: kept values, and the broadcaster's own messages."""

from collections.abc import Callable

import msgspec

from kitefeed.actors.broadcaster.fence import Fence
from kitefeed.actors.broadcaster.store import Origin
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, Flag, Source

STALE = int(Flag.STALE)


class Frames:
    """Writes feed frames. `gen`: this life. `fence`: who holds the grants now."""

    def __init__(self, gen: int, fence: Fence) -> None:
        self._gen = gen
        self._fence = fence

    def kept(
        self,
        topic: bytes,
        seq: int,
        flags: int,
        origin: Origin,
        body: bytes,
        now_ns: int,
        utc_ns: int,
    ) -> bytes:
        """Write a kept value with its true age, and stale without a grant."""
        flags |= self._flag_of(origin)
        message = FeedMessage(
            v=f.VERSION,
            gen=self._gen,
            shard=origin.shard,
            epoch=origin.epoch,
            seq=seq,
            source=origin.source,
            flags=flags,
            t_rx_ns=origin.received_boot_ns + utc_ns - now_ns,
            t_pub_ns=utc_ns,
            body=msgspec.Raw(body),
        )
        return f.feed_frame(topic, message)

    def writer(self, now_ns: int, utc_ns: int) -> Callable[[bytes, int, int, Origin, bytes], bytes]:
        """Return `kept` for many values at one moment: the part that values of one origin share is
        encoded once, at a fifth of the cost."""
        writers: dict[Origin, tuple[f.TickFrames, int]] = {}

        def one(topic: bytes, seq: int, flags: int, origin: Origin, body: bytes) -> bytes:
            found = writers.get(origin)
            if found is None:
                found = writers[origin] = self.of(origin, now_ns, utc_ns), self._flag_of(origin)
            frames, stale = found
            return frames.one(topic, seq, flags | stale, body)

        return one

    def of(self, origin: Origin, now_ns: int, utc_ns: int) -> f.TickFrames:
        """Encode once the part that all ticks of one origin share."""
        rx_ns = origin.received_boot_ns + utc_ns - now_ns
        return f.TickFrames(self._gen, origin.shard, origin.epoch, origin.source, rx_ns, utc_ns)

    def _flag_of(self, origin: Origin) -> int:
        """Return STALE when the source holds no grant now; the broadcaster itself needs none."""
        shard, epoch, source = origin.shard, origin.epoch, origin.source
        return 0 if not source or self._fence.has_grant(shard, epoch, source) else STALE

    def own(self, topic: bytes, body: object, utc_ns: int, *, seq: int, flags: int = 0) -> bytes:
        """Write a message of the broadcaster's own: no shard, no source, made now."""
        message = FeedMessage(
            v=f.VERSION,
            gen=self._gen,
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
