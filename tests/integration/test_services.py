"""The services beside the six: whatever happens to one, no reader of the feed loses a tick."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from kitefeed.client.feed import Feed
from kitefeed.protocol.clock import boot_ns
from kitefeed.services.table import SERVICES
from tests.integration.rig import Rig
from tests.integration.test_gateway import free_port
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

# The others have tests of their own beside the server that they need.
NAMES = sorted(SERVICES.keys() - {"nats_bridge"})
STOPPED_S = 14.0  # longer than who takes nothing is borne with


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    tables = (
        '[login]\nat = "08:00"\n[alerts]\ncommand = ["true"]\n'
        f'[kite_endpoint]\nlisten = "127.0.0.1:{free_port()}"\n[record]\ndir = "record"\n'
    )
    with Rig(gateway=f"127.0.0.1:{free_port()}", tables=tables) as found:
        found.start()
        eventually(lambda: all(found.pid_of(name) for name in NAMES), 60)
        yield found


def read_until(feed: Feed, condition: Callable[[], bool], within_s: float) -> None:
    """As `eventually`, reading all the while: a program that does not is told the newest alone."""
    eventually(lambda: feed.next_batch(0) is not None and condition(), within_s)


def read_for(feed: Feed, seconds: float) -> None:
    until_ns = boot_ns() + int(seconds * 1e9)
    while boot_ns() < until_ns:
        assert feed.next(5) is not None


def lost(feed: Feed) -> int:
    return feed.gaps + feed.skipped + feed.overrun


@pytest.mark.parametrize("name", NAMES)
def test_a_service_that_is_killed_is_back_and_costs_no_tick(rig: Rig, name: str) -> None:
    with rig.feed("NSE:INFY", "NSE:RELIANCE") as feed:
        before = rig.pid_of(name)
        os.kill(before, signal.SIGKILL)
        read_until(feed, lambda: rig.pid_of(name) not in (0, before), 60)
        read_for(feed, 1)
        assert lost(feed) == 0
    rig.until("live", 5)


def test_services_that_hang_all_at_once_cost_no_tick(rig: Rig) -> None:
    pids = {name: rig.pid_of(name) for name in NAMES}
    with rig.feed("NSE:INFY", "NSE:RELIANCE") as feed:
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        try:
            read_for(feed, STOPPED_S)
            rig.until("live", 5)
        finally:
            for pid in pids.values():
                os.kill(pid, signal.SIGCONT)
        read_for(feed, 2)
        assert lost(feed) == 0
    assert {name: rig.pid_of(name) for name in NAMES} == pids
    assert rig.errors() == []
