"""The polling of one shard under one epoch: whose turn it is, and what its values become. Pure."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from kitefeed.protocol import messages as m
from kitefeed.protocol.feed import TICKS_PER_CHUNK_MAX, VERSION, IngestBatch, Source, encode
from kitefeed.protocol.kite.rest import split_by_url, tick_from_quote
from kitefeed.protocol.kite.ticks import mode_from_name
from kitefeed.protocol.topics import tick_topic

# Kite allows one quote request per second; a second measured here may be a shorter one there.
SPACING_NS = 1_050_000_000
BEAT_NS = 300_000_000


class Values(msgspec.Struct):
    """What one answer came to."""

    counts: Counter[str]
    batches: list[IngestBatch] = []
    reports: list[m.Message] = []


class SweepEnd(NamedTuple):
    outcome: m.RestOutcome
    detail: str


class Sweep:
    """Asks batch after batch, rests until the period is over, starts again.

    `due_ns` is when its next request may go out, None while one is out, while it is parked, and
    when there is nothing to ask.
    """

    def __init__(self, order: m.StartPolling, now_ns: int, batch_seq: int) -> None:
        self.shard = order.shard
        self.epoch = order.epoch
        self.fingerprint = order.fingerprint
        self.batch_seq = batch_seq
        self.is_parked = False
        self.is_streaming = False
        self.due_ns: int | None = None
        self._asked: tuple[int, ...] = ()
        self._last_answer_ns = 0
        self._beat_due_ns = now_ns + BEAT_NS
        self._confirmed: set[int] = set()
        self._take(order, now_ns)

    @property
    def batches(self) -> int:
        """How many requests a sweep takes."""
        return len(self._batches)

    @property
    def beat_due_ns(self) -> int | None:
        return None if self.is_parked else self._beat_due_ns

    def change(self, order: m.StartPolling, now_ns: int) -> None:
        """The same epoch with other instruments or another period: begins a sweep at once. A
        repetition of what is known changes nothing."""
        known = (self._period_ns, self._instruments)
        if known != (order.period_ns, {i.token: i for i in order.instruments}):
            self._take(order, now_ns)

    def next_batch(self, now_ns: int) -> tuple[int, ...]:
        """The tokens of the request that goes out now."""
        if self._position == 0:
            self._started_ns = now_ns
            self._input_detail = ""
        self.due_ns = None
        self._asked = tuple(self._batches[self._position])
        return self._asked

    def values(
        self, quotes: Mapping[int, Mapping[str, object]], sent_ns: int, sweep_ns: int, now_ns: int
    ) -> Values:
        """The batch of one answer. A value is at least as old as its request, so that is the time
        it is stamped with."""
        counts: Counter[str] = Counter()
        topics: list[bytes] = []
        bodies: list[bytes] = []
        for token in self._asked:
            instrument, quote = self._instruments.get(token), quotes.get(token)
            if instrument is None:
                continue
            if quote is None:
                counts["absent"] += 1
                continue
            try:
                body = tick_from_quote(token, mode_from_name(instrument.mode), quote)
            except ValueError:
                counts["bad_values"] += 1
                continue
            topics.append(tick_topic(instrument.key))
            bodies.append(encode(body))
            counts["values"] += 1
            self._new.append(token)
        self.is_streaming = self.is_streaming or bool(topics)
        self._last_answer_ns = sent_ns
        self._sweep_ns = sweep_ns
        size = TICKS_PER_CHUNK_MAX
        batches = [
            self._batch(topics[start : start + size], bodies[start : start + size], sent_ns, now_ns)
            for start in range(0, max(1, len(topics)), size)
        ]
        return Values(counts, batches, self._confirmations())

    def batch_done(self, now_ns: int) -> SweepEnd | None:
        """After an answer: the end of the sweep, or None when another batch follows."""
        self._position += 1
        if self._position < len(self._batches):
            self.due_ns = now_ns
            return None
        self._rest(now_ns)
        return SweepEnd("input", self._input_detail) if self._input_detail else SweepEnd("ok", "")

    def batch_failed(self, outcome: m.RestOutcome, detail: str, now_ns: int) -> SweepEnd | None:
        """A refusal parks; trouble ends this sweep and waits for the next; an input that Kite does
        not take costs its own batch."""
        if outcome == "input":
            self._input_detail = detail or "Kite refused the request"
            return self.batch_done(now_ns)
        if outcome in ("token", "permission"):
            self.is_parked, self.is_streaming, self.due_ns = True, False, None
        else:
            self._rest(now_ns)
        return SweepEnd(outcome, detail)

    def beats(self, now_ns: int) -> list[IngestBatch]:
        """An empty batch when nothing was sent for a while, with the age of the last answer."""
        if self.is_parked or now_ns < self._beat_due_ns:
            return []
        return [self._batch([], [], self._last_answer_ns, now_ns)]

    def news(self) -> list[m.Message]:
        """What a supervisor has to know that may have missed it."""
        tokens = tuple(sorted(self._confirmed))
        return [m.Confirmed(self.shard, self.epoch, tokens)] if tokens else []

    def _take(self, order: m.StartPolling, now_ns: int) -> None:
        self._period_ns = order.period_ns
        self._instruments = {i.token: i for i in order.instruments}
        self._batches = split_by_url(list(self._instruments))
        self._position = 0
        self._started_ns = now_ns
        self._input_detail = ""
        self._sweep_ns = SPACING_NS * len(self._batches)
        self._new: list[int] = []
        self._confirmed &= self._instruments.keys()
        if not self.is_parked:
            self.due_ns = now_ns if self._batches else None

    def _rest(self, now_ns: int) -> None:
        self._position = 0
        self.due_ns = max(now_ns, self._started_ns + self._period_ns) if self._batches else None

    def _confirmations(self) -> list[m.Message]:
        tokens = tuple(token for token in self._new if token not in self._confirmed)
        self._new = []
        self._confirmed.update(tokens)
        return [m.Confirmed(self.shard, self.epoch, tokens)] if tokens else []

    def _batch(
        self, topics: list[bytes], bodies: list[bytes], received_ns: int, now_ns: int
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
            last_frame_boot_ns=self._last_answer_ns,
            canary_boot_ns=0,  # a poll has no canaries: every answer is news or a failure
            period_ns=max(self._period_ns, self._sweep_ns),
            items=[],
            topics=topics,
            bodies=bodies,
        )
