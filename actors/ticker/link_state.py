"""One open link: its batches, confirmations and clocks. Pure."""

from collections.abc import Iterable, Mapping
from itertools import compress

import msgspec

from kitefeed.actors.policy.machine import earliest
from kitefeed.actors.ticker.canaries import Pace
from kitefeed.actors.ticker.liveness import ARRIVING_NS, Liveness
from kitefeed.actors.ticker.subscriptions import GUARD, Ask, Asked
from kitefeed.protocol.feed import (
    TICKS_PER_CHUNK_MAX,
    VERSION,
    Flag,
    IngestBatch,
    Item,
    Notice,
    OrderUpdate,
    Source,
    encode,
)
from kitefeed.protocol.kite import text
from kitefeed.protocol.kite.repack import repack_frame
from kitefeed.protocol.kite.ticks import BadFrame, TickBody
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.topics import NOTICE, order_topic

BEAT_NS = 300_000_000
LATE_NS = 500_000_000  # a beat is so late only when this process stood still, or its host
COALESCE_NS = 100_000_000  # a burst after a subscribe comes in a dozen frames: one report
FRESH_WITHIN_S = 5
_NOTHING = msgspec.Raw(encode(None))
_FIRST_PACKET = Flag.FIRST_PACKET.value
_decode = msgspec.msgpack.Decoder(TickBody).decode


class Received(msgspec.Struct):
    """The outcome of one frame."""

    packets: int = 0
    bad_frames: int = 0
    unknown_tokens: int = 0
    batches: list[IngestBatch] = []
    reports: list[Message] = []
    asks: list[Ask] = []
    has_tick: bool = False
    has_fresh_tick: bool = False


class LinkState:
    """One link, from the upgrade to the end. Every batch carries this epoch; `batch_seq` counts
    from 1. `paces`: how instruments tick, known to all links; `former`: see `Liveness`."""

    def __init__(
        self,
        shard: int,
        epoch: int,
        now_ns: int,
        paces: dict[int, Pace],
        former: Mapping[int, int],
    ) -> None:
        self.shard = shard
        self.epoch = epoch
        self.asked = Asked()
        self.is_subscribed = False  # told what to stream: it has its grant
        self.liveness = Liveness(now_ns, paces, former)
        self._batch_seq = 0
        self._beat_due_ns = now_ns + BEAT_NS
        self._stood_ns = 0  # what is read before `_behind_until_ns` may have come as early as this
        self._behind_until_ns = 0
        self._to_confirm: dict[int, int] = {}  # token -> mode
        self._confirm_due_ns: int | None = None

    @property
    def is_fresh(self) -> bool:
        return self.liveness.is_fresh

    @property
    def deadline_ns(self) -> int | None:
        return earliest(
            self._beat_due_ns,
            self.liveness.deadline_ns,
            self._confirm_due_ns,
            self.asked.again_due_ns,
        )

    def subscribe(
        self, instruments: Iterable[Instrument], now_ns: int, *, is_refresh: bool
    ) -> tuple[list[Ask], list[IngestBatch]]:
        """Take over the desired set; return what to ask of Kite, and what to tell readers: the
        values of instruments that stream no more are stale from here on."""
        self.is_subscribed = True
        before = self.asked.topics
        asks = self.asked.change(instruments, now_ns, is_refresh=is_refresh)
        self.liveness.subscribed(self.asked.instruments.values(), now_ns)
        after = self.asked.topics
        ended = [topic for token, topic in before.items() if topic and not after.get(token)]
        return asks, self._ends(ended, now_ns)

    def settled(self, verdict: m.DoubtSettled, now_ns: int) -> list[IngestBatch]:
        """Apply a quote's verdict, see `Liveness`; return what to tell readers: a value that the
        quote contradicts is stale from here on."""
        is_contradicted = self.liveness.settled(verdict, now_ns)
        topic = self.asked.topics.get(verdict.token)
        return self._ends([topic], now_ns) if is_contradicted and topic else []

    def _ends(self, topics: list[bytes], now_ns: int) -> list[IngestBatch]:
        items = [Item(topic, Flag.STALE.value, _NOTHING) for topic in topics]
        return [self._batch(items, now_ns)] if items else []

    def receive(self, payload: bytes, is_binary: bool, now_ns: int, utc_s: float) -> Received:
        """Apply one message of Kite, whatever its bytes are."""
        received = Received()
        self._look(now_ns)
        last_ns = self.liveness.last_frame_ns
        if now_ns - last_ns > ARRIVING_NS:
            self._behind(last_ns, now_ns)
        if not self.liveness.frame(now_ns):
            return received
        if is_binary:
            self._ticks(payload, now_ns, utc_s, received)
        elif items := _text_items(payload, received):
            received.batches.append(self._batch(items, now_ns))
        return received

    def beats(self, now_ns: int) -> list[IngestBatch]:
        """Return an empty batch when nothing was sent for a while: the source is alive."""
        self._look(now_ns)
        self.liveness.look(now_ns)
        return [self._batch([], now_ns)] if now_ns >= self._beat_due_ns else []

    def confirmations(self, now_ns: int) -> list[Message]:
        if self._confirm_due_ns is None or now_ns < self._confirm_due_ns:
            return []
        modes = {t: mode for t, mode in self._to_confirm.items() if t in self.asked.instruments}
        self._to_confirm, self._confirm_due_ns = {}, None
        return self._confirmed(modes)

    def news(self) -> list[Message]:
        """Tell a supervisor all that it may have missed."""
        reports: list[Message] = []
        if self.is_fresh:
            reports.append(m.LinkFresh(self.shard, self.epoch))
        reports += self._confirmed(dict(sorted(self.asked.arrived.items())))
        if self.liveness.is_silence_said:
            reports.append(m.LinkSilent(self.shard, self.epoch))
        return reports

    def _confirmed(self, modes: dict[int, int]) -> list[Message]:
        if not modes:
            return []
        return [m.Confirmed(self.shard, self.epoch, tuple(modes), tuple(modes.values()))]

    def _ticks(self, payload: bytes, now_ns: int, utc_s: float, received: Received) -> None:
        tokens, bodies, bad = repack_frame(payload)
        received.packets = len(tokens)
        received.bad_frames = int(bad is not None)
        try:
            topics = [*map(self.asked.topics.__getitem__, tokens)]
        except KeyError:
            received.asks = self.asked.unwanted(tokens, now_ns)
            tokens, bodies = self._known(tokens, bodies)
            topics = [*map(self.asked.topics.__getitem__, tokens)]
            received.unknown_tokens = received.packets - len(tokens)
        if not topics:
            return
        flags = self._note(tokens, bodies, now_ns, utc_s, received)
        if GUARD in topics:
            is_own = [topic != GUARD for topic in topics]
            topics, bodies = [*compress(topics, is_own)], [*compress(bodies, is_own)]
            flags = [*compress(flags, is_own)]
        for start in range(0, len(topics), TICKS_PER_CHUNK_MAX):
            cut = slice(start, start + TICKS_PER_CHUNK_MAX)
            batch = self._batch([], now_ns)
            batch.topics, batch.bodies, batch.flags = topics[cut], bodies[cut], flags[cut]
            received.batches.append(batch)

    def _known(self, tokens: list[int], bodies: list[bytes]) -> tuple[list[int], list[bytes]]:
        """Keep the packets of instruments that were asked for."""
        is_known = [*map(self.asked.topics.__contains__, tokens)]
        return [*compress(tokens, is_known)], [*compress(bodies, is_known)]

    def _note(
        self, tokens: list[int], bodies: list[bytes], now_ns: int, utc_s: float, received: Received
    ) -> list[int]:
        """Apply packets of known tokens; return their flags, nothing when all are zero."""
        received.has_tick = True
        self.liveness.ticks(tokens, bodies, now_ns)
        flags: list[int] = []
        fresh = tokens
        if not self.asked.are_all_news(tokens):
            flags, fresh = self._firsts(tokens, bodies, utc_s)
        if fresh:
            received.has_fresh_tick = True
            if self.liveness.fresh(fresh, now_ns):
                received.reports.append(m.LinkFresh(self.shard, self.epoch))
        if arrived := self.asked.arrive(tokens, bodies):
            self._to_confirm |= arrived
            if self._confirm_due_ns is None:
                self._confirm_due_ns = now_ns + COALESCE_NS
        return flags

    def _firsts(
        self, tokens: list[int], bodies: list[bytes], utc_s: float
    ) -> tuple[list[int], list[int]]:
        """Return flags of packets of which some are cached ones, and the tokens of those that are
        news."""
        flags, fresh = [], []
        for token, body in zip(tokens, bodies, strict=True):
            tick = _decode(body)
            is_first = self.asked.is_first(token, tick.mode, body)
            flags.append(_FIRST_PACKET if is_first else 0)
            if is_first:
                self.liveness.first(token, tick.last_price)
            if not is_first or _is_recent(tick, utc_s):
                fresh.append(token)
        return flags, fresh

    def _look(self, now_ns: int) -> None:
        """Notice that this process stood still: frames lay in a buffer meanwhile."""
        if now_ns - self._beat_due_ns > LATE_NS:
            self._behind(self._beat_due_ns, now_ns)

    def _behind(self, since_ns: int, now_ns: int) -> None:
        """Note that all frames read now are late, and that nobody knows by how much."""
        self._stood_ns = since_ns
        self._behind_until_ns = now_ns + BEAT_NS

    def _batch(self, items: list[Item], now_ns: int) -> IngestBatch:
        self._batch_seq += 1
        self._beat_due_ns = now_ns + BEAT_NS
        liveness = self.liveness
        at_ns = now_ns if now_ns >= self._behind_until_ns else self._stood_ns
        return IngestBatch(
            v=VERSION,
            shard=self.shard,
            epoch=self.epoch,
            source=Source.WEBSOCKET.value,
            batch_seq=self._batch_seq,
            received_boot_ns=at_ns,
            last_frame_boot_ns=min(liveness.last_frame_ns, at_ns),
            canary_boot_ns=min(liveness.canaries.proven_ns, at_ns),
            period_ns=0,
            items=items,
            held_segments=liveness.canaries.held,
        )


def _is_recent(tick: TickBody, utc_s: float) -> bool:
    at_s = tick.exchange_timestamp
    return at_s is not None and abs(utc_s - at_s) <= FRESH_WITHIN_S


def _text_items(payload: bytes, received: Received) -> list[Item]:
    match text.parse_text(payload):
        case BadFrame():
            received.bad_frames = 1
        case text.OrderUpdate(data):
            body = msgspec.Raw(encode(OrderUpdate(data)))
            return [Item(order_topic(data.get("order_id")), 0, body)]
        case text.BrokerMessage(sentence):
            return [_notice("message", sentence)]
        case text.ServerError(sentence):
            return [_notice("error", sentence)]
        case _:
            pass
    return []


def _notice(kind: str, sentence: str) -> Item:
    return Item(NOTICE + kind.encode(), 0, msgspec.Raw(encode(Notice(kind, sentence))))
