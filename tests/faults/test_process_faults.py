"""Faults of processes: killed, stopped, started twice, in any order, on a full disk.

The numbers in the names are those of the fault table in docs/faults.md.
"""

import os
import random
import signal
import subprocess
import sys

import pytest

from kitefeed import Feed
from kitefeed.actors.runtime import locks
from kitefeed.protocol import feed as f
from kitefeed.protocol import sockets
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.topology import FEED, Role, socket_path
from tests.faults.probe import Ledger, Probe
from tests.faults.reader import Reader
from tests.integration.rig import INSTRUMENTS, Rig
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


def seconds_since(start_ns: int, end_ns: int = 0) -> float:
    return ((end_ns or boot_ns()) - start_ns) / 1e9


def all_fresh(feed: Feed) -> bool:
    return all(feed[key].is_fresh for key in INSTRUMENTS)


def kill(rig: Rig, *roles: Role) -> int:
    """kill -9 of all of them at once; returns when."""
    pids = [rig.pid_of(role) for role in roles]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return boot_ns()


def until_fresh(rig: Rig, within_s: float) -> None:
    with rig.feed(*INSTRUMENTS) as feed:
        eventually(lambda: all_fresh(feed), within_s)


@pytest.mark.parametrize("seed", range(3))
def test_01_the_actors_may_start_in_any_order(seed: int) -> None:
    rng = random.Random(seed)
    roles = list(Role)
    rng.shuffle(roles)
    with Rig() as rig:
        rig.log_in(rig.simulator.ready)
        started: list[subprocess.Popen[bytes]] = []
        try:
            with Probe(rig.run_dir) as probe:
                for role in roles:
                    actor = [sys.executable, "-m", "kitefeed.cli", "actor", role]
                    started.append(subprocess.Popen(actor, env=rig.env, stderr=subprocess.DEVNULL))
                    eventually(lambda role=role: rig.pid_of(role), 10)
                start_ns = boot_ns()
                eventually(lambda: probe.ticks, 8)
                assert seconds_since(start_ns, probe.lives[0].first_tick_ns) < 3, f"order {roles}"
                rig.until("live", 5)
                with Reader(rig) as reader:
                    eventually(lambda: reader.judged > 20, 5)
            assert probe.violations == []
            assert reader.lies == []
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(5)


def test_02_a_killed_ticker_is_replaced_under_a_new_epoch(rig: Rig, probe: Probe) -> None:
    epoch = rig.status()["epoch"]
    with rig.feed(*INSTRUMENTS) as feed:
        start_ns = kill(rig, Role.TICKER)
        eventually(lambda: not any(feed[key].is_fresh for key in INSTRUMENTS), 3)
        assert all(feed[key].last_price > 0 for key in INSTRUMENTS)
        eventually(lambda: all_fresh(feed) and feed["NSE:INFY"].epoch > epoch, 8)
        assert seconds_since(start_ns) < 5


def test_03_a_killed_broadcaster_comes_back_with_all_values(rig: Rig, probe: Probe) -> None:
    with rig.feed(*INSTRUMENTS) as feed:
        eventually(lambda: all_fresh(feed), 5)
        gen = feed.gen
        start_ns = kill(rig, Role.BROADCASTER)
        eventually(lambda: feed.gen > gen and feed["NSE:INFY"].gen > gen, 8)
        eventually(lambda: all_fresh(feed), 8)
        assert feed.gaps == 0
    life = probe.lives[-1]
    assert len(probe.lives) == 2
    assert seconds_since(start_ns, life.first_tick_ns) < 2
    assert seconds_since(start_ns, life.complete_ns) < 3


def test_04_a_killed_supervisor_costs_no_tick(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    ledger = Ledger(rig, probe)
    epoch = rig.status()["epoch"]
    start_ns = kill(rig, Role.SUPERVISOR)
    rig.until("live", 8)
    assert seconds_since(start_ns) < 3
    ledger.assert_none_lost()
    assert rig.status()["epoch"] == epoch
    assert rig.simulator.stats()["handshakes"]["total"]["101"] == 1


def test_05_supervisor_and_ticker_killed_together_recover(rig: Rig, probe: Probe) -> None:
    with rig.feed(*INSTRUMENTS) as feed:
        epoch = feed["NSE:INFY"].epoch
        start_ns = kill(rig, Role.SUPERVISOR, Role.TICKER)
        eventually(lambda: all_fresh(feed) and feed["NSE:INFY"].epoch > epoch, 9)
        assert seconds_since(start_ns) < 6


@pytest.mark.parametrize("role", [Role.TOKEN_VALIDATOR, Role.AUTH_WATCHER, Role.REST_POLLER])
def test_06_the_others_may_be_killed_without_any_effect(rig: Rig, probe: Probe, role: Role) -> None:
    until_fresh(rig, 5)
    ledger = Ledger(rig, probe)
    before = rig.pid_of(role)
    start_ns = kill(rig, role)
    eventually(lambda: rig.pid_of(role) not in (0, before), 5)
    assert seconds_since(start_ns) < 3
    assert rig.status()["feed"] == "live"
    ledger.assert_none_lost()


def test_06_a_login_while_the_watcher_is_dead_is_not_lost(rig: Rig, probe: Probe) -> None:
    rig.simulator.fault("kill")
    rig.until("login_required", 5)
    session = rig.simulator.login()
    kill(rig, Role.AUTH_WATCHER)
    rig.log_in(session)
    rig.until("live", 8)


def test_08_a_stopped_ticker_is_killed_and_what_it_says_later_is_fenced(
    rig: Rig, probe: Probe
) -> None:
    pid, epoch = rig.pid_of(Role.TICKER), rig.status()["epoch"]
    with rig.feed(*INSTRUMENTS) as feed:
        os.kill(pid, signal.SIGSTOP)
        start_ns = boot_ns()
        eventually(lambda: rig.pid_of(Role.TICKER) not in (0, pid), 12)
        eventually(lambda: all_fresh(feed) and feed["NSE:INFY"].epoch > epoch, 8)
        assert seconds_since(start_ns) < 10
        said = say_under(rig, epoch)
    assert fenced(rig) >= said  # and none was let through: the probe would have seen it


def test_08_what_a_ticker_reads_after_it_stood_still_says_how_old_it_may_be(
    rig: Rig, probe: Probe
) -> None:
    until_fresh(rig, 5)
    pid = rig.pid_of(Role.TICKER)
    probe.forget_pauses()
    os.kill(pid, signal.SIGSTOP)
    start_ns = boot_ns()
    eventually(lambda: seconds_since(start_ns) > 2.5, 4)
    os.kill(pid, signal.SIGCONT)
    until_fresh(rig, 5)
    assert rig.pid_of(Role.TICKER) == pid
    assert probe.longest_inside_s > 1.5


def say_under(rig: Rig, epoch: int) -> int:
    """Say in place of the ticker, which was killed, what it would say if it were continued; return
    how often."""
    source = sockets.connect_ingest(rig.run_dir)
    before, batches = fenced(rig), 50
    try:
        assert source.poll(3_000)  # the broadcaster subscribes
        topic = b"tick/NSE:INFY"
        for number in range(1, batches + 1):
            now_ns = boot_ns()
            batch = f.IngestBatch(f.VERSION, 0, epoch, f.Source.WEBSOCKET, number, now_ns, now_ns,
                                  0, 0, [], [topic], [b"\xc0"])  # fmt: skip
            source.send(f.encode(batch))
        eventually(lambda: fenced(rig) >= before + batches, 5, every_s=0.2)
    finally:
        source.close(0)
    return batches


def fenced(rig: Rig) -> int:
    rows = {row["role"]: row["counters"] for row in rig.status()["actors"]}
    count: int = rows[Role.BROADCASTER]["fenced"]
    return count


def test_09_a_stopped_broadcaster_catches_up(rig: Rig, probe: Probe) -> None:
    ledger = Ledger(rig, probe)
    pid = rig.pid_of(Role.BROADCASTER)
    with rig.feed(*INSTRUMENTS) as feed:
        os.kill(pid, signal.SIGSTOP)
        start_ns = boot_ns()
        eventually(lambda: feed.status.feed == "lost", 4)
        assert not any(feed[key].is_fresh for key in INSTRUMENTS)
        eventually(lambda: seconds_since(start_ns) > 3, 4)
        os.kill(pid, signal.SIGCONT)
        start_ns = boot_ns()
        eventually(lambda: all_fresh(feed), 5)
        assert seconds_since(start_ns) < 1
        assert feed.gaps == 0
    ledger.assert_none_lost()


def test_10_a_stopped_supervisor_is_killed_and_costs_no_tick(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    ledger = Ledger(rig, probe)
    pid = rig.pid_of(Role.SUPERVISOR)
    os.kill(pid, signal.SIGSTOP)
    asked = rig.kitefeed("status")
    assert asked.returncode == Exit.UNAVAILABLE, asked.stderr
    eventually(lambda: rig.pid_of(Role.SUPERVISOR) not in (0, pid), 25)
    rig.until("live", 8)
    ledger.assert_none_lost()
    assert rig.simulator.stats()["handshakes"]["total"]["101"] == 1


def test_11_a_stopped_supervisord_and_its_unread_log_cost_no_tick(rig: Rig, probe: Probe) -> None:
    assert rig.daemon is not None
    until_fresh(rig, 5)
    ledger = Ledger(rig, probe)
    os.kill(rig.daemon.pid, signal.SIGSTOP)
    try:
        start_ns = boot_ns()
        eventually(lambda: seconds_since(start_ns) > 8, 10)
        assert rig.status()["feed"] == "live"
        ledger.assert_none_lost()
    finally:
        os.kill(rig.daemon.pid, signal.SIGCONT)


def test_12_a_second_daemon_refuses_within_a_second(rig: Rig, probe: Probe) -> None:
    ledger = Ledger(rig, probe)
    holders = locks.live_holders(rig.run_dir)
    start_ns = boot_ns()
    second = rig.kitefeed("up")
    assert seconds_since(start_ns) < 1
    assert second.returncode == Exit.TRY_LATER
    assert locks.live_holders(rig.run_dir) == holders
    ledger.assert_none_lost()


def test_13_a_killed_supervisord_leaves_no_second_set_and_no_second_socket(rig: Rig) -> None:
    assert rig.daemon is not None
    rig.daemon.kill()
    rig.daemon.wait(5)
    rig.start()
    eventually(lambda: rig.simulator.stats()["sockets"]["open"] == 1, 10, every_s=0.2)
    assert rig.until("live", 5)
    assert rig.simulator.stats()["sockets"]["most_open"] == 1
    assert len(locks.live_holders(rig.run_dir)) == len(Role)


def test_14_a_deleted_socket_file_is_made_again(rig: Rig, probe: Probe) -> None:
    ledger = Ledger(rig, probe)
    path = socket_path(rig.run_dir, FEED)
    path.unlink()
    start_ns = boot_ns()
    eventually(path.exists, 8)
    assert seconds_since(start_ns) < 6
    until_fresh(rig, 5)
    ledger.assert_none_lost()


def test_15_a_state_directory_that_cannot_be_written_costs_no_tick(rig: Rig, probe: Probe) -> None:
    """As root a mode is no hindrance, so the directory is replaced by a file."""
    until_fresh(rig, 5)
    state = rig.root / "state"
    ledger = Ledger(rig, probe)
    state.rename(rig.root / "moved")
    state.write_bytes(b"")
    try:
        eventually(lambda: "last_values" in rig.output() or "written" in rig.output(), 15)
        assert rig.status()["feed"] == "live"
        ledger.assert_none_lost()
    finally:
        state.unlink()
        (rig.root / "moved").rename(state)


def test_35_an_actor_that_dies_by_a_signal_of_its_own_is_replaced(rig: Rig, probe: Probe) -> None:
    """SIGABRT ends the process as a failed assertion in a C library would."""
    before = rig.pid_of(Role.TOKEN_VALIDATOR)
    os.kill(before, signal.SIGABRT)
    eventually(lambda: rig.pid_of(Role.TOKEN_VALIDATOR) not in (0, before), 5)
    assert rig.status()["feed"] == "live"
