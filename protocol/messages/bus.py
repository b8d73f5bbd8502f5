"""The messages between the supervisor and the other actors on the wire `bus`."""

from typing import Literal

import msgspec

from kitefeed.protocol.feed import FeedState
from kitefeed.protocol.messages.envelope import Message, open_envelope
from kitefeed.protocol.messages.instruments import FetchOutcome, Instrument, Keys, Mode
from kitefeed.protocol.messages.membership import (
    Beat,
    BeatAck,
    Challenge,
    Hello,
    Leave,
    Welcome,
)
from kitefeed.protocol.topology import Role

Slot = Literal["primary", "standby"]
Verdict = Literal["valid", "refused", "unverified"]
# What a REST call came to: ok, or whose remedy it needs.
RestOutcome = Literal["ok", "token", "permission", "rate", "network", "input"]
ProbeOutcome = Literal["moved", "same", "token", "permission", "rate", "network", "input"]

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
    """The first fresh tick of this link: it is not the first packet of its token, or the exchange
    stamped it within 5 s of now."""

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
    """supervisor -> ticker: the answer of a quote of `token` about this link: the same price,
    another price for which no new socket is worth opening, or no quote at Kite."""

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
    """The answer to `Probe`. last_price: of the quote, scaled; 0 when none was had."""

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
    """The answer to `FetchQuotes`. quotes: a JSON object, Kite's own item by token, of those that
    Kite knows; as bytes, because the supervisor passes it on unread. "rate": there was no request
    to spare."""

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
    """A try to read the order book failed. After "network" and "rate" it is repeated; the other
    outcomes end the reading."""

    reading: int
    outcome: RestOutcome
    detail: str = ""


class FetchInstruments(Message, frozen=True):
    """supervisor -> rest_poller: Kite answers, so try now the fetch of the instrument dump that
    waits after a failure. is_ordered: the operator says so, and it is fetched in any case.
    is_believed: the new list is taken, whatever it lost."""

    is_ordered: bool = False
    is_believed: bool = False


class InstrumentsOffered(Message, frozen=True):
    """A new list lies beside the one in use: which of the instruments in use does it lack? Said
    again until `InstrumentsLacking` answers."""

    digest: str
    day_ist: str


class InstrumentsLacking(Message, frozen=True):
    """supervisor -> rest_poller: the list with this digest lacks `count` of the instruments in use,
    or has them with another token. `keys`: the first of them."""

    digest: str
    count: int
    keys: Keys = ()


class InstrumentsFetched(Message, frozen=True):
    """The end of a fetch of the dump; the last one is told again after every Welcome.

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
    the fence: the values stay and read stale."""

    shard: int
    epoch: int
    source: Literal["websocket", "rest", "none"]


class Granted(Message, frozen=True):
    shard: int
    epoch: int
    source: Literal["websocket", "rest", "none"]


class OrdersHealed(Message, frozen=True):
    """The order book has come, with `orders` orders; `missed` of them had an update that was never
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
    modes: dict[str, Mode] = msgspec.field(default_factory=dict)
    also_plain: Keys = ()


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

_decoder: msgspec.msgpack.Decoder[BusMessage] = msgspec.msgpack.Decoder(BusMessage)


def open_bus(frame: bytes) -> BusMessage:
    """Return the body of a bus frame. Raises one of `feed.DECODE_ERRORS`."""
    return _decoder.decode(open_envelope(frame).body)
