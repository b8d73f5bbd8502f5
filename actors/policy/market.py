"""When the market is open, and the moments of the day that matter to a session. Pure: UTC
nanoseconds in, answers out. India has no daylight saving, so IST is a fixed offset.

Here the table is one row: cash and equity derivatives, weekdays 09:15-15:30 IST. Exchange holidays
are not in it; ticks that are observed overrule it either way (see the supervisor's machine).
"""

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Literal

IST = timezone(timedelta(hours=5, minutes=30), "IST")
OPEN = time(9, 15)
CLOSE = time(15, 30)
READY_AT = time(8, 45)  # session, instruments and socket are looked at before the open
TOKEN_FLUSH = time(7, 30)  # Kite kills tokens between 06:00 and 07:30 IST; after it, none is left
CHECKS = (time(6, 5), time(7, 35), READY_AT)  # the session is validated at these, besides the rest

Hours = Literal["calendar", "always", "never"]


def to_ist(utc_ns: int) -> datetime:
    return datetime.fromtimestamp(utc_ns / 1e9, IST)


def to_utc_ns(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1_000_000_000)


class Market:
    """The calendar as configured: "always" and "never" are for simulators and tests."""

    def __init__(self, hours: Hours) -> None:
        self.hours = hours

    def is_open(self, utc_ns: int) -> bool:
        if self.hours != "calendar":
            return self.hours == "always"
        now = to_ist(utc_ns)
        return _is_session_day(now.date()) and OPEN <= now.time() < CLOSE

    def is_session_day(self, utc_ns: int) -> bool:
        return self.hours == "calendar" and _is_session_day(to_ist(utc_ns).date())

    def next_open(self, utc_ns: int) -> datetime | None:
        """Start of the next session, IST; None when there is none to come (or no calendar)."""
        if self.hours != "calendar":
            return None
        now = to_ist(utc_ns)
        days = (now.date() + timedelta(days=n) for n in range(8))
        opens = (datetime.combine(day, OPEN, IST) for day in days if _is_session_day(day))
        return next(moment for moment in opens if moment > now)


def last_flush_utc_ns(utc_ns: int) -> int:
    """When the last daily token flush was over: a token seen valid since then is today's."""
    return last_utc_ns(utc_ns, TOKEN_FLUSH)


def last_utc_ns(utc_ns: int, at: time) -> int:
    """The latest occurrence of `at` (IST) that is not after `utc_ns`."""
    now = to_ist(utc_ns)
    moment = datetime.combine(now.date(), at, IST)
    return to_utc_ns(moment if moment <= now else moment - timedelta(days=1))


def _is_session_day(day: date) -> bool:
    return day.weekday() < 5
