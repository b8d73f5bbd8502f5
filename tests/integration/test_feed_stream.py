"""Tests what streams: orders and notices, wishes of programs and operators, faults of the
socket."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topology import Role
from tests.integration.rig import INSTRUMENTS, Rig, Truth
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


def test_no_token_is_in_a_command_line_or_environment_of_any_process(rig: Rig) -> None:
    for role in Role:
        pid = rig.pid_of(role)
        assert pid
        rig.assert_no_token(Path(f"/proc/{pid}/cmdline"))
        try:
            rig.assert_no_token(Path(f"/proc/{pid}/environ"))
        except PermissionError:  # who holds the token lets nobody but root look in
            assert os.geteuid() != 0
            assert role not in (Role.SUPERVISOR, Role.BROADCASTER)


def test_order_updates_and_notices_reach_their_topics(rig: Rig) -> None:
    import zmq

    from kitefeed.protocol.feed import decode_feed_message, split_frame

    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    try:
        for family in (b"order/", b"notice/"):
            socket.subscribe(family)
        socket.connect(f"ipc://{rig.run_dir}/feed.sock")
        eventually(lambda: rig.status()["subscribers"] >= 1, 5, every_s=0.2)
        rig.simulator.post("order", {"status": "COMPLETE", "tradingsymbol": "INFY"})
        rig.simulator.post("notice", {"type": "message", "data": "trading halt"})
        rig.simulator.post("notice", {"type": "error", "data": "too many"})
        found = {}
        while len(found) < 3:
            assert socket.poll(5_000)
            topic, array = split_frame(socket.recv())
            found[topic.split(b"/")[0] + b"/" + topic.split(b"/")[1][:5]] = bytes(
                decode_feed_message(array).body
            )
    finally:
        socket.close(0)
    assert any(b"COMPLETE" in body for body in found.values())
    assert any(b"trading halt" in body for body in found.values())
    assert any(b"too many" in body for body in found.values())


def test_an_instrument_nobody_streams_is_subscribed_upstream_by_listening(rig: Rig) -> None:
    with rig.feed("NSE:TCS") as feed:
        eventually(lambda: feed.get("NSE:TCS") is not None and feed["NSE:TCS"].is_fresh, 5)
    assert "2953217" in rig.simulator.stats()["last_packets"]


def test_subscribe_answers_when_the_first_packet_came_and_is_remembered(rig: Rig) -> None:
    done = rig.kitefeed("subscribe", "NSE:HDFCBANK", "--mode", "ltp")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "confirmed" in done.stdout
    wrong = rig.kitefeed("subscribe", "NSE:RELIANC")
    assert wrong.returncode == 65
    assert "NSE:RELIANCE" in wrong.stdout + wrong.stderr
    os.kill(rig.pid_of(Role.SUPERVISOR), signal.SIGKILL)
    wanted = len(INSTRUMENTS) + 1
    eventually(
        lambda: rig.status().get("subscriptions", {}).get("wanted") == wanted, 8, every_s=0.2
    )
    assert rig.kitefeed("unsubscribe", "NSE:HDFCBANK").returncode == 0


def test_what_kite_has_not_confirmed_is_named_with_how_long_until_it_is_repaired(rig: Rig) -> None:
    rig.simulator.fault("lose_mode", "3")  # until 10 s after the first
    done = rig.kitefeed("subscribe", "NSE:HDFCBANK", "--mode", "full")
    assert done.returncode == 75, done.stderr + done.stdout
    assert re.search(r"comes in quote only, full was asked for \d+ s ago", done.stdout)

    def unconfirmed() -> list[dict[str, object]]:
        found: list[dict[str, object]] = rig.status()["subscriptions"]["unconfirmed"]
        return found

    (named,) = unconfirmed()
    assert named["since_s"] >= 5
    del named["since_s"]
    assert named == {"instrument": "NSE:HDFCBANK", "mode": "full", "comes_in": "quote"}
    assert "NSE:HDFCBANK: comes in quote only" in rig.kitefeed("status").stdout
    eventually(lambda: not unconfirmed(), 10, every_s=0.3)
    with rig.feed("NSE:HDFCBANK") as feed:
        eventually(lambda: feed["NSE:HDFCBANK"].depth is not None, 5)
    counts = rig.status()["subscriptions"]
    assert counts["asked"] == counts["confirmed"]
    assert rig.kitefeed("unsubscribe", "NSE:HDFCBANK").returncode == 0


def test_a_lost_subscribe_is_repeated_and_so_is_its_end(rig: Rig) -> None:
    rig.simulator.fault("lose_subscribe")
    done = rig.kitefeed("subscribe", "NSE:TATAMOTORS")
    assert done.returncode == 0, done.stderr + done.stdout  # asked again within its five seconds
    rig.simulator.fault("lose_unsubscribe")
    assert rig.kitefeed("unsubscribe", "NSE:TATAMOTORS").returncode == 0
    eventually(lambda: rig.simulator.stats()["subscribed"]["1"] == [len(INSTRUMENTS)], 8)


def test_a_value_that_nobody_streams_any_more_reads_stale(rig: Rig) -> None:
    assert rig.kitefeed("subscribe", "NSE:TATAMOTORS").returncode == 0
    with rig.feed() as everything:
        eventually(lambda: everything["NSE:TATAMOTORS"].is_fresh, 5)
        assert rig.kitefeed("unsubscribe", "NSE:TATAMOTORS").returncode == 0
        eventually(lambda: not everything["NSE:TATAMOTORS"].is_fresh, 3)
        eventually(lambda: everything["NSE:INFY"].is_fresh, 3)
    with rig.feed() as later:
        assert not later["NSE:TATAMOTORS"].is_fresh


def test_a_silent_socket_reads_stale_at_once_and_is_replaced(rig: Rig) -> None:
    with rig.feed(*INSTRUMENTS) as feed, Truth(rig.simulator, slack_s=4.5) as truth:
        rig.simulator.fault("silence")
        start_ns = boot_ns()
        eventually(lambda: not feed["NSE:INFY"].is_fresh, 5)
        handshakes = rig.simulator.stats()["handshakes"]["total"]["101"]
        eventually(lambda: rig.simulator.stats()["handshakes"]["total"]["101"] > handshakes, 15)
        assert 9 < (boot_ns() - start_ns) / 1e9 < 13 * slowness()
        rig.simulator.fault("clear")
        eventually(lambda: feed["NSE:INFY"].is_fresh, 15)
        for key in INSTRUMENTS:
            truth.judge(feed[key])
    assert truth.lies == []


def test_a_dropped_socket_is_reconnected_at_once_without_an_error_line(rig: Rig) -> None:
    with rig.feed(*INSTRUMENTS) as feed:
        epoch, errors = rig.status()["epoch"], rig.errors()
        rig.simulator.fault("drop_ws", "rst")
        eventually(lambda: feed["NSE:INFY"].is_fresh and feed["NSE:INFY"].epoch > epoch, 5)
    assert rig.errors() == errors


def test_bad_frames_cost_no_good_value(rig: Rig) -> None:
    errors = rig.errors()
    with rig.feed(*INSTRUMENTS) as feed:
        rig.simulator.fault("garbage")
        eventually(lambda: _bad_frames(rig) > 0, 10, every_s=0.3)
        seq = feed["NSE:INFY"].seq
        eventually(lambda: feed["NSE:INFY"].seq > seq + 2 and feed["NSE:INFY"].is_fresh, 8)
    assert rig.errors() == errors


def _bad_frames(rig: Rig) -> int:
    ticker = next(row for row in rig.status()["actors"] if row["role"] == "ticker")
    return int(ticker["counters"].get("bad_frames", 0))


def test_a_stopped_subscriber_changes_nothing_for_another(rig: Rig) -> None:
    tail = [sys.executable, "-m", "kitefeed.cli", "tail"]
    stopped = subprocess.Popen(tail, env=rig.env, stdout=subprocess.PIPE)
    try:
        assert stopped.stdout is not None
        assert stopped.stdout.readline()
        stopped.send_signal(signal.SIGSTOP)
        with rig.feed(*INSTRUMENTS) as other:
            seq = other["NSE:INFY"].seq
            eventually(lambda: other["NSE:INFY"].seq > seq + 5, 10)
            assert other.gaps == 0
            eventually(lambda: other["NSE:INFY"].is_fresh, 5)
    finally:
        stopped.send_signal(signal.SIGCONT)
        stopped.kill()
        stopped.communicate()
