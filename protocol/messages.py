"""What crosses the control path: msgpack maps, tagged by `t`, tolerant of fields they do not know.

Evolution: add optional fields only; a changed meaning needs a new tag. Secrets never travel: a
session is named by its fingerprint. Commands that name a state are idempotent and are sent again
until the reports agree; those with an epoch are refused when a newer one has been seen.
"""

import os
from typing import Annotated, Literal

import msgspec

from kitefeed.protocol.feed import FeedState
from kitefeed.protocol.topics import SUBSCRIPTION_BYTES_MAX
from kitefeed.protocol.topology import Role

VERSION = 1
QUOTES_MAX = 500  # instruments in one request of Kite's
LIST_MAX = 9_000  # three sockets of 3,000 instruments: the most that any list can mean

ID_CHARS_MAX = 64
NAME_CHARS_MAX = 64
PROBLEM_CHARS_MAX = 200
Keys = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=SUBSCRIPTION_BYTES_MAX)], ...],
    msgspec.Meta(max_length=LIST_MAX),
]
Slot = Literal["primary", "standby"]
Mode = Literal["ltp", "quote", "full"]
Verdict = Literal["valid", "refused", "unverified"]
# What a REST call came to: ok, or whose remedy it needs.
RestOutcome = Literal["ok", "token", "permission", "rate", "network", "input"]
FetchOutcome = Literal["taken", "doubted", "failed"]
ProbeOutcome = Literal["moved", "same", "token", "permission", "rate", "network", "input"]


class Message(msgspec.Struct, frozen=True, tag_field="t", tag=True):
    """Base of all control messages; the tag is the class name."""


class Instrument(msgspec.Struct, frozen=True, array_like=True):
    """One instrument as the sources need it: Kite's token, our key (`NSE:INFY`), its mode."""

    token: int
    key: str
    mode: Mode
    is_canary: bool = False  # always active, and trading now: its silence is a doubt
    is_closed: bool = False  # its market is closed now: its quote proves nothing of a stream
    has_listeners: bool = False  # a program reads it now, or did within the grace
    is_guard: bool = False  # another socket carries it: here only its silence counts


# --- any actor -> supervisor ------------------------------------------------------------------


class Hello(Message, frozen=True):
    """First message of an actor's life, and the answer to `Challenge`.

    What it holds lets a restarted supervisor adopt running links: for the ticker `links`, for the
    broadcaster `grants`, for the poller `links` (source "rest").
    """

    role: Role
    boot_id: str
    pid: int
    start_ticks: int  # field 22 of /proc/<pid>/stat; 0 where there is none
    version: str
    highest_epoch: int = 0
    links: tuple["LinkReport", ...] = ()
    grants: tuple["GrantReport", ...] = ()
    misconfigured: str | None = None


class LinkReport(msgspec.Struct, frozen=True):
    """One running source: `is_streaming` once it delivered a fresh tick (or a good poll).
    `fresh_boot_ns`: when its shard last had a fresh tick, by the boot clock; 0 for never."""

    shard: int
    epoch: int
    fingerprint: str
    is_streaming: bool
    source: Literal["websocket", "rest"]
    tokens: tuple[int, ...] = ()  # what a websocket streams: a new supervisor leaves it there
    fresh_boot_ns: int = 0


class GrantReport(msgspec.Struct, frozen=True):
    shard: int
    epoch: int
    source: Literal["websocket", "rest", "none"]


class Beat(Message, frozen=True):
    """Once a second from the actor's main loop, so that a hung loop is silent."""

    lag_ns: int = 0  # how late the loop ran its timer
    values: int = 0  # broadcaster: instruments with a last value
    subscribers: int = 0  # broadcaster
    last_tick_age_ns: int = -1  # ticker: since any tick
    fresh_tick_age_ns: int = -1  # ticker: since a fresh tick, see LinkFresh
    counters: dict[str, int] = {}
    fresh_ages_ns: dict[int, int] = {}  # ticker: shard -> since a fresh tick of it
    losses: dict[int, int] | None = None  # broadcaster: shard -> batches that never reached it
    held: tuple["Held", ...] | None = None  # ticker: what it holds stale although it streams
    # broadcaster: those whose source it calls alive; of others every value reads stale
    alive_shards: list[int] | None = None


HeldScope = Literal["stream", "segment", "itself"]


class Held(msgspec.Struct, frozen=True, array_like=True):
    """Values of a link that read stale while it streams. scope "stream": all of them, as these
    always-active instruments and everything else are silent; "segment": those of `segment` (low
    byte of a token), as these canaries of it are silent and others tick; "itself": those of
    `tokens`, as quotes say another price."""

    shard: int
    epoch: int
    scope: HeldScope
    tokens: tuple[int, ...]
    segment: int = 0


# --- auth_watcher -----------------------------------------------------------------------------


class SessionSeen(Message, frozen=True):
    """The session file's content changed (or was read for the first time).

    fingerprint None and problem None: there is no session. With `problem` the file cannot be used
    (unsafe mode, damaged): one sentence that names the remedy. `others`: sessions of further files,
    the newest first; they are used when Kite refuses those before them.
    """

    slot: Slot
    fingerprint: str | None
    problem: str | None = None
    others: tuple[str, ...] = ()


# --- token_validator --------------------------------------------------------------------------


class Validate(Message, frozen=True):
    """supervisor -> token_validator: ask Kite whether this session is alive."""

    request_id: int
    fingerprint: str
    slot: Slot = "primary"


class Validated(Message, frozen=True):
    request_id: int
    fingerprint: str
    slot: Slot
    verdict: Verdict
    user_id: str | None = None
    user_name: str | None = None
    detail: str = ""


# --- ticker -----------------------------------------------------------------------------------


class OpenLink(Message, frozen=True):
    """supervisor -> ticker: one attempt to connect, under a new epoch. Several may run at once
    (make before break); nothing is subscribed before `Subscribe`."""

    shard: int
    epoch: int
    fingerprint: str
    not_after_boot_ns: int


class Subscribe(Message, frozen=True):
    """supervisor -> ticker: stream exactly these on this link; the ticker sends the difference.
    `is_refresh` asks for everything anew, because the broadcaster lost what came before."""

    shard: int
    epoch: int
    instruments: tuple[Instrument, ...]
    is_refresh: bool = False


class CloseLink(Message, frozen=True):
    shard: int
    epoch: int


class LinkOpened(Message, frozen=True):
    """The upgrade succeeded; nothing is subscribed yet."""

    shard: int
    epoch: int


class LinkFresh(Message, frozen=True):
    """First fresh tick of this link: not the first packet of its token, or stamped by the exchange
    within 5 s of now."""

    shard: int
    epoch: int


class LinkDoubt(Message, frozen=True):
    """Frames arrive, but nothing proves that they are new.

    kind "unproven": 3 s after `Subscribe` no fresh tick; "canary": no tick for 10 s although
    something is always active; "quiet": nothing is, and nothing ticks: after 10 s, then every 30 s.
    token, last_price (scaled), volume_traded: what the ticker last saw of it; of a quiet
    list the price alone. is_unchanged: the link before gave the same price. is_alone: others tick;
    the quote only tells whether this one is frozen, or slow.
    """

    shard: int
    epoch: int
    kind: Literal["unproven", "canary", "quiet"]
    token: int
    last_price: int
    volume_traded: int | None = None
    is_unchanged: bool = False
    is_alone: bool = False


class DoubtSettled(Message, frozen=True):
    """supervisor -> ticker: what a quote of `token` said of this link: the same price, or another
    one for which no new socket is worth opening; or that Kite has no quote of it."""

    shard: int
    epoch: int
    token: int
    outcome: Literal["same", "moved", "lacking"]


class LinkSilent(Message, frozen=True):
    """No frame at all, heartbeats included, for 10 s: the transport is dead."""

    shard: int
    epoch: int


class LinkRefused(Message, frozen=True):
    """The upgrade was answered with an HTTP status other than 101."""

    shard: int
    epoch: int
    status: int


class LinkClosed(Message, frozen=True):
    """The link ended: by the peer, by the network, by a failed connect, or because we closed it."""

    shard: int
    epoch: int
    code: int | None
    reason: str


class Confirmed(Message, frozen=True):
    """First packet (or polled value) of these instruments since they were asked for. `modes`: in
    which each came (1 ltp, 2 quote, 3 full), told again when a higher one comes; without it, in
    the one that was asked for."""

    shard: int
    epoch: int
    tokens: tuple[int, ...]
    modes: tuple[int, ...] = ()


# --- rest_poller ------------------------------------------------------------------------------


class StartPolling(Message, frozen=True):
    """supervisor -> rest_poller: poll `instruments` every `period_ns` with this session, until told
    otherwise. Sent again with the same epoch when the instruments change."""

    shard: int
    epoch: int
    fingerprint: str
    period_ns: int
    instruments: tuple[Instrument, ...]


class StopPolling(Message, frozen=True):
    shard: int


class Polled(Message, frozen=True):
    """A request for instruments of this shard was answered, or failed; a refusal of the session
    concerns all. `sweep_ns`: within what time every instrument is polled, at the rate Kite allows.
    """

    shard: int
    epoch: int
    outcome: RestOutcome
    detail: str = ""
    sweep_ns: int = 0


class Probe(Message, frozen=True):
    """supervisor -> rest_poller: one quote of `token`; compare it with what the stream last gave.
    last_price None only asks whether quotes are allowed at all."""

    request_id: int
    fingerprint: str
    token: int
    last_price: int | None = None
    volume_traded: int | None = None


class Probed(Message, frozen=True):
    """last_price: of the quote, scaled; 0 when none was had."""

    request_id: int
    outcome: ProbeOutcome
    detail: str = ""
    last_price: int = 0


class FetchQuotes(Message, frozen=True):
    """supervisor -> rest_poller: full quotes of these, for a program, if polling leaves a request
    to spare within a moment. Answered once, by `Quoted`."""

    request_id: int
    fingerprint: str
    tokens: tuple[int, ...]


class Quoted(Message, frozen=True):
    """quotes: a JSON object, Kite's own item by token, of those that Kite knows; as bytes, because
    who passes it on has no need to read it. "rate": there was no request to spare."""

    request_id: int
    outcome: RestOutcome
    detail: str = ""
    quotes: bytes = b"{}"


class ReadOrders(Message, frozen=True):
    """supervisor -> rest_poller: updates of orders may have been missed, so read Kite's order book
    and give it to the broadcaster. Tried until it is had; a later order replaces it. Said again
    until `OrdersHealed` answers. reading: rises, over restarts too."""

    reading: int
    fingerprint: str


class OrdersUnread(Message, frozen=True):
    """A try failed. Of "network" and "rate" it is repeated; the other outcomes end the reading."""

    reading: int
    outcome: RestOutcome
    detail: str = ""


class FetchInstruments(Message, frozen=True):
    """supervisor -> rest_poller: Kite answers, so a fetch of the instrument dump that waits after a
    failure is tried now. is_ordered: the operator says so, and it is fetched in any case.
    is_believed: what comes is taken, whatever it lost."""

    is_ordered: bool = False
    is_believed: bool = False


class InstrumentsOffered(Message, frozen=True):
    """A new list lies beside the one in use: which of the instruments in use does it lack? Said
    again until `InstrumentsLacking` answers."""

    digest: str
    day_ist: str


class InstrumentsLacking(Message, frozen=True):
    """supervisor -> rest_poller: so many of the instruments in use (`keys`: the first of them) the
    list with this digest lacks, or has with another token."""

    digest: str
    count: int
    keys: Keys = ()


class InstrumentsFetched(Message, frozen=True):
    """How a fetch of the dump ended; the last one again after every Welcome.

    fetches: how many have ended in this poller's life. detail: why the list is doubted (the old one
    is kept) or could not be had. rows, left_out: of the new list, and of the dump's rows that name
    nothing.
    """

    fetches: int
    outcome: FetchOutcome
    detail: str = ""
    rows: int = 0
    left_out: int = 0


class InstrumentsReady(Message, frozen=True):
    """The instrument dump on disk is new: names can be resolved."""

    rows: int
    day_ist: str


# --- broadcaster ------------------------------------------------------------------------------


class Grant(Message, frozen=True):
    """supervisor -> broadcaster: only this source may feed this shard from now on. "none" closes
    the fence: what is there is kept and reads stale."""

    shard: int
    epoch: int
    source: Literal["websocket", "rest", "none"]


class Granted(Message, frozen=True):
    shard: int
    epoch: int
    source: Literal["websocket", "rest", "none"]


class OrdersHealed(Message, frozen=True):
    """The order book has come, with so many orders; `missed` of them had an update that was never
    published, and is now."""

    reading: int
    orders: int
    missed: int


class Announce(Message, frozen=True):
    """supervisor -> broadcaster: the picture to publish on `state/feed` and in heartbeats."""

    state: FeedState


class ListenersWant(Message, frozen=True):
    """All instruments (`NSE:INFY`) that at least one program subscribes to by exact topic; sent
    whole when it changes, and after every Hello.

    modes: the highest mode that programs ask for, where one does. The others want the configured
    one; `also_plain` names keys of `modes` that have such a reader, too.
    """

    keys: Keys
    modes: dict[str, Mode] = {}
    also_plain: Keys = ()


# --- supervisor -> any actor ------------------------------------------------------------------


class Welcome(Message, frozen=True):
    """Answer to Hello. A later one from the same supervisor (same boot_id) is a repetition."""

    boot_id: str


class Challenge(Message, frozen=True):
    """The supervisor does not know this peer: say Hello again."""


class BeatAck(Message, frozen=True):
    """Answer to Beat, so that an actor knows whether anybody decides."""


class Leave(Message, frozen=True):
    """Exit: another process holds this role."""

    reason: str


BusMessage = (
    Hello | Beat | SessionSeen | Validate | Validated | OpenLink | Subscribe | CloseLink
    | LinkOpened | LinkFresh | LinkDoubt | LinkSilent | LinkRefused | LinkClosed | Confirmed
    | StartPolling | StopPolling | Polled | Probe | Probed | FetchInstruments | InstrumentsOffered
    | InstrumentsLacking | InstrumentsFetched | InstrumentsReady
    | Grant | Granted | Announce | ListenersWant | Welcome | Challenge | BeatAck | Leave
    | DoubtSettled | ReadOrders | OrdersUnread | OrdersHealed | FetchQuotes | Quoted
)  # fmt: skip

# Who may say what to the supervisor; anything else is counted and dropped.
_COMMON: tuple[type[Message], ...] = (Hello, Beat)
SPEAKS: dict[Role, tuple[type[Message], ...]] = {
    Role.AUTH_WATCHER: (*_COMMON, SessionSeen),
    Role.TOKEN_VALIDATOR: (*_COMMON, Validated),
    Role.TICKER: (
        *_COMMON, LinkOpened, LinkFresh, LinkDoubt, LinkSilent, LinkRefused, LinkClosed, Confirmed,
    ),
    Role.REST_POLLER: (
        *_COMMON, Polled, Probed, Confirmed, InstrumentsOffered, InstrumentsFetched,
        InstrumentsReady, OrdersUnread, Quoted,
    ),
    Role.BROADCASTER: (*_COMMON, Granted, ListenersWant, OrdersHealed),
}  # fmt: skip


# --- control socket: commands and Feed clients <-> supervisor ----------------------------------


class GetStatus(Message, frozen=True):
    """-> Status"""


class WantInstruments(Message, frozen=True):
    """-> Answers, when every instrument is confirmed, refused, or `wait_s` is over.

    `is_kept`: the operator's `subscribe`, remembered over restarts. Without it, a program asks
    whether these can be had; its feed subscription is what keeps them wanted. mode None: as
    configured. The answer's detail says so when others want a higher one.
    """

    instruments: Keys
    mode: Mode | None = None
    is_kept: bool = True
    wait_s: float = 5.0


class DropInstruments(Message, frozen=True):
    """-> Answers"""

    instruments: Keys


class NameTokens(Message, frozen=True):
    """-> Named | Refused: what today's instrument list calls these. Kite's programs know
    instruments by their tokens; the feed knows them by name, because tokens are used again."""

    tokens: Annotated[tuple[int, ...], msgspec.Meta(max_length=LIST_MAX)]


class AskQuotes(Message, frozen=True):
    """-> Quotes | Refused: Kite's full quotes of these now, by a request that polling leaves over.
    Refused as "busy" when it leaves none: the answer to a program is Kite's own, 429."""

    tokens: Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=QUOTES_MAX)]


class SetSource(Message, frozen=True):
    """-> Done | Refused. "paused" is `kitefeed pause`."""

    source: Literal["auto", "websocket", "rest", "paused"]


class Retry(Message, frozen=True):
    """-> Done | Refused. Forget the waits and try now."""


class FetchList(Message, frozen=True):
    """-> Done | Refused: the day's instrument list is being fetched anew. What came of it stands in
    the status, where `fetches` has risen then. is_believed: it is taken, whatever it lost."""

    is_believed: bool = False


class ReaderReport(Message, frozen=True):
    """Of a program about its own feed, now and then; not answered.

    reader: names one Feed of one process. instruments: 0 for all or patterns. ticks_per_s: since
    the last report. lag_ms: the most by which it was behind since then. problem: what keeps it from
    its work, empty when nothing does. The rest: see `View`.
    """

    reader: Annotated[str, msgspec.Meta(max_length=ID_CHARS_MAX)]
    name: Annotated[str, msgspec.Meta(max_length=NAME_CHARS_MAX)]
    instruments: int = 0
    ticks_per_s: float = 0.0
    lag_ms: float = 0.0
    waiting: int = 0
    gaps: int = 0
    late: int = 0
    skipped: int = 0
    overrun: int = 0
    reconnects: int = 0
    problem: Annotated[str, msgspec.Meta(max_length=PROBLEM_CHARS_MAX)] = ""


class Answer(msgspec.Struct, frozen=True):
    """What became of one instrument: confirmed (a packet came), accepted (will stream; `detail`
    says what it waits for), refused (`detail` says why and what to do), dropped."""

    instrument: str
    outcome: Literal["confirmed", "accepted", "refused", "dropped"]
    detail: str = ""


class Answers(Message, frozen=True):
    answers: tuple[Answer, ...]


class Quotes(Message, frozen=True):
    """See `Quoted`."""

    quotes: bytes


class Named(Message, frozen=True):
    """Name by token, of those that exist."""

    names: dict[int, str]


class Done(Message, frozen=True):
    text: str


class Refused(Message, frozen=True):
    """code: bad_request, unknown_type, version, conflict, not_ready, forbidden, busy."""

    code: str
    text: str


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
    """What was asked for in `mode`, `since_s` seconds ago, and did not come. comes_in: the lower
    mode in which it does, None when nothing came at all."""

    instrument: str
    mode: str
    comes_in: str | None
    since_s: float


class Subscriptions(msgspec.Struct):
    """Counts of the three sets: what is wanted, what was asked of Kite, and what Kite confirmed: it
    came in the mode that was asked for, or in a higher one. `unconfirmed`: what was asked for 5 s
    ago or more and is not, at most 100, the longest first."""

    wanted: int = 0
    asked: int = 0
    confirmed: int = 0
    refused: dict[str, str] = {}  # instrument -> why
    unconfirmed: list[Unconfirmed] = []


class Outage(msgspec.Struct):
    """Times are UTC epoch seconds; None while it has not happened."""

    condition: str
    detected_utc_s: float
    login_utc_s: float | None = None
    restored_utc_s: float | None = None


class SessionStatus(msgspec.Struct):
    """A session of the session files. word: unknown, valid, refused, unverified; of one that is not
    in use what was last heard of it. detail: what Kite said."""

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
    """Which Kite a daemon talks to; `kind` follows from both hosts."""

    kind: Literal["kite", "sandbox", "simulator", "other"]
    rest_url: str
    ws_url: str


class TcpFeed(msgspec.Struct, frozen=True):
    """Where other hosts read the feed (`feed.tcp`), and the public key it proves (Z85)."""

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
    """Values that read stale while their socket streams, see `Held`. silent: the instruments
    because of which; held: "all of this socket", a segment, or "these"."""

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
    subscriptions: Subscriptions
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
    tcp_feed: TcpFeed | None = None
    instrument_list: ListStatus = msgspec.field(default_factory=ListStatus)
    held: list[HeldStatus] = []
    sessions: list[SessionStatus] = []  # primary, the newest file first
    elsewhere_utc_s: float | None = None  # somebody else ended the session: it was no flush
    orders_unread: str = ""  # why updates of orders that were missed are not published yet
    build: str = ""  # what carries ticks: `compiled` or `pure Python`


class Status(Message, frozen=True):
    report: StatusReport


ControlRequest = (
    GetStatus
    | WantInstruments
    | DropInstruments
    | SetSource
    | Retry
    | ReaderReport
    | FetchList
    | NameTokens
    | AskQuotes
)
ControlReply = Status | Answers | Done | Refused | Named | Quotes


# --- envelope -----------------------------------------------------------------------------------


class Envelope(msgspec.Struct, frozen=True):
    """One control frame. The body stays raw until version and sender are known to be good."""

    v: int
    id: Annotated[str, msgspec.Meta(max_length=ID_CHARS_MAX)]
    body: msgspec.Raw
    re: str | None = None  # id of the request this answers


_encoder = msgspec.msgpack.Encoder()
_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode
_bus_decoder: msgspec.msgpack.Decoder[BusMessage] = msgspec.msgpack.Decoder(BusMessage)
_request_decoder: msgspec.msgpack.Decoder[ControlRequest] = msgspec.msgpack.Decoder(ControlRequest)
_reply_decoder: msgspec.msgpack.Decoder[ControlReply] = msgspec.msgpack.Decoder(ControlReply)


def new_id() -> str:
    return os.urandom(8).hex()


def seal(body: Message, *, id: str | None = None, re: str | None = None) -> bytes:
    """One control frame holding `body`."""
    raw = msgspec.Raw(_encoder.encode(body))
    return _encoder.encode(Envelope(v=VERSION, id=id or new_id(), body=raw, re=re))


def open_envelope(frame: bytes) -> Envelope:
    """Raises one of `feed.DECODE_ERRORS`, also for a higher major version."""
    envelope = _decode_envelope(frame)
    if envelope.v != VERSION:
        raise msgspec.ValidationError(f"version {envelope.v}; this side speaks {VERSION}")
    return envelope


def open_bus(frame: bytes) -> BusMessage:
    """The body of a bus frame. Raises one of `feed.DECODE_ERRORS`."""
    return _bus_decoder.decode(open_envelope(frame).body)


def open_request(frame: bytes) -> tuple[str, ControlRequest]:
    """Id and body of a control request. Raises one of `feed.DECODE_ERRORS`."""
    envelope = open_envelope(frame)
    return envelope.id, _request_decoder.decode(envelope.body)


def open_reply(frame: bytes) -> tuple[str | None, ControlReply]:
    """Id of the request it answers, and the reply. Raises one of `feed.DECODE_ERRORS`."""
    envelope = open_envelope(frame)
    return envelope.re, _reply_decoder.decode(envelope.body)
