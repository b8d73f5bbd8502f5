"""Tests that no reader harms another: at Kite's full rate, 6,000 ticks per second."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import zmq

from kitefeed.protocol import feed as f
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.sockets import connect_feed
from kitefeed.protocol.topics import NUL, TICK, snapshot_request, tick_topic
from kitefeed.protocol.topology import FEED, Role, endpoint
from tests.faults import soak
from tests.faults.probe import Probe
from tests.faults.reader import Reader
from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.full_rate, pytest.mark.timeout(300)]

RATE_MIN = 5_000  # per second; a loaded host may be somewhat behind the 6,000
STOPPED_MB_MAX = 8  # what waits for a reader that stands still until it is cut off, 3 s later
FLOOD_MB_MAX = 20  # libzmq's and our tables of 20,000 topics
CUT_MB_MAX = 10
LATER_MS = 20.0  # of a p99 of milliseconds, as noise


@pytest.fixture(scope="module")
def full() -> Iterator[Rig]:
    options = ("--instruments", str(soak.INSTRUMENTS), "--tick-hz", str(soak.TICK_HZ))
    with Rig(simulator_options=options) as rig:
        rig.start()
        soak.subscribe_all(rig, soak.INSTRUMENTS)
        with Reader(rig) as reader:
            yield rig
    assert reader.lies == []
    assert reader.judged > 0


@pytest.fixture
def probe(full: Rig) -> Iterator[Probe]:
    with Probe(full.run_dir) as probe:
        eventually(lambda: probe.ticks > RATE_MIN, 10)
        yield probe
    assert probe.violations == []


def rate_over(probe: Probe, seconds: float) -> float:
    """Ticks per second from now on; pauses are counted anew."""
    probe.forget_pauses()
    before, start_ns = probe.ticks, boot_ns()
    eventually(lambda: boot_ns() - start_ns > seconds * 1e9, seconds + 5)
    return (probe.ticks - before) / seconds


def rss_mb(rig: Rig) -> float:
    with open(f"/proc/{rig.pid_of(Role.BROADCASTER)}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_16_a_stopped_subscriber_of_everything_changes_nothing_for_another(
    full: Rig, probe: Probe
) -> None:
    tail = [sys.executable, "-m", "kitefeed.cli", "tail", "--json"]
    stopped = subprocess.Popen(tail, env=full.env, stdout=subprocess.PIPE)
    assert stopped.stdout is not None
    try:
        assert stopped.stdout.readline()
        assert rate_over(probe, 5) > RATE_MIN
        before_ms, before_mb = probe.p99_ms, rss_mb(full)
        stopped.send_signal(signal.SIGSTOP)
        assert rate_over(probe, 15) > RATE_MIN
        after_ms, after_mb = probe.p99_ms, rss_mb(full)
        print(f"p99 {before_ms:.1f} -> {after_ms:.1f} ms; {before_mb:.0f} -> {after_mb:.0f} MB")
        assert probe.longest_pause_s < 1.5
        assert after_ms < 1.5 * before_ms + LATER_MS
        assert after_mb < before_mb + STOPPED_MB_MAX
    finally:
        stopped.kill()
        stopped.communicate()


def test_20_a_flood_of_long_subscriptions_is_cut_off(full: Rig, probe: Probe) -> None:
    """Without the limit of the socket, 20,000 of them cost 3.5 GB."""
    flood = connect_feed(endpoint(full.run_dir, FEED))
    before_mb = rss_mb(full)
    try:
        for n in range(20_000):
            flood.setsockopt(zmq.SUBSCRIBE, tick_topic(f"NSE:{n}").ljust(4_096, b"x"))
        assert rate_over(probe, 10) > RATE_MIN
        print(f"{before_mb:.0f} -> {rss_mb(full):.0f} MB")
        assert rss_mb(full) < before_mb + CUT_MB_MAX
        assert probe.longest_pause_s < 1.5
    finally:
        flood.close(0)


def test_20_a_flood_of_subscriptions_changes_nothing_for_another(full: Rig, probe: Probe) -> None:
    flood = connect_feed(endpoint(full.run_dir, FEED))
    before_mb = rss_mb(full)
    try:
        for n in range(20_000):
            flood.setsockopt(zmq.SUBSCRIBE, tick_topic(f"NSE:FLOOD{n}") + NUL)
        for n in range(50):
            flood.setsockopt(zmq.SUBSCRIBE, snapshot_request(f"{n:012x}", TICK))
        assert rate_over(probe, 15) > RATE_MIN
        assert probe.longest_pause_s < 1.5
        print(f"{before_mb:.0f} -> {rss_mb(full):.0f} MB")
        assert rss_mb(full) < before_mb + FLOOD_MB_MAX
        assert full.status()["feed"] == "live"
    finally:
        flood.close(0)


def test_18_three_thousand_exact_topics_arrive_also_after_a_restart(full: Rig) -> None:
    topics = {tick_topic(key) for key in soak.first_keys(full, soak.INSTRUMENTS)}
    reader = connect_feed(endpoint(full.run_dir, FEED))
    try:
        for topic in topics:
            reader.setsockopt(zmq.SUBSCRIBE, topic + NUL)
        gen = until_all(reader, topics, after_gen=0)
        os.kill(full.pid_of(Role.BROADCASTER), signal.SIGKILL)
        assert until_all(reader, topics, after_gen=gen) > gen
    finally:
        reader.close(0)


def until_all(reader: "zmq.Socket[bytes]", topics: set[bytes], after_gen: int) -> int:
    """Reads until each has come in a later life of the broadcaster; which life that is."""
    missing, gen = set(topics), 0

    def is_complete() -> bool:
        nonlocal gen
        while missing and reader.poll(0):
            topic, array = f.split_frame(reader.recv())
            gen = f.decode_feed_message(array).gen
            if gen > after_gen:
                missing.discard(topic)
        return not missing

    eventually(is_complete, 15)
    return gen


def test_37_two_minutes_at_full_rate_under_random_faults_leave_nothing_wrong() -> None:
    """`make soak` goes on for hours, and measures memory."""
    assert soak.run(minutes=2, seed=1, instruments=soak.INSTRUMENTS) == 0
