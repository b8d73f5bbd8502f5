"""The ticker: Kite's sockets under the supervisor's epochs; frames in, ingest batches out. Pure.

A link lives from `OpenLink` to one final report (LinkRefused or LinkClosed). No connection is tried
again here; what Kite did not confirm is asked again on the open one. Several links may be open at
once while the supervisor moves from one to the next; which of them may feed is decided by the
broadcaster's fence, not here.

    (none) --OpenLink--> connecting --Upgraded--> open --CloseLink--> closing --Ended--> (none)
                             +----------Ended-------+-------------------Ended----------> (none)
"""

import re
from collections import Counter
from enum import Enum
from typing import NamedTuple

import msgspec

from kitefeed.actors.policy.machine import Wake, Welcomed, earliest
from kitefeed.actors.ticker.canaries import Pace
from kitefeed.actors.ticker.echoes import Echoes
from kitefeed.actors.ticker.link_state import LinkState
from kitefeed.actors.ticker.liveness import Doubt, Silent
from kitefeed.actors.ticker.subscriptions import GUARD, Ask
from kitefeed.protocol.feed import IngestBatch
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.membership import Held, LinkReport

REASON_CHARS_MAX = 200
LINKS_MAX = 3  # sockets of one API key; Kite refuses a fourth, and may flag who tries
# The official client tells a refused upgrade only so, in the reason of a 1006.
_REFUSED = re.compile(r"upgrade failed \((\d{3})")


class LinkId(NamedTuple):
    shard: int
    epoch: int


class Upgraded(msgspec.Struct, frozen=True):
    """The handshake succeeded."""

    link: LinkId


class Ended(msgspec.Struct, frozen=True):
    """The attempt or connection is over; exactly one for each `Connect`. `reason` is redacted."""

    link: LinkId
    code: int | None
    reason: str


class Frame(msgspec.Struct, frozen=True):
    """One message of Kite. utc_s: wall clock, to tell how old exchange times are."""

    link: LinkId
    payload: bytes
    is_binary: bool
    utc_s: float


class CallbackFailed(msgspec.Struct, frozen=True):
    """Something raised inside a callback of the official client; its link is being dropped."""

    link: LinkId


class Connect(msgspec.Struct, frozen=True):
    """One attempt with the session of this fingerprint; ends with `Ended`."""

    link: LinkId
    fingerprint: str


class Disconnect(msgspec.Struct, frozen=True):
    """Close, whatever state it is in; `Ended` follows within two seconds."""

    link: LinkId


class Send(msgspec.Struct, frozen=True):
    """Ask this of Kite on an open link."""

    link: LinkId
    ask: Ask


Event = m.BusMessage | Upgraded | Ended | Frame | CallbackFailed | Welcomed | Wake
Command = Connect | Disconnect | Send | IngestBatch | Message


class State(Enum):
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"


class Ticker:
    """The ticker's machine. It has all links by shard and epoch; those not open hold no state but
    their own."""

    def __init__(self) -> None:
        self._states: dict[LinkId, State] = {}
        self._fingerprints: dict[LinkId, str] = {}
        self._open: dict[LinkId, LinkState] = {}
        self._epochs: dict[int, int] = {}  # the highest order of each shard
        self._paces: dict[int, Pace] = {}  # token -> how it has ticked on all links
        self._former: dict[int, dict[int, int]] = {}  # shard -> last prices of the link that ended
        self.counters: Counter[str] = Counter(
            frames=0, packets=0, bad_frames=0, unknown_tokens=0, callback_errors=0, asked_again=0
        )
        self.last_tick_ns: int | None = None
        self.fresh_tick_ns: int | None = None
        self.fresh_shards_ns: dict[int, int] = {}
        self._echoes = Echoes()

    @property
    def deadline_ns(self) -> int | None:
        return earliest(*[link.deadline_ns for link in self._open.values()])

    @property
    def highest_epoch(self) -> int:
        return max(self._epochs.values(), default=0)

    @property
    def links(self) -> tuple[LinkReport, ...]:
        """The open links, for a supervisor that has to adopt them."""
        return tuple(
            LinkReport(
                shard=key.shard,
                epoch=key.epoch,
                fingerprint=self._fingerprints[key],
                is_streaming=link.is_fresh,
                source="websocket",
                tokens=tuple(t for t, topic in link.asked.topics.items() if topic != GUARD),
                fresh_boot_ns=self.fresh_shards_ns.get(key.shard, 0),
            )
            for key, link in self._open.items()
        )

    def held(self, now_ns: int) -> tuple[Held, ...]:
        """Return the values held stale on links that stream, for a supervisor that tells of it."""
        return tuple(
            Held(*key, hold.scope, hold.tokens, hold.segment)
            for key, link in self._open.items()
            for hold in link.liveness.holds(now_ns)
        )

    def handle(self, event: Event, now_ns: int) -> list[Command]:
        match event:
            case Frame():
                return self._frame(event, now_ns)
            case Wake():
                return self._wake(now_ns)
            case m.OpenLink():
                return self._order(event, now_ns)
            case m.Subscribe():
                return self._subscribe(event, now_ns)
            case m.CloseLink():
                return self._close(LinkId(event.shard, event.epoch))
            case m.DoubtSettled():
                link = self._open.get(LinkId(event.shard, event.epoch))
                return [*link.settled(event, now_ns)] if link else []
            case Upgraded():
                return self._upgraded(event.link, now_ns)
            case Ended():
                return self._ended(event)
            case CallbackFailed():
                self.counters["callback_errors"] += 1
                return []
            case Welcomed():
                return [report for link in self._open.values() for report in link.news()]
            case _:
                return []

    def _order(self, order: m.OpenLink, now_ns: int) -> list[Command]:
        if now_ns > order.not_after_boot_ns or order.epoch <= self._epochs.get(order.shard, 0):
            return []
        key = LinkId(order.shard, order.epoch)
        if len(self._states) >= LINKS_MAX:
            return [m.LinkClosed(*key, None, f"{LINKS_MAX} sockets are open or closing already")]
        self._epochs[order.shard] = order.epoch
        self._states[key] = State.CONNECTING
        self._fingerprints[key] = order.fingerprint
        return [Connect(key, order.fingerprint)]

    def _upgraded(self, key: LinkId, now_ns: int) -> list[Command]:
        if self._states.get(key) is not State.CONNECTING:
            return [Disconnect(key)]  # closed while it was in flight: the client resurrects such
        self._states[key] = State.OPEN
        former = self._former.setdefault(key.shard, {})
        self._open[key] = LinkState(key.shard, key.epoch, now_ns, self._paces, former)
        return [m.LinkOpened(key.shard, key.epoch)]

    def _subscribe(self, order: m.Subscribe, now_ns: int) -> list[Command]:
        key = LinkId(order.shard, order.epoch)
        link = self._open.get(key)
        if link is None:
            return self._unknown(key)
        asks, ended = link.subscribe(order.instruments, now_ns, is_refresh=order.is_refresh)
        return [*(Send(key, ask) for ask in asks), *ended]

    def _close(self, key: LinkId) -> list[Command]:
        if key not in self._states:
            return self._unknown(key)
        self._states[key] = State.CLOSING
        self._leave(key)
        return [Disconnect(key)]

    def _leave(self, key: LinkId) -> None:
        """Drop a link that is open no more, and leave its last prices to the next one of its shard.
        They change in place, because the next may be open already."""
        link = self._open.pop(key, None)
        prices = link.liveness.prices() if link else {}
        if prices:
            former = self._former[key.shard]
            former.clear()
            former.update(prices)

    def _unknown(self, key: LinkId) -> list[Command]:
        """Answer an order about a link that has ended: its report may have been lost, so say it
        again."""
        if key in self._states:
            return []
        return [m.LinkClosed(key.shard, key.epoch, None, "there is no such link")]

    def _ended(self, event: Ended) -> list[Command]:
        key = event.link
        state = self._states.pop(key, None)
        self._leave(key)
        self._fingerprints.pop(key, None)
        if state is None:
            return []
        refused = _REFUSED.search(event.reason)
        if refused:
            return [m.LinkRefused(key.shard, key.epoch, int(refused.group(1)))]
        return [m.LinkClosed(key.shard, key.epoch, event.code, event.reason[:REASON_CHARS_MAX])]

    def _frame(self, frame: Frame, now_ns: int) -> list[Command]:
        link = self._open.get(frame.link)
        if link is None:
            return []
        if not frame.is_binary and self._is_for_others(frame, now_ns):
            link.liveness.frame(now_ns)
            return []
        received = link.receive(frame.payload, frame.is_binary, now_ns, frame.utc_s)
        counters = self.counters
        counters["frames"] += 1
        counters["packets"] += received.packets
        if received.bad_frames or received.unknown_tokens:
            counters["bad_frames"] += received.bad_frames
            counters["unknown_tokens"] += received.unknown_tokens
        if received.has_tick:
            self.last_tick_ns = now_ns
        if received.has_fresh_tick:
            self.fresh_tick_ns = self.fresh_shards_ns[link.shard] = now_ns
        if received.asks:
            return [
                *received.batches,
                *received.reports,
                *self._ask_again(frame.link, received.asks),
            ]
        return [*received.batches, *received.reports]

    def _is_for_others(self, frame: Frame, now_ns: int) -> bool:
        """Whether to leave a message to other links. A link that is not subscribed has no grant
        yet: its messages would be fenced, and must not count as the first copy."""
        is_silent = not self._open[frame.link].is_subscribed
        has_others = any(link.is_subscribed for link in self._open.values())
        if is_silent and has_others:
            return True
        return self._echoes.is_echo(frame.payload, frame.link.epoch, now_ns)

    def _wake(self, now_ns: int) -> list[Command]:
        commands: list[Command] = []
        for key, link in self._open.items():
            commands += link.beats(now_ns)
            commands += link.confirmations(now_ns)
            commands += self._ask_again(key, link.asked.again(now_ns))
            commands += [_doubt(key, said) for said in link.liveness.wake(now_ns)]
        return commands

    def _ask_again(self, key: LinkId, asks: list[Ask]) -> list[Send]:
        self.counters["asked_again"] += len(asks)
        return [Send(key, ask) for ask in asks]


def _doubt(key: LinkId, said: Silent | Doubt) -> Message:
    if isinstance(said, Silent):
        return m.LinkSilent(key.shard, key.epoch)
    return m.LinkDoubt(
        key.shard, key.epoch, said.kind, said.token, said.last_price, said.volume_traded,
        is_unchanged=said.is_unchanged, is_alone=said.is_alone,
    )  # fmt: skip
