"""Finds readers that take nothing any more, so that their queues do not grow for ever. Pure.

ZeroMQ queues up to its high-water mark for each reader, and counts messages there: ten thousand
chunks of `ticks/all` are half a gigabyte. It would cut a frozen reader only if that reader had
asked for it (`HEARTBEAT_TTL`, which programs in other languages seldom set); its own pings do not
get past the messages that wait.
"""

from collections.abc import Mapping

from kitefeed.protocol.kite.units import NS_PER_S

# Longer than any pause after which a program can still use what waits for it. Also the bound: a
# stuck reader's queue holds at most so many seconds of all ticks, 12 MB at 6,000 per second.
STUCK_NS = 10 * NS_PER_S


class Stuck:
    """Finds stuck readers, fed once a second. When a reader takes anything, the number of bytes
    that wait for it in the kernel changes; while that number stays the same, it takes nothing."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int]] = {}  # descriptor -> bytes, since when

    def look(self, queued: Mapping[int, int], now_ns: int) -> list[int]:
        """Return the descriptors to cut. `queued`: for each reader whose buffer is full, the bytes
        that wait."""
        before = self._seen
        self._seen = {}
        for descriptor, count in queued.items():
            known = before.get(descriptor)
            since_ns = known[1] if known is not None and known[0] == count else now_ns
            self._seen[descriptor] = (count, since_ns)
        found = [fd for fd, (_, since_ns) in self._seen.items() if now_ns - since_ns >= STUCK_NS]
        for descriptor in found:
            del self._seen[descriptor]
        return found
