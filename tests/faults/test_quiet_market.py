"""The one row that takes ten minutes, and nothing of the machine."""

import pytest

from kitefeed.protocol.clock import boot_ns
from tests.faults.probe import Probe
from tests.faults.test_kite_faults import handshakes
from tests.faults.test_process_faults import seconds_since, until_fresh
from tests.integration.rig import INSTRUMENTS, Rig
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(720)]


def test_29_a_quiet_market_is_no_reason_to_reconnect(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    rig.simulator.fault("market", "closed")
    start_ns = boot_ns()
    eventually(lambda: seconds_since(start_ns) > 600, 605, every_s=1)
    assert len(handshakes(rig, 101)) == 1
    with rig.feed(*INSTRUMENTS) as feed:
        eventually(lambda: len(feed.values()) == len(INSTRUMENTS), 5)
        is_any_fresh = any(feed[key].is_fresh for key in INSTRUMENTS)
        assert rig.status()["feed"] == ("live" if is_any_fresh else "stale")
    assert rig.errors() == []
    rig.simulator.fault("market", "open")
    until_fresh(rig, 5)
