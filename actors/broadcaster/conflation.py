"""The latest tick of an instrument, at most n times a second: `last/<n>/<key>`, for dashboards.

Pure. It looks at the last values when a rate's turn comes and publishes what changed since; so a
tick costs nothing here, and a rate that nobody reads has no turns. Each topic has a seq of its own,
without holes: what was conflated was not lost.
"""

from dataclasses import dataclass, field

from kitefeed.actors.broadcaster.frames import Frames
from kitefeed.actors.broadcaster.sequences import Sequences
from kitefeed.actors.broadcaster.store import CACHED, LastValues, Origin, Value
from kitefeed.protocol.feed import Flag
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.instruments import LIST_MAX
from kitefeed.protocol.topics import LAST_RATES, NUL, TICK, last_head, parse_last

SUBSCRIPTIONS_MAX = LIST_MAX  # distinct ones of a rate; with more, all its values are sent
# Limits of one turn, half a millisecond each: ticks that come meanwhile wait no longer. When a turn
# did all that was due, a reader of every rate made them wait for up to 25 ms.
BURST_MAX = 64  # messages
LOOKS_MAX = 1_000  # topics that are looked at
REPLAY, SNAPSHOT = int(Flag.REPLAY), int(Flag.SNAPSHOT)


@dataclass(slots=True, eq=False)
class Sent:
    """The value that a topic's readers have. `of_seq`: the seq of that tick on `tick/`."""

    seq: int
    of_seq: int
    flags: int
    origin: Origin
    body: bytes


@dataclass(slots=True, eq=False)
class Rate:
    """One rate, and its readers: `exact` topics and `prefixes`, both as those of ticks, with the
    number of their readers. `due_ns`: None while there are none."""

    head: bytes
    period_ns: int
    due_ns: int | None = None
    exact: dict[bytes, int] = field(default_factory=dict)
    prefixes: dict[bytes, int] = field(default_factory=dict)
    uncounted: int = 0
    waiting: list[bytes] = field(default_factory=list)  # topics still to be looked at, last first
    sent: dict[bytes, Sent] = field(default_factory=dict)

    def wants(self, topic: bytes) -> bool:
        return topic in self.exact or topic.startswith(tuple(self.prefixes))

    def place(self, wanted: bytes) -> tuple[dict[bytes, int], bytes]:
        """Return the table that counts the readers of `wanted`, and their name in it."""
        return (self.exact, wanted[:-1]) if wanted.endswith(NUL) else (self.prefixes, wanted)


class Conflation:
    """Publishes conflated ticks by the subscriptions that the XPUB reports. `published`: how many
    messages so far.

    A prefix must name the rate: a subscription to `last/`, or to everything, causes nothing.
    `deadline_ns`: boot time of the next turn, None while nobody reads. (An attribute, because it is
    looked at with every batch of ticks.)
    """

    def __init__(self, values: LastValues, frames: Frames) -> None:
        self.published = 0
        self.deadline_ns: int | None = None
        self._values = values
        self._frames = frames
        self._rates = {n: Rate(last_head(n), NS_PER_S // n) for n in LAST_RATES}
        self._sequences = Sequences(len(LAST_RATES) * LIST_MAX)

    # --- readers ------------------------------------------------------------------------------

    def add(self, subscription: bytes, now_ns: int) -> None:
        """Count one more reader. The present values are not published for him as if they were
        new."""
        rate, wanted = self._meant(subscription)
        if rate is None:
            return
        table, name = rate.place(wanted)
        if name not in table and len(rate.exact) + len(rate.prefixes) >= SUBSCRIPTIONS_MAX:
            rate.uncounted += 1
            table, name = rate.prefixes, TICK
            wanted = TICK
        for topic, value in self._values.matching(wanted):
            if not rate.wants(topic):
                self._renew(rate, topic, value)
        table[name] = table.get(name, 0) + 1
        if rate.due_ns is None:
            rate.due_ns = now_ns + rate.period_ns
        self._schedule()

    def remove(self, subscription: bytes) -> None:
        rate, wanted = self._meant(subscription)
        if rate is None:
            return
        table, name = rate.place(wanted)
        if name not in table:
            if not rate.uncounted:
                return
            rate.uncounted -= 1
            table, name = rate.prefixes, TICK
        table[name] -= 1
        if not table[name]:
            del table[name]
        if not rate.exact and not rate.prefixes:
            rate.due_ns = None
            rate.waiting.clear()
        self._schedule()

    def _meant(self, subscription: bytes) -> tuple[Rate | None, bytes]:
        """Return the rate, and the topic or prefix of ticks (with the NUL, if exact)."""
        found = parse_last(subscription)
        return (self._rates[found[0]], found[1]) if found else (None, b"")

    # --- what they get ------------------------------------------------------------------------

    def turn(self, now_ns: int, utc_ns: int) -> list[bytes]:
        """Return the changes since the last look, of the rate that is due for longest; only a part
        of them, if there are many."""
        due = [(rate.due_ns, n) for n, rate in self._rates.items() if rate.due_ns is not None]
        due_ns, n = min(due, default=(None, 0))
        if due_ns is None or due_ns > now_ns:
            return []
        rate = self._rates[n]
        if not rate.waiting:
            rate.waiting = self._read_of(rate)
        frames = self._new(rate, self._next_changed(rate), now_ns, utc_ns)
        if not rate.waiting:
            # From the end of this round, so that no topic gets two messages within one period.
            rate.due_ns = now_ns + rate.period_ns
        self._schedule()
        self.published += len(frames)
        return frames

    def ended(self, topic: bytes, now_ns: int, utc_ns: int) -> list[bytes]:
        """Tell at once, whatever the rate, that this instrument streams no more."""
        frames = [
            frame
            for rate in self._rates.values()
            if rate.wants(topic)
            for frame in self._new(rate, [topic], now_ns, utc_ns)
        ]
        self.published += len(frames)
        return frames

    def replay(self, topic: bytes, now_ns: int, utc_ns: int) -> list[bytes]:
        """Give a new reader of exactly `topic` at once what the other readers have."""
        rate, of = self._meant(topic)
        return self._again(rate, [of], REPLAY, now_ns, utc_ns) if rate else []

    def snapshot(self, prefix: bytes, now_ns: int, utc_ns: int) -> list[bytes]:
        """Return the values under `prefix`, as the readers of each topic have them."""
        rate, wanted = self._meant(prefix)
        if rate is None:
            return []
        topics = [topic for topic, _ in self._values.matching(wanted)]
        return self._again(rate, topics, SNAPSHOT, now_ns, utc_ns)

    def _read_of(self, rate: Rate) -> list[bytes]:
        """Return the topics that somebody reads at this rate; one may come twice."""
        found = [topic for prefix in rate.prefixes for topic in self._values.topics(prefix)]
        found += rate.exact
        found.reverse()
        return found

    def _next_changed(self, rate: Rate) -> list[bytes]:
        """Look at some of the topics that wait for it; return those whose value is newer than the
        one that was sent."""
        found: list[bytes] = []
        waiting, sent, find = rate.waiting, rate.sent, self._values.get
        for _ in range(min(LOOKS_MAX, len(waiting))):
            if len(found) == BURST_MAX:
                break
            topic = waiting.pop()
            value, last = find(topic), sent.get(topic)
            if value is None or value.flags & CACHED:
                continue
            if last is None or last.of_seq != value.seq:
                found.append(topic)
        return found

    def _new(self, rate: Rate, topics: list[bytes], now_ns: int, utc_ns: int) -> list[bytes]:
        """Return the present values of those `topics` whose readers have another one."""
        frames = []
        skip, one = len(TICK), self._frames.writer(now_ns, utc_ns)
        for topic in topics:
            value = self._values.get(topic)
            before = rate.sent.get(topic)
            if value is not None and (before is None or before.of_seq != value.seq):
                sent = self._renew(rate, topic, value)
                name = rate.head + topic[skip:]
                frames.append(one(name, sent.seq, sent.flags, sent.origin, sent.body))
        return frames

    def _again(
        self, rate: Rate, topics: list[bytes], flag: int, now_ns: int, utc_ns: int
    ) -> list[bytes]:
        """Return what was sent last on topics that somebody reads, even if there is a newer value.
        That one comes to all with the next turn: given to one reader alone, the others would miss
        its number."""
        frames = []
        for topic in topics:
            value = self._values.get(topic)
            sent = rate.sent.get(topic)
            if value is not None and not rate.wants(topic):
                sent = self._renew(rate, topic, value)
            if value is not None and sent is not None:
                frames.append(self._frame(rate, topic, sent, flag, now_ns, utc_ns))
        return frames

    # --- bookkeeping --------------------------------------------------------------------------

    def _schedule(self) -> None:
        rates = self._rates.values()
        due = (rate.due_ns for rate in rates if rate.due_ns is not None)
        self.deadline_ns = min(due, default=None)

    def _renew(self, rate: Rate, topic: bytes, value: Value) -> Sent:
        """Give the present value its number. Numbers go on while nobody reads, because a reader may
        come back; values from disk have none, as on `tick/`."""
        sent = rate.sent.get(topic)
        if sent is not None and sent.of_seq == value.seq:
            return sent
        seq = self._sequences.next(rate.head + topic) if value.seq else 0
        sent = Sent(seq, value.seq, value.flags, value.origin, value.body)
        rate.sent[topic] = sent
        if len(rate.sent) > LIST_MAX:  # some are kept no more
            rate.sent = {t: s for t, s in rate.sent.items() if t in self._values}
        return sent

    def _frame(
        self, rate: Rate, topic: bytes, sent: Sent, flag: int, now_ns: int, utc_ns: int
    ) -> bytes:
        name = rate.head + topic[len(TICK) :]
        flags = sent.flags | flag
        return self._frames.kept(name, sent.seq, flags, sent.origin, sent.body, now_ns, utc_ns)
