"""Ticks that wait for the program to take them. Pure."""

from collections import Counter, deque
from contextlib import suppress

from kitefeed.client.gaps import GapReason, Gaps
from kitefeed.client.tick import Tick
from kitefeed.client.values import LastTicks

PENDING_MAX = 10_000  # ~10 MB; the oldest go first


class Waiting:
    """`ticks`: in order, PENDING_MAX at most. Any thread may take from it at any time, one by one.

    `gaps` is told what is given up, unless the program never takes ticks (`is_iterated`): it reads
    values, and misses none.
    """

    def __init__(self, values: LastTicks, gaps: Gaps) -> None:
        self.ticks: deque[Tick] = deque()
        self.is_iterated = False
        self._values = values
        self._gaps = gaps

    def keep_newest(self) -> int:
        """Keep the newest tick of each instrument; return how many others there were."""
        waiting = self._taken_out()
        is_last = self._values.is_last
        kept = [tick for tick in waiting if is_last(tick)]
        self.ticks.extend(kept)
        if self._gaps.is_wanted and len(kept) < len(waiting):
            self._pass_over("skipped", [tick for tick in waiting if not is_last(tick)])
        return len(waiting) - len(kept)

    def make_room(self) -> int:
        """Give up the ticks that wait longest; return how many those were."""
        gone = []
        with suppress(IndexError):  # another thread takes them just now
            while len(self.ticks) > PENDING_MAX:
                gone.append(self.ticks.popleft())
        if self._gaps.is_wanted:
            self._pass_over("overrun", gone)
        return len(gone)

    def drop(self, instruments: set[str]) -> None:
        """Drop the ticks of these instruments, which are read no more."""
        waiting = self._taken_out()
        self.ticks.extend(tick for tick in waiting if tick.instrument not in instruments)

    def oldest_ns(self, now_ns: int) -> int:
        """Return the time at which the oldest waiting tick came; `now_ns` when none waits."""
        try:
            return self.ticks[0].arrival.boot_ns
        except IndexError:  # also when another thread took it just now
            return now_ns

    def fullness(self, now_ns: int, late_ns: int | None) -> float:
        """Return the share used up of the room, or of the time `late_ns` after which older ticks
        are given up for newer ones. At 1 some are."""
        if not self.is_iterated:
            return 0.0
        share = len(self.ticks) / PENDING_MAX
        if late_ns is not None:
            waited = (now_ns - self.oldest_ns(now_ns)) / late_ns
            # What is the newest of its instrument is never given up, however long it waits.
            if waited > share and not all(map(self._values.is_last, list(self.ticks))):
                return waited
        return share

    def _taken_out(self) -> list[Tick]:
        """Take out all ticks. One by one: other threads take meanwhile."""
        waiting = []
        with suppress(IndexError):
            while True:
                waiting.append(self.ticks.popleft())
        return waiting

    def _pass_over(self, reason: GapReason, ticks: list[Tick]) -> None:
        """Tell that these ticks are not given out; the newest of each instrument are, or are
        held."""
        if ticks and self.is_iterated:
            times_ns = [tick.t_rx_ns for tick in ticks]
            counts = Counter(tick.instrument for tick in ticks)
            self._gaps.passed(reason, counts, min(times_ns), max(times_ns))
