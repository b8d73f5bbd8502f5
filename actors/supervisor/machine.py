"""The supervisor's decisions: a pure machine over reports of the other actors.

`handle` applies one event to the facts, then moves every region as far as the facts allow
(`_advance`), then derives headline and log lines. Regions: session and standby (`session.py`), the
attempts to open a socket (`dial.py`), the open ones (`link.py`) and what quotes tell about them
(`probe.py`, `doubt.py`), REST polling (`rest.py`), the grants (`grant.py`), the market's hours
(`hours.py`), and what is said (`headline.py`). They share one `State`. Each changes only its own
part of it; for the rest it asks another region, or tells it (`news.py`). Instruments are divided
into shards (`shards.py`), one per socket; the open sockets, polling and grants are a shard's own,
everything else is the key's.
"""

from collections import Counter
from collections.abc import Callable
from typing import assert_never

from kitefeed.actors.policy.backoff import Ladder
from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.policy.market import Market
from kitefeed.actors.supervisor import (
    dial,
    doubt,
    grant,
    headline,
    held,
    hours,
    link,
    order_book,
    probe,
    rest,
    session,
)
from kitefeed.actors.supervisor.facts import (
    NETWORK_LADDER_S,
    ActorLost,
    ActorUp,
    Clock,
    Command,
    Elsewhere,
    Instruments,
    Ladders,
    Operate,
    Persisted,
    RetryNow,
)
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import FetchList
from kitefeed.protocol.messages.membership import Beat, Hello
from kitefeed.protocol.topology import Role

Event = (
    Wake | Clock | ActorUp | ActorLost | Operate | RetryNow | Instruments
    | Beat | m.SessionSeen | m.Validated | m.LinkOpened | m.LinkFresh | m.LinkDoubt
    | m.LinkSilent | m.LinkRefused | m.LinkClosed | m.Polled | m.Probed | m.Granted
    | m.InstrumentsReady | m.InstrumentsFetched | FetchList | m.OrdersUnread | m.OrdersHealed
    | m.FetchQuotes
)  # fmt: skip


ROUNDS_MAX = 8  # of all regions in a step: 3 were seen; what is left waits for the next step

# What monitors count: reports of the actors, by the name of the counter.
_COUNTED: dict[type[object], str] = {
    m.LinkOpened: "sockets_opened",
    m.LinkRefused: "sockets_refused",
    m.LinkClosed: "sockets_closed",
    m.Polled: "polls",
}


class Supervisor:
    """The machine. Times are boot-time nanoseconds. `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        *,
        now_ns: int,
        utc_ns: int,
        market: Market,
        backoff_s: list[float],
        persisted: Persisted,
        jitter: Callable[[], float],
        misconfigured: str | None = None,
        capacity: Capacity = WHOLE_KEY,
        elsewhere: Elsewhere = "alert",
    ) -> None:
        ladders = Ladders(Ladder(backoff_s), Ladder(NETWORK_LADDER_S), Ladder(backoff_s))
        self.state = State(
            now_ns, utc_ns, market, ladders, persisted, jitter, misconfigured, capacity, elsewhere
        )
        self.counters: Counter[str] = Counter(dict.fromkeys((*_COUNTED.values(), "logins"), 0))

    @property
    def deadline_ns(self) -> int | None:
        """The earliest moment at which something is due."""
        s = self.state
        due = (
            s.settled_ns,
            s.dial.until_ns,
            s.dial.move_ns,
            *s.closing.values(),
            s.session.request_until_ns,
            s.session.next_check_ns,
            s.standby.request_until_ns,
            s.standby.next_check_ns,
            s.probe.until_ns,
            s.probe.moved_due_ns,
            probe.recheck_ns(s),
            order_book.due_ns(s),
            *(shard.rest_due_ns for shard in s.shards),
            *(link.empty_due_ns(shard) for shard in s.shards),
            *(link.refresh_due_ns(shard) for shard in s.shards),
        )
        return min((t for t in due if t > s.now_ns), default=None)

    def handle(self, event: Event, now_ns: int) -> list[Command]:
        """Apply `event`. Late and foreign reports (other epoch, other request) change nothing."""
        s = self.state
        s.begin(now_ns)
        if (name := _COUNTED.get(type(event))) is not None:
            self.counters[name] += 1
        self._apply(event)
        hours.advance(s)
        self._advance()
        headline.announce(s)
        return s.commands

    def _apply(self, event: Event) -> None:
        s = self.state
        match event:
            case Wake():
                pass
            case Clock(utc_ns):
                self._read_clock(utc_ns)
            case ActorUp(hello, is_new):
                self._actor_up(hello, is_new)
            case ActorLost(role):
                self._actor_lost(role)
            case Operate(override):
                s.persisted.override = override
                s.persist()
                rest.unpark_all(s)
                dial.begin_anew(s)
            case RetryNow():
                rest.unpark_all(s)
                session.check_now(s)
                s.send(Role.REST_POLLER, m.FetchInstruments(is_ordered=True))
                dial.retried(s)
            case FetchList(is_believed):
                s.send(Role.REST_POLLER, m.FetchInstruments(True, is_believed))
            case m.FetchQuotes():
                s.send(Role.REST_POLLER, event)
            case m.InstrumentsReady(rows, day_ist):
                s.list.rows, s.list.day_ist = rows, day_ist
            case m.InstrumentsFetched():
                self._list_fetched(event)
            case Instruments(instruments, unresolved):
                s.unresolved = unresolved
                hours.want(s, instruments)
            case Beat():
                self._beat(event)
            case m.SessionSeen():
                is_other = session.seen(s, event)
                if is_other and event.slot == "standby":
                    rest.unpark(s, s.standby.fingerprint)
                elif is_other:
                    self.counters["logins"] += event.fingerprint is not None
                    headline.login_seen(s)
                    self._session_changed()
            case m.Validated():
                session.validated(s, event)
            case m.LinkOpened(number, epoch):
                link.opened(s, number, epoch)
            case m.LinkFresh(_, epoch):
                link.fresh(s, epoch)
            case m.LinkDoubt():
                doubt.doubted(s, event)
            case m.LinkSilent(_, epoch):
                link.silent(s, epoch)
            case m.LinkRefused(_, epoch, status):
                dial.refused(s, epoch, status)
            case m.LinkClosed(_, epoch, code, reason):
                link.closed(s, epoch, code, reason)
            case m.Polled():
                rest.polled(s, event)
            case m.Probed():
                probe.answered(s, event)
            case m.OrdersUnread():
                order_book.unread(s, event)
            case m.OrdersHealed():
                order_book.healed(s, event)
            case m.Granted():
                grant.acknowledged(s, event)
            case _:
                assert_never(event)

    def _list_fetched(self, fetched: m.InstrumentsFetched) -> None:
        known = self.state.list
        known.fetches, known.outcome = fetched.fetches, fetched.outcome
        known.detail, known.left_out = fetched.detail, fetched.left_out
        if fetched.outcome != "failed":  # a doubt is not over because Kite does not answer
            self.state.list_doubt = fetched.detail

    def _advance(self) -> None:
        """Move the regions in the order in which they feed each other, until none has moved: a
        timeout in one (a validation) can start another (a connection) in the same step. REST comes
        before the link: when both start, the link must have the newer epoch, or the fence would
        refuse it."""
        for _ in range(ROUNDS_MAX):
            before = self.state.moved
            session.advance(self.state)
            if session.fall_back(self.state):
                self._session_changed()
            probe.advance(self.state)
            doubt.advance(self.state)
            rest.advance(self.state)
            link.advance(self.state)
            order_book.advance(self.state)
            grant.advance(self.state)
            if self.state.moved == before:
                break

    def _session_changed(self) -> None:
        rest.unpark_all(self.state)
        doubt.forget(self.state)
        dial.session_changed(self.state)

    def _read_clock(self, utc_ns: int) -> None:
        s = self.state
        before_ns, s.clock_utc_ns = s.clock_utc_ns, utc_ns
        s.set_clock(utc_ns)
        was_open, s.was_market_open = s.was_market_open, s.is_market_open
        if s.was_market_open and was_open is False:
            dial.retry_now(s)
        session.scheduled_checks(s, before_ns)
        headline.ready_check(s, before_ns)

    def _actor_up(self, hello: Hello, is_new: bool) -> None:
        s = self.state
        s.heard(hello.role)
        s.raise_epoch(hello.highest_epoch)
        if hello.role is Role.TICKER:
            link.reported(s, hello.links)
        elif hello.role is Role.BROADCASTER:
            grant.broadcaster_up(s, hello.grants, is_new)
            headline.broadcaster_up(s)
        elif hello.role is Role.REST_POLLER:
            rest.reported(s, hello.links)
            if is_new:
                probe.poller_lost(s)
                order_book.poller_up(s)
        elif hello.role is Role.TOKEN_VALIDATOR and is_new:
            session.validator_lost(s)

    def _actor_lost(self, role: Role) -> None:
        s = self.state
        s.gone(role)
        if role is Role.TICKER:
            link.ticker_lost(s)
        elif role is Role.BROADCASTER:
            s.values_held = 0

    def _beat(self, beat: Beat) -> None:
        """Apply a beat of ticker or broadcaster, the only ones passed in; each fills its own
        fields."""
        s = self.state
        link.ticked(s, beat)
        if beat.alive_shards is not None:
            link.judged(s, beat.alive_shards)
        if beat.values:
            s.values_held = beat.values
        if beat.held is not None:
            held.told(s, beat.held)
        if beat.losses is not None:
            link.lost_batches(s, beat.losses)
