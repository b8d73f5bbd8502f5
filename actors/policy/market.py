"""The hours of the market's segments, and the moments of the day that matter to a session. Pure:
UTC nanoseconds in, answers out. India has no daylight saving, so IST is a fixed offset.

A segment is the low byte of an instrument's token. Ticks that are observed overrule the calendar
(see the supervisor's state).
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal

from kitefeed.actors.policy.calendar import SEGMENTS, Calendar, PhaseWord
from kitefeed.protocol.kite.ticks import EXCHANGE_NAMES
from kitefeed.protocol.kite.units import IST, NS_PER_S

READY_AT = time(8, 45)  # session, instruments and socket are looked at before the open
# Kite kills tokens between these two, IST; after it, none is left.
FLUSH_FROM, TOKEN_FLUSH = time(6), time(7, 30)
CHECKS = (time(6, 5), time(7, 35), READY_AT)  # the session is validated at these, besides the rest
FLUSH_MINUTES = (CHECKS[1].hour - FLUSH_FROM.hour) * 60 + CHECKS[1].minute
NSE = 1  # the segment that stands for "the market" when nothing is wanted
MINUTE_NS = 60 * NS_PER_S
# Exchanges publish a year's holidays in the December before it.
RUNS_OUT_FROM = (12, 1)

Hours = Literal["calendar", "always", "never"]


def to_ist(utc_ns: int) -> datetime:
    return datetime.fromtimestamp(utc_ns / 1e9, IST)


def to_utc_ns(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * NS_PER_S)


def name_of(segment: int) -> str:
    """Return `NSE`, `MCX`; for a number that Kite has not documented a name that says so."""
    return EXCHANGE_NAMES.get(segment, f"segment {segment}")


class Market:
    """The calendar as configured: "always" and "never" are for simulators and tests.

    Sessions and phases begin and end on whole minutes, and each of these questions is asked many
    times a second: the answers are kept for the minute they are about."""

    def __init__(self, hours: Hours, calendar: Calendar) -> None:
        self.hours = hours
        self.calendar = calendar
        kept = lru_cache(len(EXCHANGE_NAMES) * 4)
        self._phase, self._closed_segments = kept(self._phase_in), kept(self._closed_segments_in)
        self._next_open, self._warning = kept(self._next_open_in), kept(self._warning_in)
        self._is_any_open = kept(self._is_any_open_in)

    def phase(self, segment: int, utc_ns: int) -> PhaseWord:
        if self.hours != "calendar":
            return "open" if self.hours == "always" else "closed"
        return self._phase(segment, utc_ns // MINUTE_NS)

    def is_open(self, segment: int, utc_ns: int) -> bool:
        """Whether data may be expected: from the first phase of a session to its last."""
        return self.phase(segment, utc_ns) != "closed"

    def is_any_open(self, segments: frozenset[int], utc_ns: int) -> bool:
        if self.hours != "calendar":
            return self.hours == "always"
        return self._is_any_open(segments, utc_ns // MINUTE_NS)

    def is_trading(self, segment: int, utc_ns: int) -> bool:
        """Whether trading is continuous, so that silence of an active instrument means something.
        It is not so in the closing auction and before the open."""
        return self.phase(segment, utc_ns) == "open"

    def closed_segments(self, utc_ns: int) -> tuple[int, ...]:
        """Return the segments that are closed now by the calendar; none without one."""
        return self._closed_segments(utc_ns // MINUTE_NS) if self.hours == "calendar" else ()

    def next_open(self, segments: Iterable[int], utc_ns: int) -> datetime | None:
        """Return the start of the next session of any of them, IST; None when none is known to
        come."""
        if self.hours != "calendar":
            return None
        return self._next_open(frozenset(segments), utc_ns // MINUTE_NS)

    def opens_today(self, segments: Iterable[int], utc_ns: int) -> datetime | None:
        """Return the next session of any of them, if it starts before this day (IST) is over."""
        moment = self.next_open(segments, utc_ns)
        is_today = moment is not None and moment.date() == to_ist(utc_ns).date()
        return moment if is_today else None

    def is_flush_between(self, since_utc_ns: int, until_utc_ns: int) -> bool:
        """Whether a daily token flush was under way at any moment from the one time to the other.
        It counts until the check after it (`CHECKS`): Kite's clock is not ours. A simulator has
        none."""
        if self.hours != "calendar":
            return False
        began_utc_ns = last_utc_ns(until_utc_ns, FLUSH_FROM)
        return since_utc_ns < began_utc_ns + FLUSH_MINUTES * MINUTE_NS

    def warning(self, utc_ns: int) -> str:
        """Return one sentence from December of the table's last year on, else ""."""
        return self._warning(utc_ns // MINUTE_NS) if self.hours == "calendar" else ""

    def _phase_in(self, segment: int, minute: int) -> PhaseWord:
        return self.calendar.phase(_hours_of(segment), to_ist(minute * MINUTE_NS))

    def _is_any_open_in(self, segments: frozenset[int], minute: int) -> bool:
        return any(self._phase(segment, minute) != "closed" for segment in segments)

    def _closed_segments_in(self, minute: int) -> tuple[int, ...]:
        closed = (s for s in EXCHANGE_NAMES if self._phase(s, minute) == "closed")
        return tuple(closed)

    def _next_open_in(self, segments: frozenset[int], minute: int) -> datetime | None:
        now = to_ist(minute * MINUTE_NS)
        names = {_hours_of(segment) for segment in segments}
        opens = (self.calendar.next_open(name, now) for name in names)
        return min((moment for moment in opens if moment is not None), default=None)

    def _warning_in(self, minute: int) -> str:
        day = to_ist(minute * MINUTE_NS).date()
        last_year = self.calendar.last_year
        if day < date(last_year or 1, *RUNS_OUT_FROM):
            return ""
        return (
            f"the table of holidays ends with {last_year}: every later weekday counts as a "
            "session; name a newer table in market.calendar, or install a newer kitefeed"
        )


def last_flush_utc_ns(utc_ns: int) -> int:
    """Return the time at which the last daily token flush was over: a token seen valid since then
    is today's."""
    return last_utc_ns(utc_ns, TOKEN_FLUSH)


def last_utc_ns(utc_ns: int, at: time) -> int:
    """Return the latest occurrence of `at` (IST) that is not after `utc_ns`."""
    now = to_ist(utc_ns)
    moment = datetime.combine(now.date(), at, IST)
    return to_utc_ns(moment if moment <= now else moment - timedelta(days=1))


def _hours_of(segment: int) -> str:
    """Return the segment whose hours it follows: NSE for one that Kite has not documented, because
    a debt instrument of NSE was seen under the number 10."""
    name = name_of(segment)
    return name if name in SEGMENTS else "NSE"
