"""Records in, ticks out, each with the verdict of its time. Pure."""

from collections.abc import Iterable, Iterator

from kitefeed.client.tick import Arrival, Tick, Verdict
from kitefeed.client.view import View
from kitefeed.protocol import feed as f
from kitefeed.protocol.recording import Record, Type, decode_gap
from kitefeed.protocol.topics import SNAPSHOT

# The boot time of arrival of a tick that grows no older: ahead of every boot time.
STILL_NS = 1 << 62
_NOBODY = Verdict("no_feed", has=False)  # the ticks of the view itself go to nobody


class Player:
    """A reader at the time of the recording. wanted, prefixes: as `View` has them; None for all."""

    def __init__(self, wanted: frozenset[str] | None, prefixes: tuple[str, ...] = ()) -> None:
        self.view = View(_NOBODY, wanted, prefixes, None)

    def play(self, record: Record) -> Iterable[Tick]:
        """Return the ticks of one record."""
        if record.type == Type.GAP:
            self._miss(record)
            return ()
        if record.type != Type.FRAME:
            return ()
        topic, array = f.split_frame(record.data)
        try:
            message = f.decode_feed_message(array)
        except f.DECODE_ERRORS:
            self.view.bad_messages += 1
            return ()
        if topic.startswith(SNAPSHOT) and message.seq == 1:
            self.view.losses.expect([topic])
        at_ns = message.t_pub_ns
        self.view.apply(record.data, at_ns, at_ns)
        return self._given_out(at_ns)

    def _miss(self, record: Record) -> None:
        try:
            gap = decode_gap(record.data)
        except f.DECODE_ERRORS:
            return
        if not gap.healed:
            self.view.reopened()

    def _given_out(self, at_ns: int) -> Iterator[Tick]:
        view, arrived = self.view, self.view.arrived
        arrivals: dict[tuple[int, Verdict], Arrival] = {}
        while arrived:
            tick = arrived.popleft()
            verdict = Verdict(view.why_stale(tick, at_ns), view.has_source(tick, at_ns))
            key = id(tick.arrival), verdict
            arrival = arrivals.get(key)
            if arrival is None:
                then = tick.arrival
                arrival = arrivals[key] = Arrival(
                    then.gen, then.shard, then.epoch, then.source_code, then.t_rx_ns, then.age_ns,
                    STILL_NS, verdict, then.losses,
                )  # fmt: skip
            yield Tick(tick.instrument, tick._held, tick.seq, tick.flags, arrival)
