"""Programs that leave: by themselves, killed, frozen. What only they read ends upstream.

The number in the name is that of the fault table in docs/faults.md.
"""

import signal

import pytest
import zmq

from kitefeed import Feed
from kitefeed.protocol import sockets
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, NUL
from kitefeed.protocol.topology import FEED, endpoint
from tests.faults.reader import Reader
from tests.integration.rig import INSTRUMENTS, Rig
from tests.support import Processes, eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

PROGRAM = "import sys, kitefeed\nfor tick in kitefeed.Feed(sys.argv[1]): pass"
GRACE_S = 30.0
LEFT, KILLED, FROZEN = "NSE:TCS", "NSE:HDFCBANK", "NSE:TATAMOTORS"


def streams(rig: Rig) -> int:
    """Return how many instruments Kite has been asked for on the one socket."""
    sockets: list[int] = rig.simulator.stats()["subscribed"]["1"]
    return sum(sockets)


def wait_heartbeats(rig: Rig, count: int) -> None:
    socket = sockets.connect_feed(endpoint(rig.run_dir, FEED))
    try:
        socket.setsockopt(zmq.SUBSCRIBE, HEARTBEAT_TOPIC + NUL)
        for _ in range(count):
            assert socket.poll(5_000)
            socket.recv()
    finally:
        socket.close(0)


def test_38_what_only_programs_read_that_left_died_or_froze_is_unsubscribed() -> None:
    with Rig() as rig, Processes() as processes:
        rig.start()
        with Reader(rig) as reader:
            _programs_leave(rig, processes)
    assert reader.lies == []
    assert reader.judged > 0


def _programs_leave(rig: Rig, processes: Processes) -> None:
    """One who stays reads the configured instruments all the time."""
    base = len(INSTRUMENTS)
    programs = [processes.start("-c", PROGRAM, key, env=rig.env) for key in (LEFT, KILLED, FROZEN)]
    eventually(lambda: streams(rig) == base + 3, 10)
    wait_heartbeats(rig, 3)  # the first ping of a program, after a second, tells the daemon its TTL
    for program, by in zip(programs, (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP), strict=True):
        program.send_signal(by)
    # One that is back within the grace finds everything as it was.
    eventually(lambda: rig.status()["subscribers"] == 1, 10)
    assert streams(rig) == base + 3
    before = rig.simulator.stats()["messages"]
    with Feed(LEFT, config=rig.config) as feed:
        eventually(lambda: feed.get(LEFT), 5)
    assert rig.simulator.stats()["messages"] == before

    eventually(lambda: streams(rig) == base, GRACE_S + 15, every_s=0.5)
    assert rig.status()["subscriptions"]["confirmed"] == base
    programs[2].send_signal(signal.SIGCONT)
    eventually(lambda: streams(rig) == base + 1, 10)
