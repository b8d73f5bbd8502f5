"""The market as it truly is: prices as a pure function of time, so that nothing has to be stepped.

Every instrument takes a new price each `period` of trading time, always a higher one: a price names
its version, and with it the moments at which it became true and ceased to be. Equities and
commodities trade at hours of their own.
"""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime, time
from itertools import pairwise

from kitefeed.actors.policy.market import to_utc_ns
from kitefeed.protocol.kite.ticks import (
    DIVISOR_DEFAULT,
    FULL,
    LTP,
    TickBody,
    is_index,
    segment_of,
)
from kitefeed.protocol.kite.units import IST

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
BOND, VIX = 271113, 264969
SLOW = {"NSE:NIFTY GS 10YR": BOND, "NSE:INDIA VIX": VIX}  # indices of which one never ticks
MCX = 7
CRUDE, GOLD, SILVER = 112_321_287, 112_418_567, 113_055_239
COMMODITIES = {  # on days that have an evening
    "MCX:CRUDEOIL26DECFUT": CRUDE,
    "MCX:GOLD26DECFUT": GOLD,
    "MCX:SILVER26DECFUT": SILVER,
}
LISTED = TOKENS | MORE | SLOW | COMMODITIES
PERIODS_NS = {
    NIFTY: 1 * S, INFY: 2 * S, RELIANCE: 5 * S, DROWSY: 600 * S,
    BANK: 1 * S, SBIN: 3 * S, TCS: 4 * S,
    BOND: 30_000 * S, VIX: 40 * S,
    CRUDE: 1 * S, GOLD: 2 * S, SILVER: 5 * S,
}  # fmt: skip


class Floor:
    """Trades inside `sessions`: UTC nanoseconds, ascending. A halt is a gap between two of them.
    `is_announced`: the calendar ought to know them."""

    def __init__(self, sessions: list[tuple[int, int]], *, is_announced: bool = False) -> None:
        self.is_announced = is_announced
        self._trade_in(sessions)

    def _trade_in(self, sessions: list[tuple[int, int]]) -> None:
        assert all(a[1] <= b[0] for a, b in pairwise(sessions))
        self.sessions = sessions
        self._starts = [start for start, _ in sessions]
        self._before: list[int] = []  # trading time before each session
        self.total_ns = 0
        for start, end in sessions:
            self._before.append(self.total_ns)
            self.total_ns += end - start

    def pause(self, from_ns: int, to_ns: int) -> None:
        """A halt that is still to come; none where it would leave no session before or after."""
        inside = [(start, end) for start, end in self.sessions if start < from_ns and to_ns < end]
        for start, end in inside:
            n = self.sessions.index((start, end))
            halves = [(start, from_ns), (to_ns, end)]
            self._trade_in([*self.sessions[:n], *halves, *self.sessions[n + 1 :]])

    @property
    def ends_ns(self) -> int:
        """The end of the last session, 0 on a day without any."""
        return self.sessions[-1][1] if self.sessions else 0

    def is_trading(self, utc_ns: int) -> bool:
        n = bisect_right(self._starts, utc_ns) - 1
        return n >= 0 and utc_ns < self.sessions[n][1]

    def elapsed_ns(self, utc_ns: int) -> int:
        """Trading time until then."""
        n = bisect_right(self._starts, utc_ns) - 1
        if n < 0:
            return 0
        start, end = self.sessions[n]
        return self._before[n] + min(utc_ns, end) - start

    def superseded_ns(self, elapsed_ns: int) -> int | None:
        """Return when so much trading time had passed, in the session that ended with it; None:
        never."""
        if elapsed_ns > self.total_ns:
            return None
        n = max(i for i, before in enumerate(self._before) if before < elapsed_ns)
        return self.sessions[n][0] + elapsed_ns - self._before[n]

    def begun_ns(self, elapsed_ns: int) -> int | None:
        """The same, in the session that began with it; None on a day without sessions."""
        n = max((i for i, before in enumerate(self._before) if before <= elapsed_ns), default=-1)
        return self.sessions[n][0] + elapsed_ns - self._before[n] if n >= 0 else None


class Exchange:
    """Without a floor for commodities none of these is wanted on that day."""

    def __init__(self, equity: Floor, commodity: Floor | None = None) -> None:
        self._equity = equity
        self._commodity = commodity or Floor([])
        self.floors = (equity, commodity) if commodity else (equity,)
        self._own: dict[int, Floor] = {}  # of indices that stand still by themselves

    @property
    def all_floors(self) -> tuple[Floor, ...]:
        return (*self.floors, *self._own.values())

    def floor_of(self, token: int) -> Floor:
        return self._own.get(token) or self.home_of(token)

    def home_of(self, token: int) -> Floor:
        return self._commodity if segment_of(token) == MCX else self._equity

    def stand(self, tokens: Iterable[int], from_ns: int, to_ns: int) -> None:
        """These stand still for a while, and all else of their floor trades on."""
        for token in tokens:
            home = self.home_of(token)
            own = Floor(list(home.sessions), is_announced=home.is_announced)
            own.pause(from_ns, to_ns)
            self._own[token] = own

    def moments(self) -> list[int]:
        """Return the times at which trading begins or ends."""
        sessions = [session for floor in self.floors for session in floor.sessions]
        return [at_ns for session in sessions for at_ns in session]

    def is_trading(self, utc_ns: int) -> bool:
        """Whether anything trades."""
        return any(floor.is_trading(utc_ns) for floor in self.floors)

    def version(self, token: int, utc_ns: int) -> int:
        return self.floor_of(token).elapsed_ns(utc_ns) // PERIODS_NS[token]

    def price(self, token: int, utc_ns: int) -> int:
        return BASE + self.version(token, utc_ns)

    def superseded_ns(self, token: int, price: int) -> int | None:
        """Return when this price ceased to be the last one; None: it never did."""
        return self.floor_of(token).superseded_ns((price - BASE + 1) * PERIODS_NS[token])

    def traded_ns(self, token: int, utc_ns: int) -> int:
        """Return when its last trade was."""
        at_ns = self.floor_of(token).begun_ns(self.version(token, utc_ns) * PERIODS_NS[token])
        return utc_ns - YESTERDAY_NS if at_ns is None or at_ns > utc_ns else at_ns

    def body(self, token: int, mode: int, utc_ns: int) -> TickBody:
        """Return what Kite would send of this instrument."""
        version = self.version(token, utc_ns)
        has_volume = not is_index(token) and mode != LTP
        # The stamp is that of the last trade: a cached packet is old, and says so.
        at_ns = self.traded_ns(token, utc_ns)
        return TickBody(
            token, mode, DIVISOR_DEFAULT, BASE + version,
            volume_traded=version if has_volume else None,
            exchange_timestamp=at_ns // S if mode == FULL else None,
        )  # fmt: skip

    def quote(self, token: int, utc_ns: int, more: int = 0) -> dict[str, object]:
        """`more`: paise above what is streamed, as a settlement price."""
        version = self.version(token, utc_ns)
        item: dict[str, object] = {
            "instrument_token": token,
            "last_price": (BASE + version + more) / DIVISOR_DEFAULT,
        }
        if not is_index(token):
            item["volume"] = version
        return item


def at_ist(day: datetime, hour: int, minute: int = 0, second: float = 0) -> int:
    """UTC nanoseconds of a time of `day` in India."""
    base = to_utc_ns(datetime.combine(day.date(), time(hour, minute), IST))
    return base + int(second * S)
