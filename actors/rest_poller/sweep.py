"""The polling of one shard under one epoch: its turns, and the batches of its values. Pure."""

from collections import Counter
from collections.abc import Mapping

import msgspec

from kitefeed.actors.rest_poller.turns import Turn
from kitefeed.protocol.feed import (
    TICKS_PER_CHUNK_MAX,
    VERSION,
    Flag,
    IngestBatch,
    Item,
    Source,
    encode,
)
from kitefeed.protocol.kite.rest import QUOTE_COUNT_MAX, tick_from_quote
from kitefeed.protocol.kite.ticks import mode_from_name
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.topics import tick_topic

# Kite allows one quote request per second; a second measured here may be a shorter one there.
SPACING_NS = 1_050_000_000
BEAT_NS = 300_000_000
RETRY_NS = 2 * NS_PER_S  # so that a network that is back is noticed within 3 s
SILENT_PERIODS = 2  # without any answer for so long, polling vouches for no value
_NOTHING = msgspec.Raw(encode(None))


class Values(msgspec.Struct):
    """The outcome of one answer."""

    counts: Counter[str]
    batches: list[IngestBatch] = []
    reports: list[Message] = []
    odd: frozenset[str] = frozenset()  # what was left out of quotes, and why


class Sweep:
    """The instruments that one shard is to be polled for, and the batches that the answers make.

    `due_ns` is when something of it is to be asked next, None while it is parked and when there is
    nothing to ask. A value that the source cannot give any more is sent as stale at once: readers
    judge the others by `period_ns`, which is that of the instrument that waits longest.
    """

    def __init__(self, order: m.StartPolling, now_ns: int, batch_seq: int) -> None:
        self.shard = order.shard
        self.epoch = order.epoch
        self.fingerprint = order.fingerprint
        self.batch_seq = batch_seq
        self.is_parked = False
        self.is_streaming = False
        self.round_ns = 0  # what a round over all shards takes
        self.turns: dict[int, Turn] = {}
        self._instruments: dict[int, Instrument] = {}
        self._asked: list[Turn] = []
        self._hold_ns = 0
        self._failures = 0
        self._heard_ns = 0  # when the latest request was sent that this session had an answer to
        self._beat_due_ns = now_ns + BEAT_NS
        self._new: list[int] = []
        self._confirmed: set[int] = set()
        self._take(order)

    @property
    def due_ns(self) -> int | None:
        return None if self.is_parked or self._due_ns is None else max(self._due_ns, self._hold_ns)

    @property
    def beat_due_ns(self) -> int | None:
        return None if self.is_parked or self._is_silent(self._beat_due_ns) else self._beat_due_ns

    def change(self, order: m.StartPolling, now_ns: int) -> list[IngestBatch]:
        """Take other instruments or another period under the same epoch. Known instruments keep
        their turn; one that is polled no more is stale from here on."""
        topics = {token: tick_topic(i.key) for token, i in self._instruments.items()}
        self._take(order)
        ended = [topics[token] for token in sorted(self._confirmed - self._instruments.keys())]
        self._confirmed &= self._instruments.keys()
        items = [Item(topic, Flag.STALE.value, _NOTHING) for topic in ended]
        return [self._batch(items, self._heard_ns, now_ns)] if items else []

    @property
    def is_asked(self) -> bool:
        """Whether the request under way asks for something of this shard."""
        return bool(self._asked)

    def ask(self, turns: list[Turn]) -> None:
        """Note that a request of this session goes out, with these of our turns in it."""
        self._asked = turns

    def values(
        self, quotes: Mapping[int, Mapping[str, object]], sent_ns: int, now_ns: int
    ) -> Values:
        """Return the batch of one answer. A value is at least as old as its request, so it is
        stamped with the time of that."""
        counts: Counter[str] = Counter()
        topics: list[bytes] = []
        bodies: list[bytes] = []
        items: list[Item] = []
        left_out: list[str] = []
        for turn in self._asked:
            token = turn.token
            turn.room = QUOTE_COUNT_MAX
            turn.answered(sent_ns)
            instrument, quote = self._instruments.get(token), quotes.get(token)
            if instrument is None:
                continue
            if quote is None:
                counts["absent"] += 1
                items += self._ended(instrument)
                continue
            try:
                body = tick_from_quote(token, mode_from_name(instrument.mode), quote, left_out)
            except ValueError:
                counts["bad_values"] += 1
                items += self._ended(instrument)
                continue
            topics.append(tick_topic(instrument.key))
            bodies.append(encode(body))
            counts["values"] += 1
            self._new.append(token)
        self.is_streaming = self.is_streaming or bool(topics)
        self._find_due()
        size = TICKS_PER_CHUNK_MAX
        batches = [
            self._batch([], sent_ns, now_ns, topics[at : at + size], bodies[at : at + size])
            for at in range(0, max(1, len(topics)), size)
        ]
        if items:
            batches.append(self._batch(items, sent_ns, now_ns))
        counts["odd_fields"] = len(left_out)
        return Values(counts, batches, self._confirmations(), frozenset(left_out))

    def refused(self, company: int, sent_ns: int, now_ns: int) -> list[IngestBatch]:
        """Note that Kite did not take a request of `company` instruments, with these of ours in
        it."""
        items: list[Item] = []
        for turn in self._asked:
            turn.refused(company, sent_ns)
            instrument = self._instruments.get(turn.token)
            if instrument is not None and not turn.room:
                items += self._ended(instrument)
        self._find_due()
        return [self._batch(items, sent_ns, now_ns)] if items else []

    def failed(self, sent_ns: int) -> None:
        """Note that no answer came: after a pause the same is asked again. Failing twice costs the
        turn, because the trouble may lie in what was asked. The pause is a period while earlier
        values count. It is short where there are none: then the way back is looked for."""
        self._failures += 1
        has_values = self._heard_ns and self._failures <= SILENT_PERIODS
        self._hold_ns = sent_ns + (self._period_ns if has_values else RETRY_NS)
        if self._failures > 1:
            for turn in self._asked:
                turn.failed(sent_ns, self._hold_ns)
            self._find_due()

    def heard(self, sent_ns: int) -> None:
        """Note that this session had an answer, to a request for whichever shard."""
        self._heard_ns = sent_ns
        self._failures = self._hold_ns = 0

    def park(self) -> None:
        """Stop for good under this epoch: the session or plan is refused."""
        self.is_parked, self.is_streaming = True, False

    def acquit(self) -> None:
        """End all trials: Kite had refused everything, so no instrument is to blame."""
        for turn in self.turns.values():
            turn.room = QUOTE_COUNT_MAX

    def beats(self, now_ns: int) -> list[IngestBatch]:
        """Return an empty batch when nothing was sent for a while, with the age of the last answer.
        None while every request fails: without a beat readers take the source for dead."""
        if self.is_parked or now_ns < self._beat_due_ns or self._is_silent(now_ns):
            return []
        return [self._batch([], self._heard_ns, now_ns)]

    def news(self) -> list[Message]:
        """Tell a supervisor all that it may have missed."""
        tokens = tuple(sorted(self._confirmed))
        return [m.Confirmed(self.shard, self.epoch, tokens)] if tokens else []

    def _take(self, order: m.StartPolling) -> None:
        before = {token: i.mode for token, i in self._instruments.items()}
        self._period_ns = order.period_ns
        self._instruments = {i.token: i for i in order.instruments}
        kept = self.turns
        self.turns = {}
        for i in order.instruments:
            turn = kept.get(i.token)
            if turn is None or before[i.token] != i.mode:
                turn = Turn(order.shard, i.token, order.period_ns)
            turn.is_read = i.has_listeners
            self.turns[i.token] = turn
            if turn.period_ns != order.period_ns:
                turn.set_period(order.period_ns)
        self._find_due()

    def _find_due(self) -> None:
        """Keep the next due time, because it is looked at often and changes with a request only."""
        self._due_ns = min((turn.due_ns for turn in self.turns.values()), default=None)

    def _is_silent(self, at_ns: int) -> bool:
        return bool(self._heard_ns) and at_ns - self._heard_ns > SILENT_PERIODS * self._period_ns

    def _ended(self, instrument: Instrument) -> list[Item]:
        """End an instrument that had a value under this epoch and has none any more."""
        if instrument.token not in self._confirmed:
            return []
        self._confirmed.discard(instrument.token)
        return [Item(tick_topic(instrument.key), Flag.STALE.value, _NOTHING)]

    def _confirmations(self) -> list[Message]:
        tokens = tuple(token for token in self._new if token not in self._confirmed)
        self._new = []
        self._confirmed.update(tokens)
        return [m.Confirmed(self.shard, self.epoch, tokens)] if tokens else []

    def _batch(
        self,
        items: list[Item],
        received_ns: int,
        now_ns: int,
        topics: list[bytes] | None = None,
        bodies: list[bytes] | None = None,
    ) -> IngestBatch:
        self.batch_seq += 1
        self._beat_due_ns = now_ns + BEAT_NS
        return IngestBatch(
            v=VERSION,
            shard=self.shard,
            epoch=self.epoch,
            source=Source.REST.value,
            batch_seq=self.batch_seq,
            received_boot_ns=received_ns,
            last_frame_boot_ns=self._heard_ns,
            canary_boot_ns=0,  # a poll has no canaries: every answer is news or a failure
            period_ns=max(self._period_ns, self.round_ns),
            items=items,
            topics=topics or [],
            bodies=bodies or [],
        )
