"""The answer of `kitefeed status`: `StatusReport` and its parts."""

from typing import Literal

import msgspec

from kitefeed.protocol.messages.instruments import FetchOutcome


class ActorStatus(msgspec.Struct):
    role: str
    state: Literal["absent", "up", "suspect"]
    pid: int | None = None
    beat_age_s: float | None = None
    lag_ms: float | None = None
    counters: dict[str, int] = {}


class ReaderStatus(msgspec.Struct):
    """A program that reads the feed, as it last reported itself (`ReaderReport`). pid: as the
    kernel says it, None where it does not."""

    name: str
    pid: int | None
    heard_age_s: float
    instruments: int = 0
    ticks_per_s: float = 0.0
    lag_ms: float = 0.0
    waiting: int = 0
    gaps: int = 0
    late: int = 0
    skipped: int = 0
    overrun: int = 0
    reconnects: int = 0
    problem: str = ""


class Unconfirmed(msgspec.Struct, frozen=True):
    """An instrument that was asked for in `mode`, `since_s` seconds ago, and did not come.
    comes_in: the lower mode in which it does, None when nothing came at all."""

    instrument: str
    mode: str
    comes_in: str | None
    since_s: float


class SubscriptionCounts(msgspec.Struct):
    """Counts of three sets: instruments that are wanted, were asked of Kite, and are confirmed:
    they came in the mode that was asked for, or in a higher one. `unconfirmed`: those asked for 5 s
    ago or more that are not confirmed, at most 100, the longest first."""

    wanted: int = 0
    asked: int = 0
    confirmed: int = 0
    refused: dict[str, str] = {}  # instrument -> why
    unconfirmed: list[Unconfirmed] = []


class Outage(msgspec.Struct):
    """The times of an outage in UTC epoch seconds; None while it has not happened."""

    condition: str
    detected_utc_s: float
    login_utc_s: float | None = None
    restored_utc_s: float | None = None


class SessionStatus(msgspec.Struct):
    """A session of the session files. word: unknown, valid, refused, unverified; for one that is
    not in use, the last that was heard of it. detail: what Kite said."""

    fingerprint: str
    word: str
    is_in_use: bool
    detail: str = ""


class ShardStatus(msgspec.Struct):
    """One socket's worth of instruments. state: idle, waiting, preflight, connecting, classifying,
    priming, live; source: websocket, rest, none."""

    shard: int
    state: str
    source: str
    epoch: int
    instruments: int
    confirmed: int


class Target(msgspec.Struct, frozen=True):
    """The Kite that a daemon talks to; `kind` follows from both hosts."""

    kind: Literal["kite", "sandbox", "simulator", "other"]
    rest_url: str
    ws_url: str


class TcpAddress(msgspec.Struct, frozen=True):
    """The address at which other hosts read the feed (`feed.tcp`), and the public key it proves
    (Z85)."""

    endpoint: str
    server_key: str


class ListStatus(msgspec.Struct):
    """The instrument list in use (rows 0: none), and how the last fetch ended: see
    `InstrumentsFetched`."""

    rows: int = 0
    day_ist: str = ""
    fetches: int = 0
    outcome: FetchOutcome | None = None
    detail: str = ""
    left_out: int = 0
    kept: dict[str, str] = {}  # instruments that stream though the list lacks them -> why


class HeldStatus(msgspec.Struct):
    """Values that read stale while their socket streams, see `Held`. silent: the instruments whose
    silence is the reason; held: "all of this socket", a segment, or "these"."""

    shard: int
    silent: list[str]
    held: str
    age_s: float


class StatusReport(msgspec.Struct):
    """`kitefeed status --json`, all of it. Ages in seconds; None where there is nothing to tell."""

    feed: str
    source: str
    session: str
    override: str
    reason: str
    since_utc_s: float
    epoch: int
    consecutive_403: int
    retry_in_s: float | None
    user_id: str | None
    user_name: str | None
    standby: str
    # Segment of a wanted instrument -> its phase: closed, pre_open, pre_open_match, open,
    # closing_auction, post_close, or break (between two phases of a session).
    market: dict[str, str]
    next_open: str | None
    subscriptions: SubscriptionCounts
    subscribers: int
    last_tick_age_s: float | None
    last_outage: Outage | None
    endpoints: dict[str, str]
    actors: list[ActorStatus]
    version: str
    shards: list[ShardStatus] = []  # in use
    readers: list[ReaderStatus] = []
    config: dict[str, str] = {}  # file of the configuration -> digest of what was read at the start
    target: Target | None = None
    tcp_feed: TcpAddress | None = None
    instrument_list: ListStatus = msgspec.field(default_factory=ListStatus)
    held: list[HeldStatus] = []
    sessions: list[SessionStatus] = []  # primary, the newest file first
    elsewhere_utc_s: float | None = None  # somebody else ended the session: it was no flush
    orders_unread: str = ""  # why updates of orders that were missed are not published yet
    build: str = ""  # the loops that ticks pass: `compiled` or `pure Python`
