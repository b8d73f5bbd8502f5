"""Tests what the bridge publishes when NATS is quick, slow, away, or another bridge publishes."""

import pytest

from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, Flag, TickFrames
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.protocol.nats import Subjects
from kitefeed.protocol.topics import TICKS_TOPIC, snapshot_request, tick_topic
from kitefeed.services.nats_bridge import machine as at
from kitefeed.services.nats_bridge.machine import Group, Machine

S = 1_000_000_000
GEN = 1_790_000_000_000_000_000
BODY = f.encode(TickBody(408065, 1, 100, 150005))


def frames(gen: int = GEN, t_rx_ns: int = 5 * S) -> TickFrames:
    return TickFrames(gen, 0, 41, 1, t_rx_ns, t_rx_ns + 1_000)


def tick(key: str, seq: int, gen: int = GEN, t_rx_ns: int = 5 * S, flags: int = 0) -> bytes:
    return frames(gen, t_rx_ns).one(tick_topic(key), seq, flags, BODY)


def snapshot(*ticks: bytes) -> bytes:
    topic = snapshot_request("ab", b"tick/")
    raw = f.msgspec.Raw(f.encode(list(ticks)))
    return f.feed_frame(topic, FeedMessage(f.VERSION, GEN, 0, 0, 1, 0, 1, 1, 1, raw))


class Nats:
    """A machine that leads, and a LAST that takes what it is given."""

    def __init__(self) -> None:
        self.machine = Machine(Subjects(), "b1", lambda key: not key.startswith("MCX:"))
        self.seq = 0
        self.now_ns = 10 * S
        self.machine.connected()
        self.machine.lead(1)
        self.machine.reconciled({}, set(), 0)

    def take(self, *feed: bytes) -> None:
        for frame in feed:
            self.machine.take(frame, self.now_ns)

    def due(self) -> list[Group]:
        return list(iter(lambda: self.machine.due(self.now_ns), None))

    def store(self, groups: list[Group]) -> None:
        for group in groups:
            self.seq += len(group.outs)
            self.machine.acked(group.number, self.seq)

    def flow(self) -> list[str]:
        """Return what is published until nothing waits; ids without the gen."""
        ids = []
        while groups := self.due():
            ids += [out.id.partition(":")[2] for group in groups for out in group.outs]
            self.store(groups)
        return ids


def test_a_chunk_is_published_tick_by_tick_with_the_frames_of_single_ticks() -> None:
    nats = Nats()
    keys = ["NSE:INFY", "NSE:NIFTY 50", "MCX:GOLD"]
    chunk = frames().chunk(3, [tick_topic(k) for k in keys], [7, 8, 9], [BODY] * 3, [0, 16, 0])
    assert chunk.startswith(TICKS_TOPIC)
    nats.take(chunk)
    (group,) = nats.due()
    assert [out.frame for out in group.outs] == [tick(keys[0], 7), tick(keys[1], 8, flags=16)]
    assert [out.subject for out in group.outs] == ["kite.tick.NSE.INFY", "kite.tick.NSE.NIFTY%2050"]


def test_a_tick_that_comes_again_is_not_published_again() -> None:
    nats = Nats()
    nats.take(tick("NSE:INFY", 7), tick("NSE:INFY", 7), tick("NSE:INFY", 6))
    nats.take(snapshot(tick("NSE:INFY", 7, flags=int(Flag.SNAPSHOT))))
    assert nats.flow() == ["tick/NSE:INFY:7"]


def test_what_a_snapshot_shows_to_be_missing_is_published_as_a_repetition() -> None:
    nats = Nats()
    nats.take(tick("NSE:INFY", 7), snapshot(tick("NSE:INFY", 9, flags=int(Flag.SNAPSHOT))))
    assert nats.flow() == ["tick/NSE:INFY:7", "tick/NSE:INFY:9"]
    message = f.decode_feed_message(f.split_frame(nats.machine.newest[b"tick/NSE:INFY"].frame)[1])
    assert message.flags == Flag.REPLAY


def test_so_many_are_on_their_way_and_no_more() -> None:
    nats = Nats()
    nats.take(*(tick("NSE:INFY", n) for n in range(1, at.WINDOW + 500)))
    groups = nats.due()
    assert sum(len(group.outs) for group in groups) == at.WINDOW
    assert not nats.machine.beat(0).is_whole
    nats.store(groups)
    assert nats.flow()[-1] == f"tick/NSE:INFY:{at.WINDOW + 499}"
    beat = nats.machine.beat(0)
    assert beat.is_whole
    assert beat.sent == beat.stored == at.WINDOW + 499


def test_while_nats_is_away_the_newest_of_each_wins_and_the_rest_is_one_gap() -> None:
    nats = Nats()
    nats.take(tick("NSE:INFY", 1))
    nats.flow()
    nats.machine.cut()
    count = at.WAITING_MAX + 1
    nats.take(tick("NSE:M&M", 1, t_rx_ns=6 * S))
    nats.take(*(tick("NSE:INFY", n, t_rx_ns=6 * S + n) for n in range(2, count + 1)))
    assert nats.due() == []
    nats.machine.connected()
    assert nats.machine.gap_due() is None  # before all that waits was taken
    assert nats.flow() == ["tick/NSE:M&M:1", f"tick/NSE:INFY:{count}"]
    gap = nats.machine.gap_due()
    assert gap is not None
    assert (gap.ticks, gap.instruments) == (count - 2, 1)
    assert (gap.from_utc_ns, gap.to_utc_ns) == (6 * S + 2, 6 * S + count - 1)
    assert nats.machine.gap_due() is None
    assert nats.machine.beat(0).given_up == gap.ticks


def test_a_gap_counts_no_instrument_of_the_gap_before_it_nor_of_one_that_another_tells() -> None:
    nats = Nats()

    def lose(key: str) -> None:
        nats.machine.cut()
        nats.take(*(tick(key, n) for n in range(nats.seq + 1, nats.seq + at.WAITING_MAX + 2)))

    for key in ("NSE:INFY", "NSE:TCS"):
        lose(key)
        nats.machine.connected()
        nats.machine.reconciled({}, set(), 0)
        nats.flow()
        gap = nats.machine.gap_due()
        assert gap is not None
        assert gap.instruments == 1
    lose("NSE:SBIN")
    nats.machine.connected()
    nats.machine.stand_by()
    nats.machine.lead(2)
    nats.machine.reconciled({}, set(), 0)
    lose("NSE:M&M")
    nats.machine.connected()
    nats.machine.reconciled({}, set(), 0)
    nats.flow()
    gap = nats.machine.gap_due()
    assert gap is not None
    assert gap.instruments == 1


def test_what_was_on_its_way_when_the_connection_ended_goes_again_first() -> None:
    nats = Nats()
    nats.take(tick("NSE:INFY", 1), tick("NSE:INFY", 2))
    assert len(nats.due()) == 1
    nats.take(tick("NSE:INFY", 3))
    nats.machine.cut()
    nats.machine.connected()
    assert nats.flow() == [f"tick/NSE:INFY:{n}" for n in (1, 2, 3)]
    assert nats.machine.beat(0).sent == nats.machine.beat(0).stored == 3


@pytest.mark.parametrize("is_answered", [True, False])
def test_what_nats_does_not_keep_is_not_proven_and_the_newest_goes_again(is_answered: bool) -> None:
    nats = Nats()
    nats.take(tick("NSE:INFY", 1), tick("NSE:INFY", 2))
    (group,) = nats.due()
    if is_answered:
        nats.machine.refused(group.number)
    else:
        assert not nats.machine.overdue(nats.now_ns + at.ACK_NS)
        assert nats.machine.overdue(nats.now_ns + at.ACK_NS + 1)
    assert not nats.machine.overdue(nats.now_ns + at.ACK_NS + 1)  # said once
    nats.now_ns += 2 * S
    assert not nats.machine.is_behind(nats.now_ns)  # who listened has them: heartbeats go on
    assert not nats.machine.beat(0).is_whole
    nats.machine.reconciled({}, set(), nats.now_ns)
    assert nats.flow() == ["tick/NSE:INFY:2"]
    assert nats.machine.beat(0).is_whole
    gap = nats.machine.gap_due()
    assert gap is not None
    assert gap.ticks == 1


def test_one_that_begins_behind_another_life_says_what_nobody_published() -> None:
    nats = Nats()
    nats.machine.stand_by()
    nats.machine.lead(2)
    nats.take(tick("NSE:INFY", 9, t_rx_ns=8 * S), tick("NSE:INFY", 10), tick("NSE:TCS", 4))
    assert nats.due() == []  # before it was compared
    stored = {
        "kite.tick.NSE.INFY": ((GEN, 5), 6 * S),
        "kite.tick.NSE.TCS": ((GEN, 4), 5 * S),
    }
    nats.now_ns += S
    nats.machine.reconciled(stored, set(), nats.now_ns)
    assert nats.flow() == ["tick/NSE:INFY:9", "tick/NSE:INFY:10"]
    gap = nats.machine.gap_due()
    assert gap is not None
    assert (gap.ticks, gap.from_utc_ns, gap.to_utc_ns) == (3, 6 * S, 8 * S)


def test_a_number_that_does_not_follow_has_last_compared_with_what_is_known() -> None:
    nats = Nats()
    nats.take(tick("NSE:INFY", 1))
    nats.flow()
    nats.seq += 1  # somebody else wrote
    nats.take(tick("NSE:INFY", 2))
    nats.flow()
    assert not nats.machine.beat(0).is_whole
    nats.now_ns += S
    nats.machine.reconciled({}, set(), nats.now_ns)
    assert nats.flow() == ["tick/NSE:INFY:2"]
    assert nats.machine.beat(0).is_whole


def test_a_bridge_that_is_started_again_publishes_what_last_lacks_and_nothing_twice() -> None:
    nats = Nats()
    nats.machine.lead(2)
    nats.machine.stand_by()
    nats.take(snapshot(tick("NSE:INFY", 7), tick("NSE:TCS", 3)))
    nats.machine.lead(3)
    nats.now_ns += S
    nats.machine.reconciled({"kite.tick.NSE.INFY": ((GEN, 7), 5 * S)}, set(), nats.now_ns)
    assert nats.flow() == ["tick/NSE:TCS:3"]


@pytest.mark.parametrize("stored_ns", [4 * S, 5 * S], ids=["the same", "a newer one"])
def test_a_value_of_the_daemons_file_takes_the_place_of_an_older_one_alone(stored_ns: int) -> None:
    nats = Nats()
    cached = int(Flag.CACHED | Flag.SNAPSHOT)
    old = tick("NSE:INFY", 0, gen=GEN + 1, t_rx_ns=4 * S, flags=cached)
    unknown = tick("NSE:TCS", 0, gen=GEN + 1, t_rx_ns=4 * S, flags=cached)
    nats.take(snapshot(old, unknown))
    assert nats.flow() == []
    assert not nats.machine.beat(0).is_whole  # until LAST was compared with them
    nats.now_ns += S
    nats.machine.reconciled({"kite.tick.NSE.INFY": ((GEN, 7), stored_ns)}, set(), nats.now_ns)
    assert nats.flow() == ["tick/NSE:TCS:0"]


def test_one_that_stands_by_publishes_nothing_and_knows_the_newest() -> None:
    nats = Nats()
    nats.take(tick("NSE:INFY", 1))
    nats.machine.stand_by()
    nats.take(tick("NSE:INFY", 2))
    assert nats.due() == []
    nats.machine.lead(2)
    nats.now_ns += S
    nats.machine.reconciled({"kite.tick.NSE.INFY": ((GEN, 1), 5 * S)}, set(), nats.now_ns)
    assert nats.flow() == ["tick/NSE:INFY:2"]


def test_no_heartbeat_vouches_for_what_waits_too_long() -> None:
    nats = Nats()
    nats.take(tick("NSE:INFY", 1))
    nats.machine.cut()
    assert not nats.machine.is_behind(nats.now_ns + at.BEHIND_NS)
    assert nats.machine.is_behind(nats.now_ns + at.BEHIND_NS + 1)


def test_a_heartbeat_tells_of_the_broadcaster_before_any_tick_does() -> None:
    nats = Nats()
    nats.machine.heard(GEN)
    assert nats.machine.beat(0).gen == GEN


def test_what_was_on_its_way_when_another_one_took_over_is_waited_for_no_more() -> None:
    """Else LAST could never be proven again."""
    nats = Nats()
    nats.take(tick("NSE:A", 1))
    groups = nats.due()
    nats.machine.stand_by()
    nats.store(groups)
    nats.machine.lead(2)
    nats.machine.reconciled({}, set(), 0)
    nats.flow()
    beat = nats.machine.beat(S)
    assert beat.stored == beat.sent
    assert beat.is_whole
