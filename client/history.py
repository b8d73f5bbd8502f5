"""The recorded beginning of a feed: first what was recorded since a time, then what comes, with no
hole and no tick twice.

The recording is a second behind. So when all of it has been read, the numbers of the last live
ticks are noted, once, as the seam: what was recorded up to it is still given out from the
recording, what comes after it from the feed.

What was not recorded of it is told as every other loss: `unrecorded`, to `on_gap`.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from kitefeed.client.gaps import Gaps
from kitefeed.client.player import Player
from kitefeed.client.segments import Follower
from kitefeed.client.tick import Tick
from kitefeed.client.view import View
from kitefeed.protocol import recording as r
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.kite.units import NS_PER_S

SEAM_NS = 6 * NS_PER_S  # a block is written within a second; a busy disk may take some more
LOOK_S = 0.05
PAUSE_NS_MAX = 5 * NS_PER_S  # heartbeats are recorded, one a second

log = logging.getLogger("kitefeed")


class History:
    """Reads the recordings in `directory`, from `since_ns` (UTC) on. wanted, prefixes: as
    `View`."""

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
        self._last_ns = since_ns  # of what was recorded since then
        self._passed = Counter[str]()  # numbers of each that were left out since the last gap
        self._live: deque[Tick] = deque()  # what came after the seam

    def take(self, view: View, now_ns: int) -> Tick | None:
        """Return the next tick; None while the next one is still being recorded, and when history
        is over. `view`: of the feed, as it is now; the ticks that it holds for the program wait, or
        are not needed."""
        while not self._ready:
            if self.is_over:
                return self._live.popleft() if self._live else None
            record = next(self._records, None) if self._records is not None else None
            if record is not None:
                self._note(record, view.holes)
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
        """Take the live ticks that came in meanwhile: those before the seam are recorded, too."""
        while (tick := view.take()) is not None:
            if self._seam is not None:
                self._live.append(tick)

    def _note(self, record: r.Record, holes: Gaps) -> None:
        """Tells what is missing before this record."""
        if record.type == r.Type.GAP:
            try:
                gap = r.decode_gap(record.data)
            except DECODE_ERRORS:
                return
            if gap.to_ns > self._since_ns:
                from_ns = max(gap.from_ns, self._since_ns)
                holes.missed("unrecorded", self._passed, from_ns, gap.to_ns)
                self._passed.clear()
                if gap.healed:
                    holes.heal("unrecorded")
        elif record.t_ns - self._last_ns > PAUSE_NS_MAX:
            # Nobody recorded that time; a segment begins with the last values.
            holes.missed("unrecorded", {}, self._last_ns, record.t_ns)
            holes.heal("unrecorded")
        self._last_ns = max(self._last_ns, record.t_ns)

    def _play(self, record: r.Record) -> None:
        is_due = record.t_ns >= self._since_ns
        for tick in self._player.play(record):
            gen, seq = self._seen.get(tick.instrument, (0, 0))
            if is_due and gen == tick.gen and tick.seq > seq + 1:
                self._passed[tick.instrument] += tick.seq - seq - 1
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
        """Look how far the recording reaches, after all that is recorded by now has been read."""
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
        # A tick may have been recorded before it came here: it is not given out again.
        self._live = deque(
            tick for tick in self._live
            if (tick.gen, tick.seq) > self._given.get(tick.instrument, (0, 0))
        )  # fmt: skip
        if missing:
            self._end_early(missing, view)
        view.holes.heal("unrecorded")  # the last values are held

    def _end_early(self, missing: list[str], view: View) -> None:
        """End without the rest of the recording: the recorder is dead, or far behind. The feed
        knows the last tick of each before the seam, if nothing newer has come; older ones are lost.
        """
        self.unrecorded = tuple(sorted(missing))
        log.warning(
            "the recording does not reach the present: ticks of %s before now are missing; "
            "`kitefeed status` says whether the recorder runs", ", ".join(self.unrecorded[:20]),
        )  # fmt: skip
        assert self._seam is not None  # noqa: S101  (it was looked at)
        lost: dict[str, int] = {}
        until_ns = self._last_ns
        for name in self.unrecorded:
            tick, seam = view.values.get(name), self._seam[name]
            is_held = tick is not None and tick.seq <= seam
            if tick is not None and is_held:
                self._ready.append(tick)
                until_ns = max(until_ns, tick.t_rx_ns)
            gen, seq = self._seen.get(name, (0, 0))
            if gen != self._gen:
                lost[name] = 0  # nobody knows how many
            elif seam - seq > is_held:  # those from before `since` are not asked for
                has_begun = self._last_ns > self._since_ns
                lost[name] = seam - seq - is_held if has_begun else 0
        view.holes.passed("unrecorded", lost, self._last_ns, until_ns)
