"""One open link: its batches, confirmations and clocks. Pure."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from kitefeed.actors.ticker.liveness import Liveness
from kitefeed.actors.ticker.subscriptions import Ask, Asked
from kitefeed.protocol import messages as m
from kitefeed.protocol.feed import (
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
from kitefeed.protocol.kite.ticks import BadFrame, TickBody, decode_frame
from kitefeed.protocol.topics import NOTICE, ORDER

BEAT_NS = 300_000_000
COALESCE_NS = 100_000_000  # a burst after a subscribe comes in a dozen frames: one report
FRESH_WITHIN_S = 5
ITEMS_MAX = 3_000  # of one batch: what a socket may carry, and ingest takes in one message (1 MiB)
ORDER_ID_CHARS_MAX = 64
_NOTHING = msgspec.Raw(encode(None))


class Received(msgspec.Struct):
    """What one frame came to."""

    counts: Counter[str]
    batches: list[IngestBatch] = []
    reports: list[m.Message] = []
    has_tick: bool = False
    has_fresh_tick: bool = False


class Link:
    """From the upgrade to the end. Every batch carries this epoch; `batch_seq` counts from 1."""

    def __init__(self, shard: int, epoch: int, now_ns: int) -> None:
        self.shard = shard
        self.epoch = epoch
        self.asked = Asked()
        self.liveness = Liveness(now_ns)
        self._batch_seq = 0
        self._beat_due_ns = now_ns + BEAT_NS
        self._to_confirm: list[int] = []
        self._confirm_due_ns: int | None = None

    @property
    def is_fresh(self) -> bool:
        return self.liveness.is_fresh

    @property
    def deadline_ns(self) -> int:
        dues = (self._beat_due_ns, self.liveness.deadline_ns, self._confirm_due_ns)
        return min(due for due in dues if due is not None)

    def subscribe(
        self, instruments: Iterable[m.Instrument], now_ns: int, *, is_refresh: bool
    ) -> tuple[list[Ask], list[IngestBatch]]:
        """Takes over the desired set; returns what to ask of Kite, and what to tell readers: the
        values of instruments that stream no more are stale from here on."""
        before = self.asked.topics
        asks = self.asked.change(instruments, is_refresh=is_refresh)
        self.liveness.subscribed(self.asked.instruments.values(), now_ns)
        ended = [topic for token, topic in before.items() if token not in self.asked.topics]
        items = [Item(topic, Flag.STALE.value, _NOTHING) for topic in ended]
        return asks, [self._batch(items, now_ns)] if items else []

    def receive(self, payload: bytes, is_binary: bool, now_ns: int, utc_s: float) -> Received:
        """One message of Kite, whatever its bytes are."""
        received = Received(Counter(frames=1))
        if not self.liveness.frame(now_ns):
            return received
        if is_binary:
            items = self._ticks(payload, now_ns, utc_s, received)
        else:
            items = _text_items(payload, received.counts)
        for start in range(0, len(items), ITEMS_MAX):
            received.batches.append(self._batch(items[start : start + ITEMS_MAX], now_ns))
        return received

    def beats(self, now_ns: int) -> list[IngestBatch]:
        """An empty batch when nothing was sent for a while: the source is alive."""
        return [self._batch([], now_ns)] if now_ns >= self._beat_due_ns else []

    def confirmations(self, now_ns: int) -> list[m.Message]:
        if self._confirm_due_ns is None or now_ns < self._confirm_due_ns:
            return []
        tokens = tuple(t for t in self._to_confirm if t in self.asked.instruments)
        self._to_confirm, self._confirm_due_ns = [], None
        return [m.Confirmed(self.shard, self.epoch, tokens)] if tokens else []

    def news(self) -> list[m.Message]:
        """What a supervisor has to know that may have missed it."""
        reports: list[m.Message] = []
        if self.is_fresh:
            reports.append(m.LinkFresh(self.shard, self.epoch))
        if self.asked.confirmed:
            tokens = tuple(sorted(self.asked.confirmed))
            reports.append(m.Confirmed(self.shard, self.epoch, tokens))
        if self.liveness.is_silence_said:
            reports.append(m.LinkSilent(self.shard, self.epoch))
        return reports

    def _ticks(self, payload: bytes, now_ns: int, utc_s: float, received: Received) -> list[Item]:
        ticks, bad = decode_frame(payload)
        received.counts["packets"] = len(ticks)
        received.counts["bad_frames"] = int(bad is not None)
        items: list[Item] = []
        for tick in ticks:
            topic = self.asked.topics.get(tick.instrument_token)
            if topic is None:
                received.counts["unknown_tokens"] += 1
                continue
            flags = self._note(tick, now_ns, utc_s, received)
            items.append(Item(topic, flags, msgspec.Raw(encode(tick))))
        return items

    def _note(self, tick: TickBody, now_ns: int, utc_s: float, received: Received) -> int:
        """Lets a tick of a known token count; returns its flags."""
        is_first = self.asked.is_first(tick)
        is_fresh = not is_first or _is_recent(tick, utc_s)
        received.has_tick = True
        received.has_fresh_tick = received.has_fresh_tick or is_fresh
        if self.liveness.tick(tick, now_ns, is_fresh=is_fresh):
            received.reports.append(m.LinkFresh(self.shard, self.epoch))
        if self.asked.is_confirmation(tick.instrument_token):
            self._to_confirm.append(tick.instrument_token)
            if self._confirm_due_ns is None:
                self._confirm_due_ns = now_ns + COALESCE_NS
        return Flag.FIRST_PACKET.value if is_first else 0

    def _batch(self, items: list[Item], now_ns: int) -> IngestBatch:
        self._batch_seq += 1
        self._beat_due_ns = now_ns + BEAT_NS
        return IngestBatch(
            v=VERSION,
            shard=self.shard,
            epoch=self.epoch,
            source=Source.WEBSOCKET.value,
            batch_seq=self._batch_seq,
            received_boot_ns=now_ns,
            last_frame_boot_ns=self.liveness.last_frame_ns,
            canary_boot_ns=self.liveness.canary_ns,
            period_ns=0,
            items=items,
        )


def _is_recent(tick: TickBody, utc_s: float) -> bool:
    at_s = tick.exchange_timestamp
    return at_s is not None and abs(utc_s - at_s) <= FRESH_WITHIN_S


def _text_items(payload: bytes, counts: Counter[str]) -> list[Item]:
    match text.parse_text(payload):
        case BadFrame():
            counts["bad_frames"] = 1
        case text.OrderUpdate(data):
            body = msgspec.Raw(encode(OrderUpdate(data)))
            return [Item(ORDER + _order_id(data), 0, body)]
        case text.BrokerMessage(sentence):
            return [_notice("message", sentence)]
        case text.ServerError(sentence):
            return [_notice("error", sentence)]
        case _:
            pass
    return []


def _notice(kind: str, sentence: str) -> Item:
    return Item(NOTICE + kind.encode(), 0, msgspec.Raw(encode(Notice(kind, sentence))))


def _order_id(data: dict[str, object]) -> bytes:
    """The id as part of a topic: what is no plain word would tear the frame apart."""
    value = data.get("order_id")
    if isinstance(value, str) and value.isalnum() and value.isascii():
        return value[:ORDER_ID_CHARS_MAX].encode()
    return b"unknown"
