"""The facts that all regions share, and the orders of the step under way."""

from collections.abc import Callable
from typing import TypeVar

from kitefeed.actors.policy.market import NSE, Market
from kitefeed.actors.supervisor import memory
from kitefeed.actors.supervisor.facts import (
    OBSERVED_OPEN_NS,
    SETTLE_NS,
    BookFacts,
    Command,
    Dial,
    Elsewhere,
    Instruct,
    Ladders,
    Override,
    Persist,
    Persisted,
    ProbeFacts,
    Say,
    SessionFacts,
    Shard,
)
from kitefeed.actors.supervisor.news import QuoteAnswered, SessionJudged, Waiting
from kitefeed.actors.supervisor.shards import Capacity, assign
from kitefeed.protocol.feed import FeedState
from kitefeed.protocol.kite.limits import PER_SOCKET_MAX
from kitefeed.protocol.kite.ticks import segment_of
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import LIST_MAX, Instrument
from kitefeed.protocol.messages.status import ListStatus, Outage
from kitefeed.protocol.topology import Role

# So many instruments are never all silent while their market trades: each is a canary then. (1,091
# contracts were seen to send 730 packets a second.)
CROWD = 1_000
N = TypeVar("N", SessionJudged, QuoteAnswered)

HOMES_MAX = 4 * LIST_MAX  # former places of instruments; all are forgotten beyond it


class State:
    """Plain data, and the few questions that several regions ask of it."""

    def __init__(
        self,
        now_ns: int,
        utc_ns: int,
        market: Market,
        ladders: Ladders,
        persisted: Persisted,
        jitter: Callable[[], float],
        misconfigured: str | None,
        capacity: Capacity,
        elsewhere: Elsewhere,
    ) -> None:
        self.now_ns = now_ns
        self._utc_offset_ns = utc_ns - now_ns
        self.clock_utc_ns = utc_ns  # the last reading, and whether the market was open by it
        self.was_market_open: bool | None = None
        self.market = market
        self.ladders = ladders
        self.persisted = persisted
        self.jitter = jitter
        self.misconfigured = misconfigured
        self.session = SessionFacts("primary", valid_fingerprint=persisted.valid_fingerprint,
                                    valid_utc_ns=persisted.valid_utc_ns)  # fmt: skip
        self.standby = SessionFacts("standby")
        self.dial = Dial()
        self.shards = [Shard(number) for number in range(capacity.sockets)]
        self.closing: dict[int, int] = {}  # epochs of sockets being closed -> when they are over
        self.probe = ProbeFacts()
        self.book = BookFacts()
        self.parked: set[str] = set()  # fingerprints whose poll was refused: not polled again
        self.instruments: tuple[Instrument, ...] = ()
        self.unresolved = 0  # names that wait for the instrument list
        self.list = ListStatus()  # the instrument list, as the poller tells
        self.list_doubt = ""  # why a newer one is not believed
        self.capacity = capacity
        self._canaries: tuple[Instrument, ...] = ()
        self._homes: dict[int, int] = {}  # token -> the shard it was last on
        self.segments: frozenset[int] = frozenset({NSE})  # of the instruments
        self.open_segments: frozenset[int] = frozenset()  # as the sources were last told
        self.trading_segments: frozenset[int] = frozenset()
        self.trading_since_ns = now_ns  # when they last changed
        self.actors_up: set[Role] = set()
        self.consecutive_403 = 0
        self.elsewhere = elsewhere
        self.is_socket_refusal = False  # the refusals are the socket's alone: the session is good
        self.has_no_entitlement = False
        self.started_ns = now_ns
        self.settled_ns = now_ns + SETTLE_NS
        self.broadcaster_since_ns = now_ns  # when the one that runs was first heard
        self.session_since_ns = now_ns  # when the primary session was first seen
        self.values_held = 0
        self._request_id = 0
        self._news: dict[type[Waiting], Waiting] = {}  # of one region for another, not heard yet
        self._told = 0  # how many were told
        self.last_announced: FeedState | None = None
        self.announced_until_ns = 0
        self.login_fingerprint: str | None = None  # the session whose end `login_required` is about
        self.feed_since_ns = now_ns
        self.conditions: dict[str, int] = {}  # key -> since
        self.attempts = 0  # to open a socket, in this life
        self.attempts_when_live = 0  # at the time when the feed was last live
        self.outage: Outage | None = None
        self.commands: list[Command] = []
        # An epoch must never be issued twice, also when the stored one is lost or the clock jumps.
        self.raise_epoch(max(persisted.epoch, utc_ns // 1_000_000))

    def begin(self, now_ns: int) -> None:
        """Start a step. Time never runs backwards for the machine."""
        self.now_ns = max(self.now_ns, now_ns)
        self.commands = []

    def order(self, command: Command) -> None:
        self.commands.append(command)

    def send(self, role: Role, message: Message) -> None:
        self.commands.append(Instruct(role, message))

    def persist(self) -> None:
        """Order to write down what must survive, as it is now."""
        self.commands.append(Persist(memory.encode(self.persisted)))

    # --- news of one region for another -----------------------------------------------------

    def tell(self, news: Waiting) -> None:
        """Tell a region; newer news of a kind replaces what was not heard yet."""
        self._news[type(news)] = news
        self._told += 1

    def heard_of(self, kind: type[N]) -> N | None:
        """Look at news that waits to be heard, without taking it."""
        return self._news.get(kind)  # type: ignore[return-value]

    def take(self, kind: type[N]) -> N | None:
        """Hear the news: it is told once."""
        return self._news.pop(kind, None)  # type: ignore[return-value]

    @property
    def moved(self) -> tuple[object, ...]:
        """The facts that differ after the regions' turns if one of them did something that an
        earlier one may want to know."""
        return (
            len(self.commands), self._told, len(self._news), self.dial.state,
            self.session.next_check_ns,
        )  # fmt: skip

    def say(self, text: str) -> None:
        self.commands.append(Say("info", text))

    @property
    def is_waiting_elsewhere(self) -> bool:
        """Whether somebody else logged in, and the user wants to be left in peace about it."""
        return self.elsewhere == "wait" and self.session.elsewhere_utc_ns > 0

    # --- time -------------------------------------------------------------------------------

    @property
    def utc_ns(self) -> int:
        return self.now_ns + self._utc_offset_ns

    def set_clock(self, utc_ns: int) -> None:
        """Set the wall clock, which may step; deadlines are boot time and do not notice."""
        self._utc_offset_ns = utc_ns - self.now_ns

    def to_utc_ns(self, boot_ns: int) -> int:
        return boot_ns + self._utc_offset_ns

    # --- the market -------------------------------------------------------------------------

    def want(
        self, instruments: tuple[Instrument, ...], placed: dict[int, int] | None = None
    ) -> None:
        """Give each of `instruments` a shard. `placed`: where some stream by other knowledge."""
        self.instruments = instruments
        self.segments = frozenset(segment_of(i.token) for i in instruments) or frozenset({NSE})
        self._canaries = tuple(i for i in instruments if i.is_canary)
        before = {i.token: shard.number for shard in self.shards for i in shard.instruments}
        placed = placed or {}
        if len(self._homes) > HOMES_MAX:
            self._homes.clear()
        self._homes |= before | placed
        opened = [shard.number for shard in self.shards if shard.is_open]
        places = assign(instruments, (placed, before), self._homes, self.capacity, opened)
        for shard in self.shards:
            self._give(shard, [i for i in instruments if places.get(i.token) == shard.number])

    def _give(self, shard: Shard, instruments: list[Instrument]) -> None:
        if not shard.instruments:
            shard.used_since_ns = self.now_ns
        shard.instruments = tuple(instruments)
        shard.segments = frozenset(segment_of(i.token) for i in instruments)

    @property
    def is_market_open(self) -> bool:
        """Whether any wanted segment is open."""
        return self.is_calendar_open or self.is_overruled

    @property
    def is_calendar_open(self) -> bool:
        return self.market.is_any_open(self.segments, self.utc_ns)

    @property
    def is_overruled(self) -> bool:
        """Whether ticks flow while the calendar has every wanted segment closed: then the calendar
        is wrong, and for want of better knowledge all of them are open."""
        if self.is_calendar_open or self.market.hours != "calendar":
            return False
        return self.fresh_ns > 0 and self.now_ns - self.fresh_ns < OBSERVED_OPEN_NS

    def is_open(self, segment: int) -> bool:
        return self.is_overruled or self.market.is_open(segment, self.utc_ns)

    def is_trading(self, segment: int) -> bool:
        """Whether the segment trades continuously by the calendar, in whose doubtful hours silence
        means nothing; or by ticks, in a session that it does not know: else a mute socket would
        never be found out there."""
        return self.is_overruled or self.market.is_trading(segment, self.utc_ns)

    def streamed(self, shard: Shard) -> tuple[Instrument, ...]:
        """Return everything that is wanted of the shard's socket; canaries only where trading is
        continuous. A stream need not know its readers. Without a canary of its own, its socket gets
        another's, if Kite has room for it: else nobody would notice that it is mute."""
        own, canaries = shard.instruments, self._ticking
        is_unwatched = bool(own) and not any(i in canaries for i in own if i.is_canary)
        if is_unwatched and canaries and len(own) < PER_SOCKET_MAX:
            token, key = canaries[0].token, canaries[0].key
            guard = Instrument(token, key, "ltp", is_canary=True, is_guard=True)
            own, is_unwatched = (*own, guard), False
        is_crowd = is_unwatched and sum(map(self._is_trading, own)) >= CROWD
        return tuple(self._as_streamed(i, is_canary=i.is_canary or is_crowd) for i in own)

    @property
    def _ticking(self) -> tuple[Instrument, ...]:
        """The canaries that tick at this hour: in the evening an index is silent while commodities
        trade. All of them while nothing trades."""
        return tuple(filter(self._is_trading, self._canaries)) or self._canaries

    def _is_trading(self, instrument: Instrument) -> bool:
        return segment_of(instrument.token) in self.trading_segments

    def _as_streamed(self, instrument: Instrument, *, is_canary: bool) -> Instrument:
        is_trading = self._is_trading(instrument)
        return Instrument(
            instrument.token,
            instrument.key,
            instrument.mode,
            is_canary=is_canary and is_trading,
            is_closed=not is_trading and segment_of(instrument.token) not in self.open_segments,
            is_guard=instrument.is_guard,
        )

    def has_hours(self, shard: Shard) -> bool:
        """Whether any segment of the shard is open."""
        return not shard.segments.isdisjoint(self.open_segments)

    def polled(self, shard: Shard) -> tuple[Instrument, ...]:
        """Return its instruments of open segments."""
        return tuple(i for i in shard.instruments if segment_of(i.token) in self.open_segments)

    @property
    def is_settled(self) -> bool:
        """Whether every actor that may hold a running link has had the chance to say so."""
        return self.now_ns >= self.settled_ns

    def heard(self, role: Role) -> None:
        """Note that an actor is up. Once all that may hold a link have spoken, nobody is waited
        for."""
        self.actors_up.add(role)
        if {Role.TICKER, Role.REST_POLLER, Role.BROADCASTER} <= self.actors_up:
            self.settled_ns = min(self.settled_ns, self.now_ns)

    def gone(self, role: Role) -> None:
        self.actors_up.discard(role)

    # --- questions --------------------------------------------------------------------------

    @property
    def override(self) -> Override:
        return self.persisted.override

    @property
    def used(self) -> list[Shard]:
        """The shards that carry instruments; the first one when there are none at all."""
        return [shard for shard in self.shards if shard.instruments] or self.shards[:1]

    @property
    def judged(self) -> list[Shard]:
        """The shards of which news is to be expected: the worst of them is the headline."""
        return [shard for shard in self.used if self.has_hours(shard)] or self.used

    def shard_of(self, epoch: int) -> Shard | None:
        """Return the shard whose open socket has this epoch."""
        return next((s for s in self.shards if s.is_open and s.link.epoch == epoch), None)

    @property
    def running(self) -> set[tuple[int, int]]:
        """Shard and epoch of each source that delivers, or is about to."""
        streamed = {(shard.number, shard.link.epoch) for shard in self.shards if shard.is_open}
        return streamed | {(shard.number, shard.rest.epoch) for shard in self.shards}

    @property
    def closed(self) -> list[Shard]:
        """The shards that need a socket."""
        return [shard for shard in self.used if not shard.is_open]

    @property
    def is_any_open(self) -> bool:
        return any(shard.is_open for shard in self.shards)

    @property
    def is_streaming(self) -> bool:
        """Whether every socket delivers fresh data."""
        return all(shard.is_streaming for shard in self.judged)

    @property
    def fresh_ns(self) -> int:
        """The boot time of the last fresh tick, 0 for never."""
        return max([shard.fresh_ns for shard in self.shards])

    # --- numbers that are issued --------------------------------------------------------------

    def next_request_id(self) -> int:
        self._request_id += 1
        return self._request_id

    def next_epoch(self) -> int:
        """Issue a new epoch, written down before anything uses it."""
        self.persisted.epoch += 1
        self.persist()
        return self.persisted.epoch

    def raise_epoch(self, seen: int) -> None:
        self.persisted.epoch = max(self.persisted.epoch, seen)
