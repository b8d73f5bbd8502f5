"""Processes that are killed, stopped or started twice, under a program that reads."""

import json
import os
import signal

import pytest

from kitefeed import Feed
from kitefeed.actors.runtime import locks
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topology import Role
from tests.integration.rig import INSTRUMENTS, Rig, Truth
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


def test_each_actor_can_be_killed_while_a_subscriber_reads_the_truth(rig: Rig) -> None:
    with rig.feed(*INSTRUMENTS) as feed, Truth(rig.simulator, slack_s=3.5) as truth:
        for role in Role:
            _kill_and_heal(rig, feed, truth, role)
        assert feed.gaps == 0
    assert truth.judged > 100
    assert truth.lies == []


def _kill_and_heal(rig: Rig, feed: Feed, truth: Truth, role: Role) -> None:
    before = rig.pid_of(role)
    os.kill(before, signal.SIGKILL)
    start_ns = boot_ns()

    def is_healed() -> bool:
        for key in INSTRUMENTS:
            truth.judge(feed[key])
        is_back = rig.pid_of(role) not in (0, before)
        return is_back and feed.status.feed == "live" and feed["NSE:INFY"].is_fresh

    eventually(is_healed, 15)
    took_s = (boot_ns() - start_ns) / 1e9
    assert took_s < 5 * slowness(), f"{role} took {took_s:.1f} s"
    eventually(lambda: rig.status().get("feed") == "live", 5)


def test_a_process_that_died_is_started_again_at_once(own_rig: Rig) -> None:
    """supervisord by itself would look after a second, and act in the round after that."""
    start_ns = boot_ns()
    eventually(lambda: boot_ns() - start_ns > 4e9, 5)  # longer than `startsecs`
    for role in (Role.AUTH_WATCHER, Role.TOKEN_VALIDATOR, Role.REST_POLLER, Role.BROADCASTER):
        before = own_rig.pid_of(role)
        os.kill(before, signal.SIGKILL)
        killed_s = boot_ns() / 1e9
        pid = eventually(lambda role=role, before=before: _replaced(own_rig, role, before), 8)
        started_s = locks.start_ticks(pid) / os.sysconf("SC_CLK_TCK")
        assert started_s - killed_s < 0.5 * slowness(), role


def _replaced(rig: Rig, role: Role, before: int) -> int:
    pid = rig.pid_of(role)
    return 0 if pid == before else pid


def test_sigterm_stops_every_process(own_rig: Rig) -> None:
    rig = own_rig
    assert rig.daemon is not None
    pids = [rig.pid_of(role) for role in Role]
    start_ns = boot_ns()
    rig.daemon.terminate()
    rig.daemon.wait(10 * slowness())
    assert (boot_ns() - start_ns) / 1e9 < 5 * slowness()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_when_supervisord_is_killed_no_actor_is_left_and_no_second_set_starts(
    own_rig: Rig,
) -> None:
    rig = own_rig
    assert rig.daemon is not None
    rig.daemon.kill()
    rig.daemon.wait(5 * slowness())
    eventually(lambda: not any(rig.pid_of(role) for role in Role), 6)
    rig.start()
    assert json.dumps(rig.simulator.stats()["sockets"]["open"]) == "1"


def test_a_second_up_refuses_and_leaves_the_first_alone(rig: Rig) -> None:
    pids = [rig.pid_of(role) for role in Role]
    second = rig.kitefeed("up")
    assert second.returncode == 75
    assert "already" in second.stderr
    assert [rig.pid_of(role) for role in Role] == pids
    rig.until("live", 5)
