"""The clock of the daemon's host, as a reader over NATS measures it."""

import sys
import threading

import pytest

from kitefeed.client.nats_belief import SAMPLES, Clock

S = 1_000_000_000
UTC_NS = 1_790_000_000 * S  # there, when our boot clock was 0


def test_the_measurement_that_took_least_time_counts_as_long_as_it_is_kept() -> None:
    clock = Clock()
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
    clock = Clock()
    clock.measured(10 * S, 10 * S + 2_000, UTC_NS + 10 * S + 1_000)
    assert not clock.contradicts(11 * S, UTC_NS + 11 * S)
    assert clock.contradicts(11 * S, UTC_NS + 12 * S)
    clock.measured(12 * S, 12 * S + 90_000, UTC_NS + 13 * S + 45_000)
    assert clock.best == (UTC_NS + S, 45_001)
    clock.forget()
    assert clock.best is None
    assert not clock.contradicts(0, UTC_NS)


def test_it_is_read_in_one_thread_while_it_is_measured_and_forgotten_in_another() -> None:
    clock = Clock()
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
    clock = Clock()
    clock.measured(0, 2_000, UTC_NS)
    clock.measured(0, 2_000, UTC_NS + set_by_ns)
    assert clock.best == (UTC_NS + set_by_ns - 1_000, 1_001)
