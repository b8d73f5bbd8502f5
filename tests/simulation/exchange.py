"""The market as it truly is: prices as a pure function of time, so that nothing has to be stepped.

Every instrument takes a new price each `period` of trading time, always a higher one: a price names
its version, and with it the moments at which it became true and ceased to be.
"""

from bisect import bisect_right
from datetime import datetime, time
from itertools import pairwise

from kitefeed.actors.policy.market import IST, to_utc_ns
from kitefeed.protocol.kite.ticks import DIVISOR_DEFAULT, FULL, LTP, TickBody, is_index

S = 1_000_000_000
BASE = 1_000_000  # the first price of every day, in paise

YESTERDAY_NS = 17 * 3_600 * S

NIFTY, INFY, RELIANCE, DROWSY = 256265, 408065, 738561, 3_160_321
BANK, SBIN, TCS = 260105, 779521, 2_953_217
TOKENS = {
    "NSE:NIFTY 50": NIFTY,
    "NSE:INFY": INFY,
    "NSE:RELIANCE": RELIANCE,
    "NSE:DROWSY": DROWSY,  # trades every ten minutes: its age proves nothing
}
MORE = {"NSE:NIFTY BANK": BANK, "NSE:SBIN": SBIN, "NSE:TCS": TCS}  # on days with several sockets
PERIODS_NS = {
    NIFTY: 1 * S, INFY: 2 * S, RELIANCE: 5 * S, DROWSY: 600 * S,
    BANK: 1 * S, SBIN: 3 * S, TCS: 4 * S,
}  # fmt: skip


class Exchange:
    """Trades inside `sessions`: UTC nanoseconds, ascending. A halt is a gap between two of them.
    `is_announced`: the calendar ought to know them."""

    def __init__(self, sessions: list[tuple[int, int]], *, is_announced: bool = False) -> None:
        assert all(a[1] <= b[0] for a, b in pairwise(sessions))
        self.sessions = sessions
        self.is_announced = is_announced
        self._starts = [start for start, _ in sessions]
        self._before: list[int] = []  # trading time before each session
        total = 0
        for start, end in sessions:
            self._before.append(total)
            total += end - start
        self._total = total

    def moments(self) -> list[int]:
        """When trading begins or ends."""
        return [at_ns for session in self.sessions for at_ns in session]

    def is_trading(self, utc_ns: int) -> bool:
        n = bisect_right(self._starts, utc_ns) - 1
        return n >= 0 and utc_ns < self.sessions[n][1]

    def version(self, token: int, utc_ns: int) -> int:
        return self._elapsed_ns(utc_ns) // PERIODS_NS[token]

    def price(self, token: int, utc_ns: int) -> int:
        return BASE + self.version(token, utc_ns)

    def superseded_ns(self, token: int, price: int) -> int | None:
        """When this price ceased to be the last one; None: it never did."""
        elapsed_ns = (price - BASE + 1) * PERIODS_NS[token]
        if elapsed_ns > self._total:
            return None
        n = max(i for i, before in enumerate(self._before) if before < elapsed_ns)
        return self.sessions[n][0] + elapsed_ns - self._before[n]

    def body(self, token: int, mode: int, utc_ns: int) -> TickBody:
        """What Kite would send of this instrument."""
        version = self.version(token, utc_ns)
        has_volume = not is_index(token) and mode != LTP
        # The stamp is that of the last trade: a cached packet is old, and says so.
        elapsed_ns = version * PERIODS_NS[token]
        n = max((i for i, b in enumerate(self._before) if b <= elapsed_ns), default=-1)
        at_ns = self.sessions[n][0] + elapsed_ns - self._before[n] if n >= 0 else utc_ns + S
        if at_ns > utc_ns:
            at_ns = utc_ns - YESTERDAY_NS  # nothing traded yet
        return TickBody(
            token, mode, DIVISOR_DEFAULT, BASE + version,
            volume_traded=version if has_volume else None,
            exchange_timestamp=at_ns // S if mode == FULL else None,
        )  # fmt: skip

    def quote(self, token: int, utc_ns: int) -> dict[str, object]:
        version = self.version(token, utc_ns)
        item: dict[str, object] = {
            "instrument_token": token,
            "last_price": (BASE + version) / DIVISOR_DEFAULT,
        }
        if not is_index(token):
            item["volume"] = version
        return item

    def _elapsed_ns(self, utc_ns: int) -> int:
        n = bisect_right(self._starts, utc_ns) - 1
        if n < 0:
            return 0
        start, end = self.sessions[n]
        return self._before[n] + min(utc_ns, end) - start


def at_ist(day: datetime, hour: int, minute: int = 0, second: float = 0) -> int:
    """UTC nanoseconds of a time of `day` in India."""
    base = to_utc_ns(datetime.combine(day.date(), time(hour, minute), IST))
    return base + int(second * S)
