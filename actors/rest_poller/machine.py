"""rest_poller: every quote request of this API key, behind one bucket. Pure.

Probes go before polls, and polls before what programs ask for (`questions`); between any two
requests lies `SPACING_NS`, one at a time. What a poll asks for is decided when it goes out
(`turns`), for all shards that are polled with one session together; a refused session or plan parks
the polling until a new epoch starts it again. The instrument dump (`dump_schedule`) and the order
book (`order_book`) are not behind this bucket: Kite counts them apart.
"""

from collections import Counter
from collections.abc import Mapping

import msgspec

from kitefeed.actors.policy.machine import Wake, Welcomed
from kitefeed.actors.rest_poller.dump_schedule import (
    ClockRead,
    DumpEnded,
    DumpSchedule,
    FetchDump,
    Remark,
    TakeDump,
)
from kitefeed.actors.rest_poller.order_book import BookRead, BookReader, ReadBook
from kitefeed.actors.rest_poller.questions import Questions, Together, quoted
from kitefeed.actors.rest_poller.sweep import SPACING_NS, Sweep
from kitefeed.actors.rest_poller.turns import choose, round_requests
from kitefeed.protocol.feed import IngestBatch
from kitefeed.protocol.kite.rest import tick_from_quote
from kitefeed.protocol.kite.ticks import FULL
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.membership import LinkReport

RATE_HOLD_NS = 10 * NS_PER_S  # after a 429: somebody else uses this key as well
# A request that takes longer is given up: a probe is waited for 8 s, and may stand behind another
# request. The thread may hang on; a late answer is ignored.
ANSWER_WITHIN_NS = 5 * NS_PER_S
# No search for a bad instrument makes so many refusals in a row: Kite refuses every request.
REFUSED_ALL = 40
PROBES_WAITING_MAX = 16  # the oldest of more is answered "rate"

Quotes = Mapping[int, Mapping[str, object]]


class Answered(msgspec.Struct, frozen=True):
    """The outcome of a request: `quotes` when ok, else the fault and its text."""

    request: int
    outcome: m.RestOutcome
    quotes: Quotes = {}
    detail: str = ""


class Ask(msgspec.Struct, frozen=True):
    """Ask for full quotes of these tokens with the session of this fingerprint, in a thread;
    `Answered` follows."""

    request: int
    fingerprint: str
    tokens: tuple[int, ...]


class _InFlight(msgspec.Struct, frozen=True):
    request: int
    sent_ns: int
    work: m.Probe | Together | tuple[Sweep, ...]  # a poll: all shards of its session
    company: int  # instruments in it


Event = m.BusMessage | Answered | BookRead | Welcomed | ClockRead | DumpEnded | Wake
Command = Ask | ReadBook | FetchDump | TakeDump | Remark | IngestBatch | Message


class RestPoller:
    """The bucket, the probes that wait for it, and one sweep per polled shard."""

    def __init__(self) -> None:
        self._sweeps: dict[int, Sweep] = {}
        self._last_sweeps: dict[int, Sweep] = {}  # by shard; also stopped ones, for their batch_seq
        self._probes: list[m.Probe] = []
        self._questions = Questions()
        self._in_flight: _InFlight | None = None
        self._requests = 0
        self._free_ns = 0  # when the bucket gives the next request
        self._rate_until_ns = 0
        self._round_ns = 0
        self._is_trial = False  # the last poll was a trial; the next one is not, if others wait
        self._refused_in_row = 0
        self._dump = DumpSchedule()
        self._book = BookReader()
        self.counters: Counter[str] = Counter(
            requests=0, values=0, absent=0, bad_values=0, odd_fields=0, failures=0
        )
        self.odd: set[str] = set()  # what was left out of quotes so far, and why

    @property
    def highest_epoch(self) -> int:
        return max((sweep.epoch for sweep in self._last_sweeps.values()), default=0)

    @property
    def links(self) -> tuple[LinkReport, ...]:
        return tuple(
            LinkReport(sweep.shard, sweep.epoch, sweep.fingerprint, sweep.is_streaming, "rest")
            for sweep in self._sweeps.values()
            if not sweep.is_parked
        )

    @property
    def deadline_ns(self) -> int | None:
        dues = [sweep.beat_due_ns for sweep in self._sweeps.values()]
        dues += [self._dump.deadline_ns, self._book.deadline_ns, self._next_request_ns()]
        dues.append(self._questions.until_ns)
        return min((due for due in dues if due is not None), default=None)

    def handle(self, event: Event, now_ns: int) -> list[Command]:
        commands = self._handle(event, now_ns)
        commands += [batch for sweep in self._sweeps.values() for batch in sweep.beats(now_ns)]
        commands += self._book.turn(now_ns)
        commands += self._questions.give_up(now_ns)
        return [*commands, *self._give_up(now_ns), *self._ask_next(now_ns)]

    def _handle(self, event: Event, now_ns: int) -> list[Command]:
        match event:
            case Answered():
                return self._answered(event, now_ns)
            case BookRead():
                return [*self._book.answered(event, now_ns)]
            case m.ReadOrders():
                self._book.order(event, now_ns)
                return []
            case m.StartPolling():
                return self._start(event, now_ns)
            case m.StopPolling():
                self._sweeps.pop(event.shard, None)
                self._find_rounds()
                return []
            case m.Probe():
                return self._accept(event, now_ns)
            case m.FetchQuotes():
                return [*self._questions.add(event, now_ns)]
            case Welcomed():
                if not self._requests:
                    # The poller before this one may have asked just now, and Kite counts by key.
                    self._free_ns = now_ns + SPACING_NS
                reports = [report for sweep in self._sweeps.values() for report in sweep.news()]
                return [*self._dump.news(now_ns), *reports]
            case m.FetchInstruments():
                return list(self._dump.order(event))
            case ClockRead() | DumpEnded() | m.InstrumentsLacking() | Wake():
                return list(self._dump.handle(event, now_ns))
            case _:
                return []

    def _start(self, order: m.StartPolling, now_ns: int) -> list[Command]:
        last = self._last_sweeps.get(order.shard)
        if last is not None and order.epoch < last.epoch:
            return []
        running = self._sweeps.get(order.shard)
        if running is not None and running.epoch == order.epoch:
            batches = running.change(order, now_ns)
        else:
            batches = []
            batch_seq = last.batch_seq if last is not None and last.epoch == order.epoch else 0
            sweep = Sweep(order, now_ns, batch_seq)
            self._sweeps[order.shard] = self._last_sweeps[order.shard] = sweep
        self._find_rounds()
        return [*batches]

    def _accept(self, probe: m.Probe, now_ns: int) -> list[Command]:
        if now_ns < self._rate_until_ns:
            return [m.Probed(probe.request_id, "rate", "Kite limited us a moment ago")]
        if any(waiting.request_id == probe.request_id for waiting in self._probes):
            return []
        self._probes.append(probe)
        if len(self._probes) <= PROBES_WAITING_MAX:
            return []
        return [m.Probed(self._probes.pop(0).request_id, "rate", "too many probes at once")]

    def _next_request_ns(self) -> int | None:
        """Return the boot time at which a request may go out, or the one under way is given up."""
        if self._in_flight is not None:
            return self._in_flight.sent_ns + ANSWER_WITHIN_NS
        if self._probes:
            return self._free_ns
        due_ns = min(
            (s.due_ns for s in self._sweeps.values() if s.due_ns is not None), default=None
        )
        if self._questions:
            return self._free_ns
        return None if due_ns is None else max(due_ns, self._free_ns)

    def _ask_next(self, now_ns: int) -> list[Command]:
        if self._in_flight is not None or now_ns < self._free_ns:
            return []
        if self._probes:
            probe = self._probes.pop(0)
            return [self._ask(probe, probe.fingerprint, (probe.token,), now_ns)]
        due = [(s.due_ns, s.fingerprint) for s in self._sweeps.values() if s.due_ns is not None]
        if due and min(due)[0] <= now_ns:
            return [self._poll(min(due)[1], now_ns)]  # the session that waits longest
        if self._questions:
            together = self._questions.take()
            return [self._ask(together, together.fingerprint, together.tokens, now_ns)]
        return []

    def _poll(self, fingerprint: str, now_ns: int) -> Ask:
        sweeps = self._of_session(fingerprint)
        turns = (turn for sweep in sweeps for turn in sweep.turns.values())
        late_ns = self._round_ns - SPACING_NS
        chosen = choose(turns, now_ns, late_after_ns=late_ns, may_try=not self._is_trial)
        self._is_trial = any(turn.is_on_trial for turn in chosen)
        for sweep in sweeps:
            sweep.ask([turn for turn in chosen if turn.shard == sweep.shard])
        # Both shards may want an instrument that moves from one to the other.
        tokens = tuple(dict.fromkeys(turn.token for turn in chosen))
        return self._ask(sweeps, fingerprint, tokens, now_ns)

    def _of_session(self, fingerprint: str) -> tuple[Sweep, ...]:
        return tuple(
            s for s in self._sweeps.values() if s.fingerprint == fingerprint and not s.is_parked
        )

    def _ask(
        self,
        work: m.Probe | Together | tuple[Sweep, ...],
        fingerprint: str,
        tokens: tuple[int, ...],
        now_ns: int,
    ) -> Ask:
        self._requests += 1
        self.counters["requests"] += 1
        self._free_ns = now_ns + SPACING_NS
        self._in_flight = _InFlight(self._requests, now_ns, work, len(tokens))
        return Ask(self._requests, fingerprint, tokens)

    def _give_up(self, now_ns: int) -> list[Command]:
        flight = self._in_flight
        if flight is None or now_ns < flight.sent_ns + ANSWER_WITHIN_NS:
            return []
        seconds = ANSWER_WITHIN_NS // NS_PER_S
        detail = f"no answer within {seconds} s"
        return self._answered(Answered(flight.request, "network", detail=detail), now_ns)

    def _answered(self, answer: Answered, now_ns: int) -> list[Command]:
        flight = self._in_flight
        if flight is None or flight.request != answer.request:
            return []  # given up before
        self._in_flight = None
        if answer.outcome != "ok":
            self.counters["failures"] += 1
        if answer.outcome == "rate":
            self._rate_until_ns = now_ns + RATE_HOLD_NS
            self._free_ns = max(self._free_ns, self._rate_until_ns)
        if isinstance(flight.work, m.Probe):
            return [_probed(flight.work, answer)]
        if isinstance(flight.work, Together):
            return [*quoted(flight.work, answer.outcome, answer.detail, answer.quotes)]
        return self._polled(flight, flight.work, answer, now_ns)

    def _polled(
        self, flight: _InFlight, polled: tuple[Sweep, ...], answer: Answered, now_ns: int
    ) -> list[Command]:
        # Leave out sweeps that were stopped, or have another epoch by now.
        sweeps = [sweep for sweep in polled if self._sweeps.get(sweep.shard) is sweep]
        asked = [sweep for sweep in sweeps if sweep.is_asked]
        said: list[Command] = []
        if answer.outcome == "ok":
            said = self._valued(sweeps, asked, flight.sent_ns, answer, now_ns)
        elif answer.outcome == "input":
            self._refused_in_row += 1
            for sweep in asked:
                said += sweep.refused(flight.company, flight.sent_ns, now_ns)
        elif answer.outcome in ("token", "permission"):
            asked = list(self._of_session(polled[0].fingerprint))  # whatever it asked for
            for sweep in asked:
                sweep.park()
        elif answer.outcome == "network":
            for sweep in sweeps:
                sweep.failed(flight.sent_ns)
        self._find_rounds()
        outcome, detail = answer.outcome, answer.detail
        return [
            *said,
            *(m.Polled(s.shard, s.epoch, outcome, detail, s.round_ns) for s in asked),
        ]

    def _valued(
        self,
        sweeps: list[Sweep],
        asked: list[Sweep],
        sent_ns: int,
        answer: Answered,
        now_ns: int,
    ) -> list[Command]:
        for sweep in sweeps:
            sweep.heard(sent_ns)
            if self._refused_in_row >= REFUSED_ALL:
                sweep.acquit()
        self._refused_in_row = 0
        said: list[Command] = []
        for sweep in asked:
            values = sweep.values(answer.quotes, sent_ns, now_ns)
            self.counters.update(values.counts)
            self.odd |= values.odd
            said += [*values.batches, *values.reports]
        return said

    def _find_rounds(self) -> None:
        """Tell every sweep how long a round takes: all share the bucket."""
        running = {sweep.fingerprint for sweep in self._sweeps.values() if not sweep.is_parked}
        requests = sum(
            round_requests(t for s in self._of_session(each) for t in s.turns.values())
            for each in running
        )
        self._round_ns = SPACING_NS * requests
        for sweep in self._sweeps.values():
            sweep.round_ns = self._round_ns


def _probed(probe: m.Probe, answer: Answered) -> m.Probed:
    if answer.outcome != "ok":
        return m.Probed(probe.request_id, answer.outcome, answer.detail)
    item = answer.quotes.get(probe.token)
    if item is None:
        return m.Probed(probe.request_id, "input", f"Kite has no quote of {probe.token}")
    try:
        tick = tick_from_quote(probe.token, FULL, item)
    except ValueError as error:
        return m.Probed(probe.request_id, "network", f"the quote cannot be read: {error}")
    has_moved = probe.last_price is not None and (
        tick.last_price != probe.last_price
        or (
            None not in (probe.volume_traded, tick.volume_traded)
            and tick.volume_traded != probe.volume_traded
        )
    )
    return m.Probed(probe.request_id, "moved" if has_moved else "same", last_price=tick.last_price)
