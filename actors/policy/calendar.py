"""The exchange calendar: dated tables in, sessions out. Pure; the text of a table is an argument.

`calendar.toml` beside this file is the shipped table and describes the format. Tables are asked in
order and the last one that says something about a date and segment wins. A day in a year that no
table covers is an ordinary weekday or weekend, and uncertain. Moments are IST.
"""

import tomllib
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from kitefeed.protocol.kite.units import IST

VERSION = 1
SEGMENTS = ("NSE", "BSE", "INDICES", "NFO", "BFO", "CDS", "BCD", "MCX", "NCO")
GROUPS: dict[str, tuple[str, ...]] = {
    "equity": SEGMENTS[:5],
    "cash": SEGMENTS[:3],
    "derivatives": SEGMENTS[3:5],
    "currency": SEGMENTS[5:7],
    "commodity": SEGMENTS[7:],
}
AHEAD_DAYS_MAX = 60  # how far the next session is looked for: no exchange is shut for two months
WEEKEND = 5  # date.weekday() of Saturday

PhaseName = Literal["pre_open", "pre_open_match", "open", "closing_auction", "post_close"]
# A segment between two phases of a session is in its "break", outside of all sessions "closed".
PhaseWord = PhaseName | Literal["break", "closed"]
_AT = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_Span = Annotated[str, Meta(pattern=rf"^{_AT}-{_AT}\Z")]
_Clock = Annotated[str, Meta(pattern=rf"^{_AT}\Z")]


class BadTable(ValueError):
    """A table that cannot be used: the key, and what is wrong with it."""


class Phase(NamedTuple):
    name: PhaseName
    start: time
    end: time


class TradingSession(NamedTuple):
    """Phases in order; between two of them there may be a break."""

    phases: tuple[Phase, ...]

    @property
    def start(self) -> time:
        return self.phases[0].start

    @property
    def end(self) -> time:
        return self.phases[-1].end


class Plan(NamedTuple):
    """One day of one segment; without sessions it is closed. `name`: what the day is, empty for an
    ordinary one. `is_certain`: the table covers it, and more than one source says so."""

    sessions: tuple[TradingSession, ...]
    name: str
    is_certain: bool


# --- the format ---------------------------------------------------------------------------------


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table: an unknown key is an error."""


class _Hours(_Entry, frozen=True):
    """One session, phase by phase; empty: there is no such phase."""

    pre_open: _Span | None = None
    pre_open_match: _Span | None = None
    open: _Span | None = None
    closing_auction: _Span | None = None
    post_close: _Span | None = None


class _Regime(_Entry, frozen=True):
    """The hours of weekdays from a date on, until a later entry (or `until`, inclusive)."""

    segments: list[str]
    since: date = msgspec.field(name="from")
    sessions: list[_Hours]
    until: date = date.max
    uncertain: bool = False


class _Day(_Entry, frozen=True):
    """One date: closed, unless it has sessions of its own or (a part of) those of a weekday."""

    date: date
    segments: list[str]
    name: str = ""
    uncertain: bool = False
    sessions: list[_Hours] = []
    like_weekday: bool = False
    since: _Clock | None = msgspec.field(name="from", default=None)
    until: _Clock | None = None


class _File(_Entry, frozen=True):
    version: int = VERSION
    years: list[int] = []
    regime: list[_Regime] = []
    day: list[_Day] = []


class _Special(NamedTuple):
    """A day's entry. `sessions` None: those of a weekday, as far as they lie in from..until."""

    name: str
    is_certain: bool
    sessions: tuple[TradingSession, ...] | None
    since: time
    until: time


class _Weekdays(NamedTuple):
    since: date
    until: date
    is_certain: bool
    sessions: tuple[TradingSession, ...]


class Table(NamedTuple):
    """A checked file."""

    years: frozenset[int]
    weekdays: dict[str, list[_Weekdays]]
    days: dict[tuple[date, str], _Special]


def parse(text: str) -> Table:
    """Parse and check a table. Raises BadTable with the key and what is wrong."""
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise BadTable(f"is not TOML: {error}") from None
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at ")
        raise BadTable(f"{where.strip('`').removeprefix('$.') or 'top level'}: {reason}") from None
    if file.version != VERSION:
        raise BadTable(f"version: is {file.version}, this program reads {VERSION}")
    table = Table(frozenset(file.years), {}, {})
    for n, regime in enumerate(file.regime):
        _add_regime(table, regime, f"regime[{n}]")
    for rows in table.weekdays.values():
        rows.sort(key=lambda row: row.since)
    for n, day in enumerate(file.day):
        _add_day(table, day, f"day[{n}]")
    return table


def _add_regime(table: Table, regime: _Regime, where: str) -> None:
    if regime.until < regime.since:
        raise BadTable(f"{where}.until: {regime.until} is before {regime.since}")
    sessions = _sessions(regime.sessions, where)
    row = _Weekdays(regime.since, regime.until, not regime.uncertain, sessions)
    for segment in _segments(regime.segments, where):
        table.weekdays.setdefault(segment, []).append(row)


def _add_day(table: Table, day: _Day, where: str) -> None:
    is_part = day.since is not None or day.until is not None
    if day.sessions and (day.like_weekday or is_part):
        raise BadTable(f"{where}.sessions: excludes like_weekday, from and until")
    since, until = _clock(day.since or "00:00"), _clock(day.until or "23:59")
    if since >= until:
        raise BadTable(f"{where}.until: {day.until} is not after {day.since}")
    sessions = None if day.like_weekday or is_part else _sessions(day.sessions, where)
    special = _Special(day.name, not day.uncertain, sessions, since, until)
    for segment in _segments(day.segments, where):
        if (day.date, segment) in table.days:
            raise BadTable(f"{where}: {day.date} has an entry for {segment} already")
        table.days[day.date, segment] = special


def _segments(names: list[str], where: str) -> Iterator[str]:
    for name in names:
        if name not in SEGMENTS and name not in GROUPS:
            valid = ", ".join((*SEGMENTS, *GROUPS))
            raise BadTable(f"{where}.segments: {name!r} is not one of {valid}")
        yield from GROUPS.get(name, (name,))


def _sessions(rows: list[_Hours], where: str) -> tuple[TradingSession, ...]:
    sessions = tuple(_session(hours, f"{where}.sessions[{n}]") for n, hours in enumerate(rows))
    for before, after in pairwise(sessions):
        if after.start < before.end:
            raise BadTable(f"{where}.sessions: one starts at {after.start:%H:%M}, before the end "
                           f"of the one above it")  # fmt: skip
    return sessions


def _session(hours: _Hours, where: str) -> TradingSession:
    spans = {name: span for name in hours.__struct_fields__ if (span := getattr(hours, name))}
    phases = tuple(_phase(name, span, where) for name, span in spans.items())
    if not phases:
        raise BadTable(f'{where}: has no phase; write it as open = "09:15-15:30"')
    for before, after in pairwise(phases):
        if after.start < before.end:
            raise BadTable(f"{where}.{after.name}: starts before the end of {before.name}")
    return TradingSession(phases)


def _phase(name: str, span: str, where: str) -> Phase:
    start, _, end = span.partition("-")
    phase = Phase(name, _clock(start), _clock(end))  # type: ignore[arg-type]
    if phase.end <= phase.start:
        raise BadTable(f"{where}.{name}: {span} ends before it starts")
    return phase


def _clock(text: str) -> time:
    return time.fromisoformat(text)


# --- the questions ------------------------------------------------------------------------------


class Calendar:
    """Tables in the order of their authority, the shipped one first."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(reversed(tables))
        self.years = frozenset(year for table in tables for year in table.years)

    @property
    def last_year(self) -> int:
        """The last year whose holidays are known; 0 without any."""
        return max(self.years, default=0)

    def plan(self, segment: str, day: date) -> Plan:
        """Return the day of one of SEGMENTS."""
        special = self._special(segment, day)
        if special is not None and special.sessions is not None:
            return Plan(special.sessions, special.name, special.is_certain)
        hours = self._weekday(segment, day)
        if special is not None:
            sessions = _clipped(hours.sessions, special.since, special.until)
            return Plan(sessions, special.name, special.is_certain and hours.is_certain)
        is_covered = day.year in self.years
        if day.weekday() >= WEEKEND:
            return Plan((), "", is_covered)
        return Plan(hours.sessions, "", is_covered and hours.is_certain)

    def phase(self, segment: str, moment: datetime) -> PhaseWord:
        """Return the phase of the segment at an IST moment."""
        at = moment.time()
        for session in self.plan(segment, moment.date()).sessions:
            if session.start <= at < session.end:
                inside = (phase.name for phase in session.phases if phase.start <= at < phase.end)
                return next(inside, "break")
        return "closed"

    def next_open(self, segment: str, moment: datetime) -> datetime | None:
        """Return the start of the first session after an IST moment; None when the tables know
        none."""
        for n in range(AHEAD_DAYS_MAX):
            day = moment.date() + timedelta(days=n)
            for session in self.plan(segment, day).sessions:
                start = datetime.combine(day, session.start, IST)
                if start > moment:
                    return start
        return None

    def _special(self, segment: str, day: date) -> _Special | None:
        found = (table.days.get((day, segment)) for table in self._tables)
        return next((special for special in found if special is not None), None)

    def _weekday(self, segment: str, day: date) -> _Weekdays:
        for table in self._tables:
            for row in reversed(table.weekdays.get(segment, [])):
                if row.since <= day <= row.until:
                    return row
        return _Weekdays(day, day, False, ())


def _clipped(
    sessions: tuple[TradingSession, ...], since: time, until: time
) -> tuple[TradingSession, ...]:
    """Return the parts of the sessions that lie between two times of day."""
    parts = (
        tuple(
            Phase(phase.name, max(phase.start, since), min(phase.end, until))
            for phase in session.phases
            if phase.start < until and phase.end > since
        )
        for session in sessions
    )
    return tuple(TradingSession(phases) for phases in parts if phases)
