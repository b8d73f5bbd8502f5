"""Decides when the instrument dump is fetched, and whether it is taken. Pure: the wall clock
arrives in events.

Kite makes it once a day and says to fetch it around 08:30 IST. A file counts as of the day whose
08:15 had passed when it was fetched; at start an older one is replaced at once, afterwards each
day at 08:30.

    due -> fetching -> offered -> taken
     ^         |           |
     +---------+-----------+   failed: 5, 15, 30, 60 s; doubted: 1, 2, 5, 10, 15 minutes

A list that could be compared with none is taken, and fetched again after 5, 15 and 30 minutes: it
may have been short. One that was taken although it was doubted is asked for
every 15 minutes all day. Both until there is another.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import msgspec

from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.rest_poller.dump_doubt import BELIEVED_AFTER_NS, doubts
from kitefeed.protocol.kite.instruments import Loss
from kitefeed.protocol.kite.units import IST, NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import FetchOutcome

_MADE_AFTER = timedelta(hours=8, minutes=15)
_FETCHED_AT = timedelta(hours=8, minutes=30)
# The last step of each ladder repeats.
_RETRY_NS = tuple(s * NS_PER_S for s in (5, 15, 30, 60))
_DOUBTED_NS = tuple(s * NS_PER_S for s in (60, 120, 300, 600, 900))
_FIRST_RUNG = 2  # for a list that is merely the first: most are whole
OFFER_REPEAT_NS = 5 * NS_PER_S


class ClockRead(msgspec.Struct, frozen=True):
    """The wall clock, and the state of the file on disk (rows 0: there is none that can be used).
    Given at start and then often; a laptop may sleep through 08:30, and a disk may fail."""

    utc_s: float
    rows: int = 0
    day_ist: str = ""


class DumpEnded(msgspec.Struct, frozen=True):
    """The child has ended: with a new list beside the one in use (rows above 0), or without.

    losses: the comparison of the two, None where none could be made. left_out: rows of the dump
    that name nothing, by reason. problem: why there is no list.
    """

    rows: int
    day_ist: str
    digest: str = ""
    losses: tuple[Loss, ...] | None = None
    left_out: Mapping[str, int] = {}
    problem: str = ""


class FetchDump(msgspec.Struct, frozen=True):
    """Fetch the dump in a child process, as of `day_ist`; then `DumpEnded`."""

    day_ist: str


class TakeDump(msgspec.Struct, frozen=True):
    """Put the new list in the place of the one in use."""


class Remark(msgspec.Struct, frozen=True):
    """A line for the log."""

    text: str


class _Doubt(msgspec.Struct, frozen=True):
    digest: str
    since_ns: int


Command = FetchDump | TakeDump | Remark | Message


class DumpSchedule:
    """Fetches one at a time, and repeats it until there is a list that is believed."""

    def __init__(self) -> None:
        self._clock: ClockRead | None = None
        self._fetch_day: date | None = None  # by the 08:30 rule, of the last clock read
        self._is_due = False
        self._is_fetching = False
        self._failures = 0
        self._retry_ns: int | None = None
        self._offer: DumpEnded | None = None  # until the supervisor says what it lacks
        self._offered_ns = 0
        self._doubt: _Doubt | None = None  # of the last list that was fetched
        self._doubted = 0  # how often a doubted list was fetched in a row
        self._is_vouched = False  # the operator believes what comes next
        self._watched = ""  # the digest of a list that was taken and is not trusted
        self._watched_until_ns: int | None = None  # None: all day
        self._left_out_day = ""  # the day whose rows left out were told
        self._fetches = 0
        self._ready: m.InstrumentsReady | None = None
        self._fetched: m.InstrumentsFetched | None = None

    @property
    def deadline_ns(self) -> int | None:
        repeat_ns = self._offered_ns + OFFER_REPEAT_NS if self._offer else None
        return min((t for t in (self._retry_ns, repeat_ns) if t is not None), default=None)

    def handle(
        self, event: ClockRead | DumpEnded | m.InstrumentsLacking | Wake, now_ns: int
    ) -> list[Command]:
        match event:
            case ClockRead():
                return self._read(event)
            case DumpEnded():
                return self._ended(event, now_ns)
            case m.InstrumentsLacking():
                return self._judge(event, now_ns)
        if self._offer is not None and now_ns >= self._offered_ns + OFFER_REPEAT_NS:
            return self._ask(self._offer, now_ns)
        return self._fetch() if self._retry_ns is not None and now_ns >= self._retry_ns else []

    def order(self, order: m.FetchInstruments) -> list[Command]:
        """Try at once a fetch that failed and waits; on the operator's order, fetch in any case."""
        if order.is_ordered:
            self._is_due = True
            self._is_vouched = self._is_vouched or order.is_believed
        elif not self._failures:
            return []
        return self._fetch()

    def news(self, now_ns: int) -> list[Command]:
        """Tell a supervisor that may not know: that a usable file exists, how the last fetch ended,
        and which list waits for its word."""
        said: list[Command] = [told for told in (self._ready, self._fetched) if told is not None]
        return [*said, *self._ask(self._offer, now_ns)] if self._offer else said

    def _read(self, clock: ClockRead) -> list[Command]:
        is_start = self._clock is None
        self._clock = clock
        fetch_day = _day(clock.utc_s, _FETCHED_AT)
        if is_start:
            is_old = clock.day_ist < _day(clock.utc_s, _MADE_AFTER).isoformat()
            self._is_due = self._is_due or is_old
        elif self._fetch_day is not None and fetch_day > self._fetch_day:
            self._is_due, self._watched = True, ""
        self._fetch_day = fetch_day
        said: list[Command] = []
        if not clock.rows and self._ready is not None and not self._offer:
            self._ready, self._is_due = None, True  # the file was there, and is no more
        if clock.rows and self._ready is None:
            self._ready = m.InstrumentsReady(clock.rows, clock.day_ist)
            said.append(self._ready)
        return said if self._retry_ns is not None else [*said, *self._fetch()]

    def _fetch(self) -> list[Command]:
        if self._clock is None or not self._is_due or self._is_fetching:
            return []
        self._is_fetching, self._offer, self._retry_ns = True, None, None
        return [FetchDump(_day(self._clock.utc_s, _MADE_AFTER).isoformat())]

    def _ended(self, event: DumpEnded, now_ns: int) -> list[Command]:
        self._is_fetching = False
        self._fetches += 1
        if not event.rows:
            self._retry_ns = now_ns + _rung(_RETRY_NS, self._failures)
            self._failures += 1
            return self._tell("failed", event, event.problem)
        self._failures = 0
        if self._is_vouched:
            return self._take(event)
        if event.losses is None:
            return self._take_untrusted(event, now_ns, now_ns + BELIEVED_AFTER_NS)
        if event.digest == self._watched:  # the untrusted list once more
            if self._watched_until_ns is not None and now_ns >= self._watched_until_ns:
                return self._take(event)
            self._ask_again(now_ns)
            return self._tell("taken", event)
        self._offer = event
        return self._ask(event, now_ns)

    def _ask(self, offer: DumpEnded, now_ns: int) -> list[Command]:
        self._offered_ns = now_ns
        return [m.InstrumentsOffered(offer.digest, offer.day_ist)]

    def _judge(self, lacking: m.InstrumentsLacking, now_ns: int) -> list[Command]:
        offer = self._offer
        if offer is None or lacking.digest != offer.digest:
            return []
        self._offer = None
        why = doubts(offer.losses or (), lacking)
        if not why:
            return self._take(offer)
        if self._doubt is None or self._doubt.digest != offer.digest:
            self._doubt = _Doubt(offer.digest, now_ns)
        minutes = BELIEVED_AFTER_NS // (60 * NS_PER_S)
        if now_ns - self._doubt.since_ns >= BELIEVED_AFTER_NS:
            remark = Remark(f"the new list has been the same for {minutes} minutes: taken")
            return [remark, *self._take_untrusted(offer, now_ns, None)]
        self._ask_again(now_ns)
        return self._tell("doubted", offer, why)

    def _ask_again(self, now_ns: int) -> None:
        self._retry_ns = now_ns + _rung(_DOUBTED_NS, self._doubted)
        self._doubted += 1

    def _take_untrusted(
        self, new: DumpEnded, now_ns: int, watched_until_ns: int | None
    ) -> list[Command]:
        """Take the list for want of a better one, and ask for another."""
        rungs = _FIRST_RUNG if watched_until_ns else len(_DOUBTED_NS)
        commands = self._take(new)
        self._is_due, self._watched, self._watched_until_ns = True, new.digest, watched_until_ns
        self._doubted = rungs
        self._ask_again(now_ns)
        return commands

    def _take(self, new: DumpEnded) -> list[Command]:
        self._doubt, self._doubted, self._is_vouched = None, 0, False
        self._is_due, self._watched, self._retry_ns = False, "", None
        self._ready = m.InstrumentsReady(new.rows, new.day_ist)
        remarks: list[Command] = []
        if new.left_out and self._left_out_day != new.day_ist:
            self._left_out_day = new.day_ist
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(new.left_out.items()))
            rows = f"{sum(new.left_out.values()):,} rows of the instrument dump"
            remarks.append(Remark(f"{rows} name nothing and were left out: {reasons}"))
        return [TakeDump(), *remarks, self._ready, *self._tell("taken", new)]

    def _tell(self, outcome: FetchOutcome, event: DumpEnded, detail: str = "") -> list[Command]:
        left_out = sum(event.left_out.values())
        self._fetched = m.InstrumentsFetched(self._fetches, outcome, detail, event.rows, left_out)
        return [self._fetched]


def _rung(ladder: tuple[int, ...], taken: int) -> int:
    return ladder[min(taken, len(ladder) - 1)]


def _day(utc_s: float, since_midnight: timedelta) -> date:
    """Return the latest IST day on which the time `since_midnight` has passed."""
    return (datetime.fromtimestamp(utc_s, UTC).astimezone(IST) - since_midnight).date()
