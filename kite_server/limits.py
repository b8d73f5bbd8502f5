"""Limits how often an app may call: requests counted in a sliding window. Pure."""

from collections import deque

from kitefeed.protocol.kite.units import NS_PER_S

# One shared bucket for /quote, /quote/ohlc and /quote/ltp; one for candles, one for the rest.
QUOTES_PER_S = 1
HISTORICAL_PER_S = 3
OTHERS_PER_S = 10
# A caller that waits exactly one second may arrive a little early on our clock.
_TOLERANCE_NS = 20_000_000


class RateLimit:
    """At most `count` calls in any second, or any number for None. A refused call does not count
    against the caller."""

    def __init__(self, count: int | None) -> None:
        self._stamps: deque[int] = deque(maxlen=count)
        self._count = count

    def allow(self, now_ns: int) -> bool:
        window_ns = NS_PER_S - _TOLERANCE_NS
        if self._count is None:
            return True
        if len(self._stamps) == self._count and now_ns - self._stamps[0] < window_ns:
            return False
        self._stamps.append(now_ns)
        return True
