"""The grid of minutes on which Kite's candles lie."""

DAY_S = 86_400
IST_OFFSET_S = 19_800  # India has no daylight saving

_FIRST_MINUTES = {"NSE": 555, "BSE": 555, "NFO": 555, "BFO": 555}  # 09:15 IST
_OTHER_FIRST_MINUTE = 540  # 09:00: currencies and commodities


def first_minute(exchange: str) -> int:
    """Return the minute of the day, IST, from which the candles of this exchange (`NSE`, `MCX`,
    ...) are counted: its continuous session begins in it."""
    return _FIRST_MINUTES.get(exchange, _OTHER_FIRST_MINUTE)


def span_of(at_s: int, length_s: int, first: int) -> tuple[int, int]:
    """Return begin and end of the candle of this length that holds the moment `at_s`; UTC seconds.
    `first`: as `first_minute`. No candle crosses midnight, IST, so a day's first and last may be
    short."""
    midnight = at_s - (at_s + IST_OFFSET_S) % DAY_S
    line = midnight + (0 if length_s >= DAY_S else first * 60)
    start = at_s - (at_s - line) % length_s
    return max(start, midnight), min(start + length_s, midnight + DAY_S)
