"""What the supervisor's machine knows, region by region, and what it can order. No behaviour."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import msgspec

from kitefeed.actors.policy.backoff import Ladder
from kitefeed.protocol import messages as m
from kitefeed.protocol.messages import Message
from kitefeed.protocol.topology import Role

S = 1_000_000_000

VALIDATION_LIMIT_NS = 3_500_000_000  # the validator itself answers within 3 s
CONNECT_LIMIT_NS = 12 * S
PROBE_LIMIT_NS = 8 * S
MOVED_GRACE_NS = 1_500_000_000  # the ticker's next beat tells whether the stream moved as well
SOCKET_REFUSED_RETRY_NS = 60 * S  # after REFUSALS_BEFORE_REST refusals in a row
REFUSALS_BEFORE_REST = 3
NETWORK_LADDER_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
LOSSES_TOLERATED = 3  # reconnects that follow each other; beyond it the network is at fault
STABLE_AFTER_NS = 10 * S  # live this long: the next loss is a new one, tried again at once
CLOSED_RETRY_NS = 60 * S  # while the market is closed no attempt comes sooner than this
BRIDGE_AFTER_NS = 15 * S  # without fresh data while REST answers: poll
POLL_PERIOD_NS = 5 * S
POLLS_FAILED_MAX = 3  # in a row without an answer: 10 s at least
LIVE_CHECK_NS = 300 * S
UNVERIFIED_CHECK_NS = 15 * S  # a login that could not be judged, while another one streams
ENTITLEMENT_CHECK_NS = 900 * S
OBSERVED_OPEN_NS = 60 * S  # a fresh tick keeps the market open this long against the calendar
SETTLE_NS = 1_500_000_000  # a restarted supervisor listens this long before it closes a fence
GRANT_REPEAT_NS = 1 * S
SHARD = 0  # instruments are on one socket until sharding is built; grants and epochs already say so


class LinkState(StrEnum):
    """States of the WebSocket link. Every one that waits owns a deadline or an actor's promise."""

    IDLE = "idle"  # nothing wants it: paused, REST only, no session
    WAITING = "waiting"  # until `until_ns`, because of `cause`
    PREFLIGHT = "preflight"  # the session is being validated, then the socket opens
    CONNECTING = "connecting"  # the ticker was ordered to open it
    CLASSIFYING = "classifying"  # refused with 403: a quote decides what that means
    PRIMING = "priming"  # open, granted, subscribed; nothing proven fresh yet
    LIVE = "live"  # a fresh tick has come


OPEN_STATES = (LinkState.PRIMING, LinkState.LIVE)

Cause = Literal["", "session", "socket", "network", "limit", "entitlement"]
SessionWord = Literal["absent", "unknown", "valid", "refused", "unverified"]
Override = Literal["auto", "websocket", "rest", "paused"]
GrantSource = Literal["websocket", "rest", "none"]


@dataclass
class Link:
    state: LinkState = LinkState.IDLE
    epoch: int = 0
    fingerprint: str = ""
    until_ns: int = 0  # deadline of the state, 0 for none
    cause: Cause = ""
    live_since_ns: int = 0
    is_subscribed: bool = False
    is_refresh_due: bool = False  # the broadcaster lost what it had: ask Kite for everything anew
    next_epoch: int = 0  # make before break: the link that will replace this one
    next_until_ns: int = 0
    refused_status: int = 0
    closed_reason: str = ""
    connect_failures: int = 0  # attempts in a row that never opened


@dataclass
class SessionFacts:
    """One slot. `request_id` is the validation under way, 0 for none."""

    slot: Literal["primary", "standby"]
    fingerprint: str | None = None
    word: SessionWord = "unknown"
    problem: str | None = None
    request_id: int = 0
    request_until_ns: int = 0
    next_check_ns: int = 0
    valid_utc_ns: int = 0
    valid_fingerprint: str = ""
    user_id: str | None = None
    user_name: str | None = None
    detail: str = ""


@dataclass
class Rest:
    """REST polling. `parked` are fingerprints whose poll was refused: not polled again."""

    epoch: int = 0  # 0: not polling
    fingerprint: str = ""
    is_started: bool = False  # StartPolling was sent (its grant was acknowledged)
    ok_ns: int = 0
    sweep_ns: int = 0
    failures: int = 0  # polls in a row that had no answer
    detail: str = ""
    parked: set[str] = field(default_factory=set)


# What a quote is asked for: what a refusal means, whether a stream moves, whether a plan has data.
ProbeKind = Literal["classify", "unproven", "canary", "entitlement"]


@dataclass
class ProbeFacts:
    """The one question to the poller under way; `request` None when there is none."""

    kind: ProbeKind = "classify"
    epoch: int = 0  # of the link it is about
    request: m.Probe | None = None
    until_ns: int = 0
    asked_ns: int = 0
    moved_due_ns: int = 0  # "moved" is believed then, unless a fresh tick came in between
    failures: int = 0
    token: int = 0  # of the instrument that was last asked for


@dataclass
class GrantFacts:
    source: GrantSource = "none"
    epoch: int = 0
    is_acknowledged: bool = False
    sent_ns: int = 0


@dataclass
class Ladders:
    session: Ladder
    network: Ladder
    socket: Ladder


class Persisted(msgspec.Struct):
    """What must survive a restart; written before the command that relies on it."""

    version: int = 1
    epoch: int = 0
    override: Override = "auto"
    valid_fingerprint: str = ""
    valid_utc_ns: int = 0
    subscriptions: dict[str, str | None] = {}  # operator's instruments -> mode, None: as configured


# --- events that are not bus messages -----------------------------------------------------------


class Clock(msgspec.Struct, frozen=True):
    """The wall clock, once a second."""

    utc_ns: int


class ActorUp(msgspec.Struct, frozen=True):
    """A new process (`is_new`), or a known one, said hello; what it runs is in the hello."""

    hello: m.Hello
    is_new: bool


class ActorLost(msgspec.Struct, frozen=True):
    role: Role


class Operate(msgspec.Struct, frozen=True):
    """`kitefeed source`, `kitefeed pause`."""

    override: Override


class RetryNow(msgspec.Struct, frozen=True):
    """`kitefeed retry`."""


class Instruments(msgspec.Struct, frozen=True):
    """The resolved instruments that are wanted have changed."""

    instruments: tuple[m.Instrument, ...]


# --- commands -----------------------------------------------------------------------------------


class Send(msgspec.Struct, frozen=True):
    """Send `message` to the actor that holds `role`."""

    role: Role
    message: Message


class Persist(msgspec.Struct, frozen=True):
    """Write what must survive, before the commands behind this one."""


class Say(msgspec.Struct, frozen=True):
    """One log line. level: error when a condition begins, info when it ends, warning in between."""

    level: Literal["error", "warning", "info"]
    text: str


Command = Send | Persist | Say
