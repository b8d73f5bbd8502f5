"""The recorded beginning of a feed: first what was recorded since a time, then what comes, with no
hole and no tick twice.

The recording is a second behind. So when all of it has been read, the numbers of the last live
ticks are noted, once, as the seam: what was recorded up to it is still given out from the
recording, what comes after it from the feed.
"""

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from kitefeed.client.player import Player
from kitefeed.client.segments import Follower
from kitefeed.client.tick import Tick
from kitefeed.client.view import View
from kitefeed.protocol import recording as r

SEAM_NS = 6_000_000_000  # a block is written within a second; a busy disk may take some more
LOOK_S = 0.05

log = logging.getLogger("kitefeed")


class History:
    """Of the recordings in `directory`, from `since_ns` (UTC) on. wanted, prefixes: as `View`."""

    def __init__(
        self,
        directory: Path,
        since_ns: int,
        wanted: frozenset[str] | None,
        prefixes: tuple[str, ...],
    ) -> None:
        self.is_over = False
        self.unrecorded: tuple[str, ...] = ()  # of which the last ticks before the seam are missing
        self._since_ns = since_ns
        self._follower = Follower(directory, r.day_of(since_ns))
        self._player = Player(wanted, prefixes)
        self._records: Iterator[r.Record] | None = self._follower.records()
        self._ready: deque[Tick] = deque()
        self._seen: dict[str, tuple[int, int]] = {}  # gen and number of the last recorded tick
        self._given: dict[str, tuple[int, int]] = {}  # of the last one that was given out
        self._seam: dict[str, int] | None = None
        self._gen = 0
        self._give_up_ns = 0
        self._live: deque[Tick] = deque()  # what came after the seam

    def take(self, view: View, now_ns: int) -> Tick | None:
        """The next tick. None while the rest is still being recorded, and when it is over. `view`:
        of the feed, as it is now; what it holds for the program waits, or is not needed."""
        while not self._ready:
            if self.is_over:
                return self._live.popleft() if self._live else None
            record = next(self._records, None) if self._records is not None else None
            if record is not None:
                self._play(record)
                continue
            self._records = None
            self._look(view, now_ns)
            if not self.is_over:
                self._records = self._follower.records()
                return None
        return self._ready.popleft()

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is left to be given out."""
        return self.is_over and not self._ready and not self._live

    def keep(self, view: View) -> None:
        """Takes what came in meanwhile: before the seam it is recorded, too."""
        while (tick := view.take()) is not None:
            if self._seam is not None:
                self._live.append(tick)

    def _play(self, record: r.Record) -> None:
        is_due = record.t_ns >= self._since_ns
        for tick in self._player.play(record):
            self._seen[tick.instrument] = tick.gen, tick.seq
            if is_due and self._is_before_the_seam(tick):
                self._given[tick.instrument] = tick.gen, tick.seq
                self._ready.append(tick)

    def _is_before_the_seam(self, tick: Tick) -> bool:
        if self._seam is None:
            return True
        if tick.gen != self._gen:
            return tick.gen < self._gen
        return tick.seq <= self._seam.get(tick.instrument, 0)

    def _look(self, view: View, now_ns: int) -> None:
        """All that is recorded by now has been read."""
        self.keep(view)
        if self._seam is None:
            self._gen, self._seam = view.gen, view.numbers()
            self._live.clear()
            self._give_up_ns = now_ns + SEAM_NS
        missing = [
            name for name, seq in self._seam.items()
            if self._seen.get(name, (0, 0)) < (self._gen, seq)
        ]  # fmt: skip
        if missing and now_ns < self._give_up_ns:
            return
        self.is_over = True
        # What was recorded before it had come here: it is not given out again.
        self._live = deque(tick for tick in self._live if self._is_new(tick))
        if missing:
            self.unrecorded = tuple(sorted(missing))
            log.warning(
                "the recording does not reach the present: ticks of %s before now are missing; "
                "`kitefeed status` says whether the recorder runs", ", ".join(self.unrecorded[:20]),
            )  # fmt: skip
            self._ready.extend(
                tick for name in self.unrecorded if (tick := view.values.get(name)) is not None
                if tick.seq <= self._seam[name]
            )  # fmt: skip

    def _is_new(self, tick: Tick) -> bool:
        return (tick.gen, tick.seq) > self._given.get(tick.instrument, (0, 0))
