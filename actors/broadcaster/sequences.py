"""Sequence numbers of topics whose messages are not kept: orders, notices, state, heartbeats."""

SEQUENCES_MAX = 5_000  # Kite takes 3,000 orders a day from one user


class Sequences:
    """Counts from 1 per topic. At the limit the oldest counter is forgotten; if its topic comes
    back, it goes on above every forgotten number, because a seq must never fall inside a gen."""

    def __init__(self, limit: int = SEQUENCES_MAX) -> None:
        self._last: dict[bytes, int] = {}
        self._limit = limit
        self._floor = 0

    def next(self, topic: bytes) -> int:
        seq = self._last.pop(topic, self._floor) + 1
        self._last[topic] = seq
        if len(self._last) > self._limit:
            oldest = next(iter(self._last))
            self._floor = max(self._floor, self._last.pop(oldest))
        return seq
