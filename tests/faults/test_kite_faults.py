"""Faults of Kite and of the network, as the simulator makes them."""

import itertools
import os
import shutil
import signal
from statistics import median

import pytest

from kitefeed.protocol.clock import boot_ns
from tests.faults.probe import Probe
from tests.faults.test_process_faults import seconds_since, until_fresh
from tests.integration.rig import INSTRUMENTS, Rig, Truth
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


def handshakes(rig: Rig, status: int) -> list[float]:
    """When handshakes of this status were, in seconds by the simulator's own stamps."""
    recent = rig.simulator.stats()["handshakes"]["recent"]
    return [row["at_ns"] / 1e9 for row in recent if row["status"] == status]


def requests(rig: Rig, route: str) -> list[float]:
    found = rig.simulator.stats()["requests"]["recent_ns"].get(route, [])
    return [at_ns / 1e9 for at_ns in found]


def test_17_fifty_subscribers_at_once_all_get_every_value(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    probe.forget_pauses()
    start_ns = boot_ns()
    feeds = [rig.feed(*INSTRUMENTS) for _ in range(50)]
    try:
        for feed in feeds:
            assert set(feed.snapshot()) == set(INSTRUMENTS)
        assert seconds_since(start_ns) < 10
        eventually(lambda: rig.status()["subscribers"] >= 50, 5, every_s=0.3)
        assert probe.longest_pause_s < 1.5
    finally:
        for feed in feeds:
            feed.close()


def test_22_a_refused_socket_is_tried_on_the_ladder_and_then_once_a_minute(
    rig: Rig, probe: Probe
) -> None:
    with rig.feed(*INSTRUMENTS) as feed, Truth(rig.simulator, slack_s=12) as truth:
        rig.simulator.fault("refuse_ws", 403)
        rig.until("rest", 30)
        start_ns = boot_ns()
        while seconds_since(start_ns) < 18:
            feed.next(0.2)
            for key in INSTRUMENTS:
                truth.judge(feed[key])
        tries = handshakes(rig, 403)
        assert len(tries) == 3
        assert [round(b - a) for a, b in itertools.pairwise(tries)] == [5, 15]
        polls = requests(rig, "GET /quote")[-4:]
        assert all(4.7 < b - a < 5.5 for a, b in itertools.pairwise(polls)), polls
        rig.simulator.fault("clear")
        rig.until("live", 65)
    assert truth.judged > 20
    assert truth.lies == []
    assert len(rig.errors()) == 1, rig.errors()


def test_23_a_login_is_live_within_bounds_in_each_of_fifty_runs(
    rig: Rig, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    took = []
    with rig.feed(*INSTRUMENTS) as feed:
        for _ in range(50):
            rig.simulator.fault("kill")
            eventually(lambda: feed.status.feed == "login_required", 10)
            session = rig.simulator.login()
            start_ns = boot_ns()
            rig.log_in(session)
            eventually(lambda: feed.status.feed == "live" and feed["NSE:INFY"].is_fresh, 8)
            took.append(seconds_since(start_ns))
    with capsys.disabled():
        print(
            f"\nlogin to live, {len(took)} runs: median {median(took):.2f} s, "
            f"maximum {max(took):.2f} s"
        )
    assert max(took) <= 5
    assert median(took) <= 1.5


@pytest.mark.parametrize("damage", ["torn", "mode", "link", "empty"])
def test_24_a_session_file_that_cannot_be_used_is_said_and_never_validated(
    rig: Rig, probe: Probe, damage: str
) -> None:
    path = rig.root / "state" / "session.json"
    good = path.read_bytes()
    before = len(requests(rig, "GET /user/profile"))
    if damage == "torn":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "mode":
        path.chmod(0o644)
    elif damage == "link":
        shutil.move(path, path.with_suffix(".other"))
        path.symlink_to(path.with_suffix(".other"))
    else:
        path.write_bytes(b"")
    start_ns = boot_ns()
    eventually(lambda: seconds_since(start_ns) > 3, 5)
    if damage == "empty":
        assert rig.status()["feed"] == "login_required"
    else:
        assert rig.status()["feed"] == "live"
        assert len(rig.errors()) == 1
    assert len(requests(rig, "GET /user/profile")) == before
    path.unlink()
    path.with_suffix(".other").unlink(missing_ok=True)
    rig.log_in(rig.simulator.login())
    rig.until("live", 8)


@pytest.mark.parametrize("how", ["close", "fin", "rst"])
def test_25_a_lost_socket_is_tried_again_within_half_a_second(
    rig: Rig, probe: Probe, how: str
) -> None:
    start_ns = boot_ns()
    eventually(lambda: seconds_since(start_ns) > 11, 12)  # stable: the next loss is a new one
    before = handshakes(rig, 101)
    rig.simulator.fault("drop_ws", how)
    dropped_ns = boot_ns()
    eventually(lambda: len(handshakes(rig, 101)) > len(before), 3)
    assert seconds_since(dropped_ns) < 1.5
    until_fresh(rig, 5)
    assert rig.errors() == []


def test_26_a_fourth_socket_waits_half_a_minute_and_names_the_cause(rig: Rig, probe: Probe) -> None:
    rig.simulator.fault("refuse_ws", 429)
    eventually(lambda: handshakes(rig, 429), 5)
    eventually(lambda: any("429" in line for line in rig.errors()), 5)
    assert rig.status()["retry_in_s"] > 25
    assert rig.status()["consecutive_403"] == 0


def test_27_a_silent_socket_is_replaced_after_ten_seconds(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    before = len(handshakes(rig, 101))
    rig.simulator.fault("silence")
    start_ns = boot_ns()
    eventually(lambda: len(handshakes(rig, 101)) > before, 15)
    assert 9 < seconds_since(start_ns) < 13


def test_28_heartbeats_without_ticks_while_the_market_moves_end_in_a_reconnect(
    rig: Rig, probe: Probe
) -> None:
    until_fresh(rig, 5)
    before = len(handshakes(rig, 101))
    with rig.feed(*INSTRUMENTS) as feed:
        rig.simulator.fault("mute")
        start_ns = boot_ns()
        eventually(lambda: not feed["NSE:INFY"].is_fresh, 8)
        eventually(lambda: len(handshakes(rig, 101)) > before, 20)
        assert seconds_since(start_ns) < 16
    rig.simulator.fault("clear")
    until_fresh(rig, 15)


def test_29_a_quiet_market_is_no_reason_to_reconnect(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    rig.simulator.fault("market", "closed")
    start_ns = boot_ns()
    eventually(lambda: seconds_since(start_ns) > 25, 30)
    assert len(handshakes(rig, 101)) == 1
    assert rig.errors() == []


def test_30_a_socket_outlives_its_session_until_it_drops(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    probe.forget_pauses()
    rig.simulator.fault("expire")
    rig.kitefeed("retry")
    eventually(lambda: rig.status()["session"] == "refused", 8, every_s=0.2)
    assert rig.status()["feed"] == "live"
    assert probe.longest_pause_s < 1.5
    assert rig.errors() == []
    rig.simulator.fault("drop_ws", "rst")
    rig.until("login_required", 8)
    assert len(rig.errors()) == 1


def test_31_thirty_seconds_without_a_network_are_one_condition(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    rig.simulator.fault("rest_down")
    rig.simulator.fault("refuse_ws", 503)
    start_ns = boot_ns()
    eventually(lambda: seconds_since(start_ns) > 30, 35)
    assert rig.status()["feed"] == "stale"
    assert rig.status()["consecutive_403"] == 0
    rig.simulator.fault("clear")
    rig.kitefeed("retry")
    back_ns = boot_ns()
    until_fresh(rig, 10)
    assert seconds_since(back_ns) < 5
    assert len(rig.errors()) == 1, rig.errors()


def test_a_plan_without_market_data_is_said_once(rig: Rig, probe: Probe) -> None:
    rig.simulator.fault("no_entitlement")
    rig.simulator.fault("drop_ws", "close")
    rig.until("no_entitlement", 10)
    start_ns = boot_ns()
    eventually(lambda: seconds_since(start_ns) > 10, 12)
    assert len(rig.errors()) == 1
    rig.simulator.fault("clear")
    rig.kitefeed("retry")
    rig.until("live", 8)


def test_a_rolling_restart_under_a_live_subscriber_loses_no_instrument(
    rig: Rig, probe: Probe
) -> None:
    from kitefeed.protocol.topology import Role

    with rig.feed(*INSTRUMENTS) as feed:
        for role in Role:
            before = rig.pid_of(role)
            os.kill(before, signal.SIGTERM)
            eventually(lambda role=role, before=before: rig.pid_of(role) not in (0, before), 8)
            eventually(lambda: all(feed[key].is_fresh for key in INSTRUMENTS), 10)
        assert feed.gaps == 0
    assert rig.status()["subscriptions"]["confirmed"] == len(INSTRUMENTS)
