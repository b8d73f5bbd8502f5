"""When the instrument dump is fetched. Pure: the wall clock arrives in events.

Kite makes it once a day and says to fetch it around 08:30 IST. A file counts as of the day whose
08:15 had passed when it was fetched; at start an older one is replaced at once, afterwards each
day at 08:30.
"""

from datetime import UTC, date, datetime, timedelta

import msgspec

from kitefeed.actors.policy.machine import Wake
from kitefeed.protocol import messages as m
from kitefeed.protocol.kite.rest import IST

_MADE_AFTER = timedelta(hours=8, minutes=15)
_FETCHED_AT = timedelta(hours=8, minutes=30)
_RETRY_NS = tuple(s * 1_000_000_000 for s in (5, 15, 30, 60))  # the last one again and again


class ClockRead(msgspec.Struct, frozen=True):
    """Wall clock, and what the file on disk is (rows 0: there is none). Given at start and then
    often; a laptop may sleep through 08:30."""

    utc_s: float
    rows: int = 0
    day_ist: str = ""


class DumpEnded(msgspec.Struct, frozen=True):
    """The child has ended: with a new file (rows above 0) or without."""

    rows: int
    day_ist: str


class FetchDump(msgspec.Struct, frozen=True):
    """Fetch the dump in a child process and write the file as of `day_ist`; then `DumpEnded`."""

    day_ist: str


class DumpSchedule:
    """One fetch at a time, repeated on failure until a file is there."""

    def __init__(self) -> None:
        self._clock: ClockRead | None = None
        self._fetch_day: date | None = None  # by the 08:30 rule, of the last clock read
        self._is_due = False
        self._is_fetching = False
        self._failures = 0
        self._retry_ns: int | None = None
        self._ready: m.InstrumentsReady | None = None

    @property
    def deadline_ns(self) -> int | None:
        return self._retry_ns

    def handle(
        self, event: ClockRead | DumpEnded | Wake, now_ns: int
    ) -> list[FetchDump | m.Message]:
        match event:
            case ClockRead():
                return self._read(event)
            case DumpEnded():
                return self._ended(event, now_ns)
        is_due = self._retry_ns is not None and now_ns >= self._retry_ns
        return self.retry() if is_due else []

    def retry(self) -> list[FetchDump | m.Message]:
        """Tries at once what failed and waits to be tried again."""
        if self._retry_ns is None:
            return []
        self._retry_ns = None
        return self._fetch()

    def news(self) -> list[m.Message]:
        """That a usable file exists, for a supervisor that may not know."""
        return [self._ready] if self._ready else []

    def _read(self, clock: ClockRead) -> list[FetchDump | m.Message]:
        is_start = self._clock is None
        self._clock = clock
        fetch_day = _day(clock.utc_s, _FETCHED_AT)
        if is_start:
            self._is_due = clock.day_ist < _day(clock.utc_s, _MADE_AFTER).isoformat()
        elif self._fetch_day is not None and fetch_day > self._fetch_day:
            self._is_due = True
        self._fetch_day = fetch_day
        said: list[FetchDump | m.Message] = []
        if clock.rows and self._ready is None:
            self._ready = m.InstrumentsReady(clock.rows, clock.day_ist)
            said.append(self._ready)
        return said if self._retry_ns is not None else [*said, *self._fetch()]

    def _fetch(self) -> list[FetchDump | m.Message]:
        if self._clock is None or not self._is_due or self._is_fetching:
            return []
        self._is_fetching = True
        return [FetchDump(_day(self._clock.utc_s, _MADE_AFTER).isoformat())]

    def _ended(self, event: DumpEnded, now_ns: int) -> list[FetchDump | m.Message]:
        self._is_fetching = False
        if not event.rows:
            self._retry_ns = now_ns + _RETRY_NS[min(self._failures, len(_RETRY_NS) - 1)]
            self._failures += 1
            return []
        self._is_due, self._failures, self._retry_ns = False, 0, None
        self._ready = m.InstrumentsReady(event.rows, event.day_ist)
        return [self._ready]


def _day(utc_s: float, since_midnight: timedelta) -> date:
    """The IST day whose `since_midnight` o'clock passed last."""
    return (datetime.fromtimestamp(utc_s, UTC).astimezone(IST) - since_midnight).date()
