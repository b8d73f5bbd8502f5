"""What one reader does must not harm another: at Kite's full rate, 6,000 ticks per second."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import zmq

from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.sockets import connect_feed
from kitefeed.protocol.topics import NUL, TICK, snapshot_request, tick_topic
from kitefeed.protocol.topology import FEED, Role, endpoint
from tests.faults import soak
from tests.faults.probe import Probe
from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

RATE_MIN = 5_000  # per second; a loaded host may be somewhat behind the 6,000
RSS_MB_MAX = 400


@pytest.fixture(scope="module")
def full() -> Iterator[Rig]:
    options = ("--instruments", str(soak.INSTRUMENTS), "--tick-hz", str(soak.TICK_HZ))
    with Rig(simulator_options=options) as rig:
        rig.start()
        soak.subscribe_all(rig, soak.INSTRUMENTS)
        yield rig


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
        stopped.send_signal(signal.SIGSTOP)
        assert rate_over(probe, 15) > RATE_MIN
        assert probe.longest_pause_s < 1.5
        assert rss_mb(full) < RSS_MB_MAX  # what waits for it is bounded, and freed when it is cut
    finally:
        stopped.kill()
        stopped.communicate()


def test_20_a_flood_of_subscriptions_changes_nothing_for_another(full: Rig, probe: Probe) -> None:
    flood = connect_feed(endpoint(full.run_dir, FEED))
    try:
        for n in range(20_000):
            flood.setsockopt(zmq.SUBSCRIBE, tick_topic(f"NSE:FLOOD{n}") + NUL)
        for n in range(50):
            flood.setsockopt(zmq.SUBSCRIBE, snapshot_request(f"{n:012x}", TICK))
        assert rate_over(probe, 15) > RATE_MIN
        assert probe.longest_pause_s < 1.5
        assert rss_mb(full) < RSS_MB_MAX
        assert full.status()["feed"] == "live"
    finally:
        flood.close(0)


def test_37_two_minutes_at_full_rate_under_random_faults_leave_nothing_wrong() -> None:
    """`make soak` goes on for hours, and measures memory."""
    assert soak.run(minutes=2, seed=1, instruments=soak.INSTRUMENTS) == 0
