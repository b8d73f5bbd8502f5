"""Which readers take nothing any more, so that what waits for them does not grow for ever. Pure.

ZeroMQ queues up to its high-water mark for each reader, and counts messages there: ten thousand
chunks of `ticks/all` are half a gigabyte. It would cut a reader that is frozen only if that one had
asked for it (`HEARTBEAT_TTL`, which programs in other languages seldom set); its own pings do not
get past what waits.
"""

from collections.abc import Mapping

from kitefeed.protocol.kite.units import NS_PER_S

# Longer than any pause of a program that still can use what it finds then. Also the bound: so long
# of all ticks waits for a stuck reader at most, 12 MB at 6,000 per second.
STUCK_NS = 10 * NS_PER_S


class Stuck:
    """Fed once a second. A reader that takes anything changes how much waits for it in the kernel;
    a number that stays the same is that of one who takes nothing."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int]] = {}  # descriptor -> bytes, since when

    def look(self, queued: Mapping[int, int], now_ns: int) -> list[int]:
        """Descriptors to cut. `queued`: the bytes that wait, of those whose buffer is full."""
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
