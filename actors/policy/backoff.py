"""The waits before the next try."""

from collections.abc import Sequence

from kitefeed.protocol.kite.units import NS_PER_S


class Ladder:
    """Rungs in seconds; the last one repeats. Not for a resource that says itself when to come back
    (HTTP 429): that has a wait of its own."""

    def __init__(self, rungs_s: Sequence[float]) -> None:
        self._rungs_s = tuple(rungs_s)
        self.taken = 0

    def next_ns(self) -> int:
        """Return the next wait, in nanoseconds; climb one rung."""
        rung_s = self._rungs_s[min(self.taken, len(self._rungs_s) - 1)]
        self.taken += 1
        return int(rung_s * NS_PER_S)

    def reset(self) -> None:
        self.taken = 0
