"""The facts of the supervisor's machine, region by region, and the orders it can give. No
behaviour."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import msgspec

from kitefeed.actors.policy.backoff import Ladder
from kitefeed.actors.supervisor.roster import LOST_AFTER_NS
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import Held, Hello
from kitefeed.protocol.topology import Role

VALIDATION_LIMIT_NS = 3_500_000_000  # the validator itself answers within 3 s
CONNECT_LIMIT_NS = 12 * NS_PER_S
PROBE_LIMIT_NS = 8 * NS_PER_S
MOVED_GRACE_NS = 1_500_000_000  # the ticker's next beat tells whether the stream moved as well
SOCKET_REFUSED_RETRY_NS = 60 * NS_PER_S  # after REFUSALS_BEFORE_REST refusals in a row
REFUSALS_BEFORE_REST = 3
NETWORK_LADDER_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
LOSSES_TOLERATED = 3  # reconnects that follow each other; beyond it the network is at fault
STABLE_AFTER_NS = 10 * NS_PER_S  # live this long: the next loss is a new one, tried again at once
CLOSED_RETRY_NS = 60 * NS_PER_S  # while the market is closed no attempt comes sooner than this
BRIDGE_AFTER_NS = 15 * NS_PER_S  # without fresh data while REST answers: poll
POLL_PERIOD_NS = 5 * NS_PER_S
POLLS_FAILED_MAX = 3  # in a row without an answer: 10 s at least
LIVE_CHECK_NS = 300 * NS_PER_S
UNVERIFIED_CHECK_NS = 15 * NS_PER_S  # a login that could not be judged, while another one streams
ENTITLEMENT_CHECK_NS = 900 * NS_PER_S
OBSERVED_OPEN_NS = (
    60 * NS_PER_S
)  # so long a fresh tick says that the market is open, whatever the calendar says
# A restarted supervisor listens for so long before it closes the fence of an actor that has not
# spoken: as long as it waits for one that it knew. A slow host's own start would use up a
# shorter time.
SETTLE_NS = LOST_AFTER_NS
GRANT_REPEAT_NS = 1 * NS_PER_S
GOOD_FOR_NS = 5 * NS_PER_S  # one validation lets all sockets in, one after the other, for this long
UNPROVEN_SAID_NS = 2 * NS_PER_S  # a stream whose values are stale for so long is not called live
CLOSING_NS = 3 * NS_PER_S  # the ticker tells of a socket's end within 2 s; till then Kite counts it
REFRESH_GAP_NS = 10 * NS_PER_S  # sooner, a broadcaster that cannot follow would get more to do
QUIET_SAID_NS = 300 * NS_PER_S  # no tick for so long while the calendar has trading: a line says so
HELD_SAID_NS = 5 * NS_PER_S  # a line tells values that are held stale for so long
# After a reconnect that changed nothing, the next comes no sooner than this, whether quotes have
# another price or cannot be had.
FUTILE_AGAIN_NS = 300 * NS_PER_S
BOOK_READERS_NS = 2 * NS_PER_S  # readers find a new broadcaster (RECONNECT_IVL_MAX is 1 s)
BOOK_REPEAT_NS = 20 * NS_PER_S  # an order to read the order book that nobody has answered
EMPTY_CLOSE_NS = 30 * NS_PER_S  # without instruments; whoever wanted them may be restarting


class DialState(StrEnum):
    """The states of the one attempt of the key (`Dial`). Each state that waits owns a deadline or
    an actor's promise."""

    IDLE = "idle"  # nothing to do: all are open; or none is wanted: paused, REST only, no session
    WAITING = "waiting"  # until `until_ns`, because of `cause`
    PREFLIGHT = "preflight"  # the session is being validated, then the socket opens
    CONNECTING = "connecting"  # the ticker was ordered to open it
    CLASSIFYING = "classifying"  # refused with 403: a quote decides what that means


class SocketState(StrEnum):
    """The states of one socket (`Link`)."""

    CLOSED = "closed"
    PRIMING = "priming"  # open, granted, subscribed; nothing proven fresh yet
    LIVE = "live"  # a fresh tick has come


Cause = Literal["", "session", "socket", "network", "limit", "entitlement"]
SessionWord = Literal["absent", "unknown", "valid", "refused", "unverified"]
Elsewhere = Literal["wait", "alert", "command"]  # what is done when somebody else logged in
Override = Literal["auto", "websocket", "rest", "paused"]
GrantSource = Literal["websocket", "rest", "none"]


@dataclass
class Dial:
    """The one attempt of the key. Kite refuses all sockets of a key for the same reasons, so one
    is tried at a time, for all: one validation, one count, one wait."""

    state: DialState = DialState.IDLE
    shard: int = 0  # whose socket is being opened
    epoch: int = 0  # of the attempt
    fingerprint: str = ""
    is_move: bool = False  # make before break: it replaces an open socket of another login
    until_ns: int = 0  # deadline of the state, 0 for none
    cause: Cause = ""
    good_ns: int = 0  # when the session was found good; 0 once an attempt came to nothing
    move_ns: int = 0  # no move to the new login before this
    refused_shard: int = 0  # whose 403s are counted
    closed_reason: str = ""
    connect_failures: int = 0  # attempts in a row that never opened


@dataclass
class Link:
    """A socket."""

    state: SocketState = SocketState.CLOSED
    epoch: int = 0
    fingerprint: str = ""
    live_since_ns: int = 0
    is_subscribed: bool = False
    asked: tuple[Instrument, ...] = ()  # the last order to subscribe
    is_refresh_due: bool = False  # the broadcaster lost what it had: ask Kite for everything anew
    refreshed_ns: int = 0  # when that was done, 0 for never
    doubt: m.LinkDoubt | None = None  # until a quote has settled it
    doubted_ns: int = 0
    unanswered: int = 0  # quotes in a row about a silent stream that could not be had
    held: tuple[Held, ...] = ()  # what reads stale although it streams
    held_since_ns: int = 0  # 0 while nothing is
    unproven_since_ns: int = 0  # since when the broadcaster has its values read stale, 0: not


@dataclass
class SessionFacts:
    """The session of one slot. `request_id` is the validation under way, 0 for none."""

    slot: Literal["primary", "standby"]
    fingerprint: str | None = None
    candidates: tuple[str, ...] = ()  # of all files, the newest first; it is one of them
    refused: dict[str, str] = field(default_factory=dict)  # refused ones, and what Kite said
    word: SessionWord = "unknown"
    problem: str | None = None
    request_id: int = 0
    request_until_ns: int = 0
    next_check_ns: int = 0
    valid_utc_ns: int = 0
    valid_fingerprint: str = ""
    # When Kite refused a session that was good, without a flush in between, and when it was last
    # seen good. 0 for neither.
    elsewhere_utc_ns: int = 0
    good_until_utc_ns: int = 0
    user_id: str | None = None
    user_name: str | None = None
    detail: str = ""


@dataclass
class Rest:
    """REST polling of one shard."""

    epoch: int = 0  # 0: not polling
    fingerprint: str = ""
    is_started: bool = False  # StartPolling was sent (its grant was acknowledged)
    ok_ns: int = 0
    sweep_ns: int = 0
    failures: int = 0  # polls in a row that had no answer
    detail: str = ""


# What a quote is asked for: what a refusal means, whether a stream moves, whether a plan has data.
ProbeKind = Literal["classify", "unproven", "canary", "quiet", "entitlement"]


@dataclass
class ProbeFacts:
    """The one question to the poller that is under way; `request` None when there is none."""

    kind: ProbeKind = "classify"
    epoch: int = 0  # of the socket it is about, or of the attempt
    request: m.Probe | None = None
    until_ns: int = 0
    asked_ns: int = 0
    moved_due_ns: int = 0  # "moved" is believed then, unless a fresh tick came in between
    token: int = 0  # of the instrument that was last asked for
    last_price: int = 0  # of the quote, scaled; 0 when none was had


@dataclass
class BookFacts:
    """The reading of the order book that is still to be done; `order` None when there is none."""

    order: m.ReadOrders | None = None
    due_ns: int = 0  # when it is sent, first or again
    is_sent: bool = False
    detail: str = ""  # why the last try failed


@dataclass
class GrantFacts:
    source: GrantSource = "none"
    epoch: int = 0
    is_acknowledged: bool = False
    sent_ns: int = 0


@dataclass
class Shard:
    """One socket's worth of instruments, and how they reach the readers."""

    number: int
    instruments: tuple[Instrument, ...] = ()
    segments: frozenset[int] = frozenset()  # of the instruments
    used_since_ns: int = 0  # when it got its first instrument
    link: Link = field(default_factory=Link)
    rest: Rest = field(default_factory=Rest)
    grant: GrantFacts = field(default_factory=GrantFacts)
    fresh_ns: int = 0  # when it last had a fresh tick, 0 for never
    limited_until_ns: int = 0  # Kite answered its socket with 429
    empty_since_ns: int = 0  # its socket is open without need
    losses: int = 0  # batches that never reached the broadcaster of now
    restarted_ns: int = (
        0  # when its socket was last given up because of a quote, or for want of one
    )
    contradicted: dict[int, int] = field(default_factory=dict)  # token -> the quote that did it
    rest_due_ns: int = 0  # when polling becomes due if nothing else happens, 0 for never

    @property
    def is_open(self) -> bool:
        return self.link.state is not SocketState.CLOSED

    def is_unproven(self, now_ns: int) -> bool:
        """Whether it streams, but its values read stale."""
        since_ns = self.link.unproven_since_ns
        return self.is_streaming and 0 < since_ns <= now_ns - UNPROVEN_SAID_NS

    @property
    def is_streaming(self) -> bool:
        """Whether its socket delivers fresh data and the broadcaster lets that through."""
        return self.link.state is SocketState.LIVE and self.grant.source == "websocket"


@dataclass
class Ladders:
    session: Ladder
    network: Ladder
    socket: Ladder


class Persisted(msgspec.Struct):
    """The facts that must survive a restart; written before the command that relies on them."""

    version: int = 1
    epoch: int = 0
    override: Override = "auto"
    valid_fingerprint: str = ""
    valid_utc_ns: int = 0
    subscriptions: dict[str, str | None] = {}  # operator's instruments -> mode, None: as configured
    # Token and expiry of what streams though the instrument list lacks it.
    kept: dict[str, tuple[int, str]] = {}


# --- events that are not bus messages -----------------------------------------------------------


class Clock(msgspec.Struct, frozen=True):
    """The wall clock, once a second."""

    utc_ns: int


class ActorUp(msgspec.Struct, frozen=True):
    """A new process (`is_new`), or a known one, said hello; what it runs is in the hello."""

    hello: Hello
    is_new: bool


class ActorLost(msgspec.Struct, frozen=True):
    role: Role


class Operate(msgspec.Struct, frozen=True):
    """`kitefeed source`, `kitefeed pause`."""

    override: Override


class RetryNow(msgspec.Struct, frozen=True):
    """`kitefeed retry`."""


class Instruments(msgspec.Struct, frozen=True):
    """The resolved instruments that are wanted have changed. `unresolved`: the number of wanted
    names that are not found yet, because there is no instrument list."""

    instruments: tuple[Instrument, ...]
    unresolved: int = 0


# --- commands -----------------------------------------------------------------------------------


class Instruct(msgspec.Struct, frozen=True):
    """Send `message` to the actor that holds `role`."""

    role: Role
    message: Message


class Persist(msgspec.Struct, frozen=True):
    """Write the facts that must survive, before the commands behind this one. `data`: of
    `memory.encode`."""

    data: bytes


class Say(msgspec.Struct, frozen=True):
    """One log line. level: error when a condition begins, info when it ends, warning in between."""

    level: Literal["error", "warning", "info"]
    text: str


Command = Instruct | Persist | Say
