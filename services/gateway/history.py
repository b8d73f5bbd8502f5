"""The course of a price while the gateway read it: one point a minute, for a sparkline. Pure."""

from collections import deque

POINTS_MAX = 900  # minutes: the longest session, of commodities, has 870
INSTRUMENTS_MAX = 2_000
MINUTE_S = 60

Point = tuple[int, float]
"""A minute (UTC epoch seconds at its beginning) and the last price in it."""


class History:
    """Points of a day; those of the day before go when the first of a new one comes."""

    def __init__(self) -> None:
        self._points: dict[str, deque[Point]] = {}

    def note(self, instrument: str, price: float, utc_s: float) -> None:
        points = self._points.get(instrument)
        if points is None:
            if len(self._points) >= INSTRUMENTS_MAX:
                del self._points[next(iter(self._points))]
            points = self._points[instrument] = deque(maxlen=POINTS_MAX)
        minute = int(utc_s) // MINUTE_S * MINUTE_S
        if points and _day(points[-1][0]) != _day(minute):
            points.clear()
        if points and points[-1][0] == minute:
            points[-1] = (minute, price)
        else:
            points.append((minute, price))

    def points(self, instrument: str) -> list[Point]:
        return list(self._points.get(instrument, ()))


def _day(utc_s: int) -> int:
    """In India, which is 5:30 ahead."""
    return (utc_s + 19_800) // 86_400
