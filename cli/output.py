"""Writes numbers, times and ages for people."""

from datetime import UTC, datetime

from kitefeed.protocol.kite.units import IST

NOTHING = "-"
# What a trader has to see at a glance; the rest is trouble.
_COLOURS = {"live": "green", "rest": "yellow", "paused": "yellow", "closed": "cyan"}


def colour_of(feed: str) -> str:
    """Return the colour of the feed's headline."""
    return _COLOURS.get(feed, "red")


def rupees(value: float | None, decimals: int = 2) -> str:
    """Write `₹1,23,456.05`: groups of two above the thousand, as India counts."""
    if value is None:
        return NOTHING
    sign = "-" if value < 0 else ""
    whole, dot, fraction = f"{abs(value):.{decimals}f}".partition(".")
    return f"{sign}₹{_grouped(whole)}{dot}{fraction}"


def _grouped(digits: str) -> str:
    head, last = digits[:-3], digits[-3:]
    groups: list[str] = []
    while head:
        groups.insert(0, head[-2:])
        head = head[:-2]
    return ",".join([*groups, last])


def percent(value: float | None) -> str:
    """Write `+1.25%`, always signed."""
    return NOTHING if value is None else f"{value:+.2f}%"


def age(seconds: float | None) -> str:
    """Write `0.4 s`, `12 s`, `3 min`, `5 h`, `2 d`: two digits are enough to judge a price by."""
    if seconds is None:
        return NOTHING
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    for unit, length_s, until_s in (("s", 1, 100), ("min", 60, 6_000), ("h", 3_600, 172_800)):
        if seconds < until_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def clock_time(utc_s: float | None) -> str:
    """Write `23 Nov 09:15:03 IST`."""
    if utc_s is None:
        return NOTHING
    return f"{datetime.fromtimestamp(utc_s, UTC).astimezone(IST):%d %b %H:%M:%S} IST"


def time_of_day(utc_ns: int) -> str:
    """Write `09:15:03.250`, IST."""
    moment = datetime.fromtimestamp(utc_ns / 1e9, UTC).astimezone(IST)
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def day_and_time(moment: datetime) -> str:
    """Write `Tue 24 Nov 09:15 IST`."""
    return f"{moment.astimezone(IST):%a %d %b %H:%M} IST"
