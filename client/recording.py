"""Recordings as a program reads them: the ticks of a day, judged as they were then.

    for tick in Recording("2026-11-30", "NSE:INFY"):
        if tick.is_fresh:
            print(tick.received_at, tick.last_price)

A recording is feed frames in files (docs/recording-format.md). They are given to the same `View`
that reads the live feed, at the time at which they were sent.
"""

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kitefeed.client import frames
from kitefeed.client.bars import WAIT_S, Bar, Bars
from kitefeed.client.player import STILL_NS, Player
from kitefeed.client.recorded_bars import recorded_bars
from kitefeed.client.segments import Segment, day_segments
from kitefeed.client.tick import Tick
from kitefeed.client.wants import Asked, Wants, flat
from kitefeed.protocol import location
from kitefeed.protocol import recording as r
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import BadInput, ConfigError
from kitefeed.protocol.kite.units import IST, NS_PER_S
from kitefeed.protocol.recording import Described, Gap, Type

if TYPE_CHECKING:
    import pandas
    import polars

MISSING_NS = 5 * NS_PER_S  # the hours of a recording follow each other without a pause
SEALED_NS = 180 * NS_PER_S  # a day's last segment is sealed two minutes after it, at the latest


class Recording:
    """The recorded ticks of one day in India.

    Arguments:

    - date: ISO, as "2026-11-30", or a `datetime.date`.
    - instruments: names, patterns such as `NSE:NIFTY*`, tokens, or lists of such; none: all.
    - dir: where recordings are; None: `record.dir` of the configuration.
    - config: the configuration; None: the one in force.
    - since, until: times of that day in India, such as "09:15"; `until` is not included. None: all
      of it.

    It can be iterated any number of times, also while the day is being recorded: then it ends with
    what has been written. Each tick is as its first reader could have seen it: `is_fresh`,
    `why_stale`, `source` and `age_s` are those of the moment at which it was sent, and stay so.

    What is damaged is left out and named in `damage`; it is among `gaps`, too.

    Raises:

    - BadInput: nothing is recorded of that day, or of an instrument; another argument.
    - ConfigError: nobody says where recordings are.
    """

    def __init__(
        self,
        date: str | datetime.date,
        *instruments: Asked,
        dir: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> None:
        self.date = _day_of(date)
        self.dir = _directory(dir, config)
        self.since_ns = 0 if since is None else _moment(self.date, since)
        self.until_ns = STILL_NS if until is None else _moment(self.date, until)
        self._asked = flat(instruments)
        self._segments = day_segments(self.dir, self.date)
        if not self._segments:
            raise BadInput(_nothing(self.dir, self.date))
        if all(each.problem for each in self._segments):
            raise BadInput(f"Nothing of {self.date} can be read; {self.damage[0]}")
        self._wanted, self._prefixes = self._resolved()

    @classmethod
    def of_segment(cls, path: Path) -> "Recording":
        """One file of a recording alone."""
        made = cls(path.parent.name, dir=path.parent.parent)
        made._segments = [each for each in made._segments if each.path == path]
        return made

    # --- what is in it ------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Tick]:
        """The ticks in the order in which they came; the first of each is its last value at the
        time at which the recording began."""
        player = Player(self._wanted, self._prefixes)
        for record in self.records():
            for tick in player.play(record):
                if record.t_ns >= self.since_ns:
                    yield tick

    def bars(self, interval: str = "1m", *, wait_s: float = WAIT_S) -> Iterator[Bar]:
        """The bars of these ticks, each when it was final: `Feed.bars` of that day. The last one
        says `gap` where the recording ends in it."""
        player = Player(self._wanted, self._prefixes)
        bars = Bars(interval, wait_s=wait_s)
        made = recorded_bars(self.records(), self.gaps, player, bars)
        return (bar for bar in made if bar.end_ns > self.since_ns)

    def to_pandas(self, *, exact: bool = False) -> "pandas.DataFrame":
        """A row for each tick: prices in rupees, or with `exact` whole numbers and their divisor.
        60 columns of 8 bytes: choose instruments, or a part of the day. Raises ImportError without
        pandas."""
        return frames.to_pandas(self, exact=exact)

    def to_polars(self, *, exact: bool = False) -> "polars.DataFrame":
        """As `to_pandas`, for polars."""
        return frames.to_polars(self, exact=exact)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """The feed frames as they came, of all instruments: when each was written down (UTC ns),
        and its bytes (docs/wire-format.md)."""
        return ((each.t_ns, each.data) for each in self.records() if each.type == Type.FRAME)

    @property
    def instruments(self) -> list[Described]:
        """The recorded instruments, or those of them that were asked for, by name."""
        found = self._described()
        if self._wanted is not None:
            found = {
                key: each
                for key, each in found.items()
                if key in self._wanted or key.startswith(self._prefixes or ("\0",))
            }
        return sorted(found.values(), key=lambda each: each.key)

    @property
    def gaps(self) -> list[Gap]:
        """The gaps of the day, in order of time; `reason` and `healed` as in the format."""
        found: dict[tuple[int, str], Gap] = {}
        before: Segment | None = None
        for segment in (each for each in self._segments if not each.problem):
            for gap in [*_between(before, segment), *segment.gaps()]:
                found[gap.from_ns, gap.reason] = gap
            before = segment
        return sorted(found.values(), key=lambda gap: (gap.from_ns, gap.to_ns))

    @property
    def last_ns(self) -> int:
        """The time up to which it had been written when it was opened, UTC nanoseconds."""
        return max(each.last_ns for each in self._segments)

    @property
    def size(self) -> int:
        """The bytes of all files that are read for it."""
        return sum(each.path.stat().st_size for each in self._read_segments())

    @property
    def damage(self) -> list[str]:
        """The places that cannot be read: file, place, and why; empty when all can be."""
        found = []
        for segment in self._segments:
            found += segment.damage()
            if not segment.ended and not segment.problem and not self._may_be_written(segment):
                found.append(f"{segment.path}: its end is missing")
        return found

    def _may_be_written(self, segment: Segment) -> bool:
        """Whether the segment may be written at this moment: it is the last one of a day that is
        not over."""
        return segment is self._segments[-1] and utc_ns() < _moment(self.date, "23:59") + SEALED_NS

    @property
    def wanted(self) -> tuple[frozenset[str] | None, tuple[str, ...]]:
        """Names, and beginnings of names, that were asked for; None for all."""
        return self._wanted, self._prefixes

    @property
    def progress(self) -> float:
        """The share that the present iteration has read, from 0 to 1."""
        total = sum(segment.bytes for segment in self._segments)
        return sum(segment.read_bytes for segment in self._segments) / total if total else 1.0

    # --- reading ------------------------------------------------------------------------------

    def records(self) -> Iterator[r.Record]:
        """Yield all that is in the files: frames, gaps and instruments (docs/recording-format.md),
        from the beginning of the segment that holds `since`: judging needs what was before."""
        for segment in self._read_segments():
            for record in segment.records():
                if record.t_ns >= self.until_ns:
                    return
                yield record

    def _read_segments(self) -> list[Segment]:
        starts = [s.started_ns for s in self._segments if s.started_ns <= self.since_ns]
        first_ns = max(starts, default=0)
        return [s for s in self._segments if first_ns <= s.started_ns < self.until_ns]

    def _described(self) -> dict[str, Described]:
        return {each.key: each for segment in self._segments for each in segment.instruments()}

    def _resolved(self) -> tuple[frozenset[str] | None, tuple[str, ...]]:
        """Return the names, and beginnings of names, that are wanted; None for all."""
        if not self._asked:
            return None, ()
        known = self._described()
        by_token = {each.token: key for key, each in known.items()}
        names = [by_token.get(one, f"token {one}") if isinstance(one, int) else one
                 for one in self._asked]  # fmt: skip
        wants = Wants([name for name in names if not name.startswith("token ")])
        missing = [name for name in names if name.startswith("token ")]
        missing += [name for name in wants.instruments if name not in known]
        if missing:
            raise BadInput(
                f"{', '.join(missing)}: nothing is recorded of it on {self.date}; "
                f"`kitefeed verify {self.date}` shows what is"
            )
        return frozenset(wants.instruments), wants.prefixes


def _between(before: Segment | None, segment: Segment) -> list[Gap]:
    """Return the gap between two files that should follow each other, and do not."""
    if before is None or before.ended not in ("hour", ""):  # else it is told in the segment
        return []
    if segment.started_ns - before.last_ns <= MISSING_NS:
        return []
    if not before.ended:
        detail = f"{before.path.name}: its end is missing"
        return [Gap(before.last_ns, segment.started_ns, "damaged", detail=detail)]
    detail = f"between {before.path.name} and {segment.path.name}"
    return [Gap(before.last_ns, segment.started_ns, "missing", detail=detail)]


# --- where and when -----------------------------------------------------------------------------


def _directory(named: str | os.PathLike[str] | None, config: str | os.PathLike[str] | None) -> Path:
    if named is not None:
        return location.absolute(named)
    found = location.record_dir(location.find_config(config))
    if found is None:
        raise ConfigError(
            "Nothing says where recordings are: name the directory (dir=…), or set record.dir in "
            "kitefeed.toml"
        )
    return found


def _day_of(date: str | datetime.date) -> str:
    if isinstance(date, datetime.datetime):
        raise BadInput(f"{date!r} is a time: name a day, such as {date.date().isoformat()!r}")
    try:
        return datetime.date.fromisoformat(str(date)).isoformat()
    except ValueError:
        raise BadInput(f"{date!r} is no date: write it as 2026-11-30") from None


def _moment(day: str, time: str) -> int:
    """UTC ns of a time of that day in India."""
    try:
        moment = datetime.time.fromisoformat(time)
    except (TypeError, ValueError):
        raise BadInput(f"{time!r} is no time: write it as 09:15 or 09:15:30") from None
    at = datetime.datetime.combine(datetime.date.fromisoformat(day), moment, IST)
    return int(at.timestamp()) * NS_PER_S + moment.microsecond * 1_000


def _nothing(directory: Path, day: str) -> str:
    days = [each.name for each in Segment.days(directory)]
    have = f"there are {days[0]} to {days[-1]}" if days else "there is no recording at all"
    return f"Nothing is recorded of {day} in {directory}; {have}"
