"""Tests what a reader over NATS believes: the measured clock of the daemon's host, and which
bridge."""

import sys
import threading

import pytest

from kitefeed.client.nats_belief import SAMPLES, Belief, BridgeClock
from kitefeed.protocol import feed as f
from kitefeed.protocol.nats import BridgeBeat
from tests.recordings import Writes

S = 1_000_000_000
UTC_NS = 1_790_000_000 * S  # there, when our boot clock was 0


def test_the_measurement_that_took_least_time_counts_as_long_as_it_is_kept() -> None:
    clock = BridgeClock()
    assert clock.best is None
    clock.measured(10 * S, 10 * S + 2_000, UTC_NS + 10 * S + 1_000)
    clock.measured(20 * S, 20 * S + 8_000, UTC_NS + 20 * S + 7_000)
    assert clock.best == (UTC_NS, 1_001)
    assert clock.best.utc_ns(30 * S) == UTC_NS + 30 * S + 1_001
    assert clock.best.ahead_ns(30 * S, UTC_NS + 31 * S) == S
    for _ in range(SAMPLES):
        clock.measured(20 * S, 20 * S + 8_000, UTC_NS + 20 * S + 4_000)
    assert clock.best == (UTC_NS, 4_001)


def test_a_measurement_that_agrees_with_none_before_tells_of_a_clock_that_was_set() -> None:
    clock = BridgeClock()
    clock.measured(10 * S, 10 * S + 2_000, UTC_NS + 10 * S + 1_000)
    assert not clock.contradicts(11 * S, UTC_NS + 11 * S)
    assert clock.contradicts(11 * S, UTC_NS + 12 * S)
    clock.measured(12 * S, 12 * S + 90_000, UTC_NS + 13 * S + 45_000)
    assert clock.best == (UTC_NS + S, 45_001)
    clock.forget()
    assert clock.best is None
    assert not clock.contradicts(0, UTC_NS)


def test_it_is_read_in_one_thread_while_it_is_measured_and_forgotten_in_another() -> None:
    clock = BridgeClock()
    stopped = threading.Event()
    failed: list[Exception] = []

    def read() -> None:
        try:
            while not stopped.is_set():
                best = clock.best
                assert best is None or best.utc_ns(0) > 0
        except (RuntimeError, ValueError, AssertionError) as error:
            failed.append(error)

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for n in range(20_000):
            clock.measured(n, n + 2_000, UTC_NS + n + 1_000)
            if n % 9 == 0:
                clock.forget()
    finally:
        stopped.set()
        reader.join()
        sys.setswitchinterval(interval_s)
    assert failed == []


@pytest.mark.parametrize("set_by_ns", [-3_600 * S, 3_600 * S])
def test_between_two_clocks_there_is_always_one(set_by_ns: int) -> None:
    clock = BridgeClock()
    clock.measured(0, 2_000, UTC_NS)
    clock.measured(0, 2_000, UTC_NS + set_by_ns)
    assert clock.best == (UTC_NS + set_by_ns - 1_000, 1_001)


# --- the bridge -------------------------------------------------------------------------------


def beat(term: int, gen: int) -> BridgeBeat:
    return BridgeBeat(term, f"life-{term}", gen, 0, 0, True, 0, UTC_NS)


class Reads:
    """Reads the heartbeats that a daemon writes, as a reader is given them."""

    def __init__(self) -> None:
        self.belief = Belief()

    def number(self, daemon: Writes, *, full_queues: int = 0) -> int:
        _, array = f.split_frame(daemon.heartbeat(UTC_NS))
        frame = self.belief.heartbeat(array, full_queues)
        self.given = f.decode_feed_message(f.split_frame(frame)[1])
        return self.given.seq


def test_heartbeats_are_numbered_without_a_hole_until_anything_may_be_lost() -> None:
    reads, daemon = Reads(), Writes(gen=7)
    reads.belief.hear(beat(1, 7))
    first = reads.number(daemon)
    assert [reads.number(daemon) for _ in range(2)] == [first + 1, first + 2]
    reads.belief.cut()
    assert [reads.number(daemon) for _ in range(2)] == [first + 4, first + 5]
    daemon.heartbeat(UTC_NS)  # two that never come
    daemon.heartbeat(UTC_NS)
    assert [reads.number(daemon) for _ in range(2)] == [first + 8, first + 9]


def test_another_bridge_or_broadcaster_is_a_hole_and_the_same_one_is_none() -> None:
    reads, daemon = Reads(), Writes(gen=7)
    assert reads.belief.hear(beat(1, 7))
    first = reads.number(daemon)
    assert not reads.belief.hear(beat(1, 7))
    assert reads.number(daemon) == first + 1
    assert reads.belief.hear(beat(2, 7))
    assert reads.number(daemon) == first + 3
    assert reads.belief.hear(beat(2, 8))
    assert reads.number(Writes(gen=8)) == first + 5


def test_only_frames_of_the_broadcaster_that_is_believed_are_admitted() -> None:
    belief = Belief()
    of = {gen: Writes(gen=gen).heartbeat(UTC_NS) for gen in (7, 8)}
    assert not belief.admits(of[7])
    belief.hear(beat(1, 7))
    assert (belief.admits(of[7]), belief.admits(of[8])) == (True, False)
    belief.hear(beat(1, 8))
    assert (belief.admits(of[7]), belief.admits(of[8])) == (False, True)


def test_a_bridge_of_an_older_term_is_not_believed_by_its_beat_nor_after_another_lease() -> None:
    belief = Belief()
    belief.hear(beat(3, 7))
    assert not belief.hear(beat(2, 8))
    assert belief.gen == 7
    belief.leased(3)
    assert belief.gen == 7
    belief.leased(4)
    assert belief.gen == 0
    assert not belief.admits(Writes(gen=7).heartbeat(UTC_NS))
    assert not belief.hear(beat(3, 7))
    assert belief.hear(beat(4, 7))


def test_the_readers_own_full_queues_count_with_those_of_the_daemon() -> None:
    reads = Reads()
    reads.belief.hear(beat(1, 7))
    reads.number(Writes(gen=7), full_queues=3)
    assert f.decode_heartbeat(reads.given.body).full_queues == 3


def test_an_ended_connection_is_told_as_no_source_of_the_gen_that_was_believed() -> None:
    belief = Belief()
    assert belief.silence("nats is away", UTC_NS) is None
    belief.hear(beat(1, 7))
    frame = belief.silence("nats is away", UTC_NS)
    assert frame is not None
    assert belief.admits(frame)
    told = f.decode_heartbeat(f.decode_feed_message(f.split_frame(frame)[1]).body)
    assert (told.feed, told.source, told.reason) == ("stale", "none", "nats is away")
