"""Decides when each record of a replay is due. Pure."""

from kitefeed.protocol.kite.units import NS_PER_S

PAUSE_NS_MAX = 3 * NS_PER_S  # what was not recorded is passed over in so long


class Pacer:
    """speed: how many of the day's seconds pass in one; None for no waiting at all."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._day_ns = 0  # of the last record
        self._due_ns = 0

    def wait_ns(self, day_ns: int, now_ns: int) -> int:
        """Return how long to wait with the record of `day_ns`. A player that is late never hurries
        by more than it is late."""
        if self._speed is None:
            return 0
        if not self._day_ns:
            self._day_ns, self._due_ns = day_ns, now_ns
        step_ns = max(0, day_ns - self._day_ns)
        self._day_ns = max(self._day_ns, day_ns)
        self._due_ns += min(PAUSE_NS_MAX, int(step_ns / self._speed))
        return max(0, self._due_ns - now_ns)
