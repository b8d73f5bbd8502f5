"""Chooses the instruments of the next quote request, and says how long a round takes. Pure.

Instruments that were never asked for go first, then those that have waited longest. The wait of an
instrument that a program reads counts `WEIGHT` times, or less where so many are read that the
others would wait for more than two plain rounds.

Invariant: no instrument waits for more than `round_requests` requests. One request makes at most as
many instruments late as a request holds, and the next request takes the late ones first.

A request that Kite refuses as such (HTTP 400) may have one bad instrument in it. Its instruments go
on trial: they are asked again half as many at a time, apart from the others, until the bad one
stands alone. At least every second request remains for the others.
"""

from collections.abc import Iterable
from math import ceil

import msgspec

from kitefeed.protocol.kite.rest import QUOTE_COUNT_MAX, QUOTE_QUERY_BYTES_MAX
from kitefeed.protocol.kite.units import NS_PER_S

WEIGHT = 4
ALONE_RETRY_NS = 60 * NS_PER_S  # an instrument that Kite refused by itself

NEVER, LATE, DUE, NOT_DUE = range(4)


class Turn(msgspec.Struct, gc=False):
    """One instrument of one shard. `room`: how many may share its request; 0 after it was refused
    alone. Times are boot-time ns; `due_ns` 0 means never asked."""

    shard: int
    token: int
    period_ns: int
    is_read: bool = False
    asked_ns: int = 0
    due_ns: int = 0
    room: int = QUOTE_COUNT_MAX

    def set_period(self, period_ns: int) -> None:
        self.due_ns += (period_ns - self.period_ns) if self.due_ns else 0
        self.period_ns = period_ns

    @property
    def is_on_trial(self) -> bool:
        return self.room < QUOTE_COUNT_MAX

    def answered(self, sent_ns: int) -> None:
        """Note an answer: the next turn is a period after this one."""
        self.asked_ns, self.due_ns = sent_ns, sent_ns + self.period_ns

    def failed(self, sent_ns: int, again_ns: int) -> None:
        """Note that no answer came: instruments that wait longer go first."""
        self.asked_ns, self.due_ns = sent_ns, again_ns

    def refused(self, company: int, sent_ns: int) -> None:
        """Note that Kite refused a request of `company` instruments, this one among them."""
        self.room = company // 2
        self.asked_ns = sent_ns
        self.due_ns = sent_ns if self.room else sent_ns + ALONE_RETRY_NS


def choose(turns: Iterable[Turn], now_ns: int, *, late_after_ns: int, may_try: bool) -> list[Turn]:
    """Return the next request: as many instruments as its line holds, also some that are not due
    yet, because a request costs the same whatever it asks for. `may_try`: it may go to those on
    trial."""
    all_turns = list(turns)
    usual = [turn for turn in all_turns if not turn.is_on_trial]
    tried = [turn for turn in all_turns if turn.is_on_trial and turn.due_ns <= now_ns]
    is_usual_due = any(turn.due_ns <= now_ns for turn in usual)
    if tried and (may_try or not is_usual_due):
        first = min(tried, key=lambda turn: turn.asked_ns)
        return _fitting([turn for turn in tried if turn.room == first.room], max(1, first.room))
    weight = weight_of(sum(turn.is_read for turn in usual), len(usual))
    usual.sort(key=lambda turn: _rank(turn, weight, now_ns, late_after_ns))
    return _fitting(usual, QUOTE_COUNT_MAX)


def weight_of(read: int, count: int) -> float:
    """Return a weight such that the others wait for at most two plain rounds."""
    return min(WEIGHT, 1 + count / read) if read else 1


def round_requests(turns: Iterable[Turn]) -> int:
    """Return the number of requests within which every instrument has its turn."""
    all_turns = list(turns)
    usual = [turn for turn in all_turns if not turn.is_on_trial]
    read = sum(turn.is_read for turn in usual)
    trials = ceil(sum(1 / max(1, turn.room) for turn in all_turns if turn.is_on_trial))
    if not usual:
        return trials
    if read in (0, len(usual)):
        needed = ceil(len(usual) / _places(usual))
    else:  # and one to spare: those that are read must not wait for others that are hardly late
        weighted = len(usual) + read * (weight_of(read, len(usual)) - 1)
        needed = ceil(weighted / _places(usual)) + 1
    return needed + min(trials, needed)


def _rank(turn: Turn, weight: float, now_ns: int, late_after_ns: int) -> tuple[int, float]:
    if not turn.due_ns:
        return NEVER, -turn.is_read
    age = now_ns - turn.asked_ns
    if turn.due_ns > now_ns:
        return NOT_DUE, -age
    if age >= late_after_ns:
        return LATE, -age
    return DUE, -age * (weight if turn.is_read else 1)


def _fitting(turns: list[Turn], count_max: int) -> list[Turn]:
    """Take as many of the first as one request line holds."""
    query_bytes = -1  # the first item has no "&"
    fitting: list[Turn] = []
    for turn in turns[:count_max]:
        query_bytes += _item_bytes(turn.token)
        if query_bytes > QUOTE_QUERY_BYTES_MAX:
            break
        fitting.append(turn)
    return fitting


def _item_bytes(token: int) -> int:
    return len(f"&i={token}")


def _places(turns: list[Turn]) -> int:
    """Return how many instruments fit into every request, whichever they are."""
    longest = _item_bytes(max(turn.token for turn in turns))
    return min(QUOTE_COUNT_MAX, (QUOTE_QUERY_BYTES_MAX + 1) // longest)
