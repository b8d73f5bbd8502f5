"""The promises of the product, on real processes against the simulated Kite."""

import itertools
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed import Feed
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topology import Role
from tests.integration.rig import INSTRUMENTS, Rig, Truth
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Rig]:
    """One daemon for the tests that leave it as it was."""
    with Rig() as rig:
        rig.start()
        yield rig


@pytest.fixture
def rig(shared: Rig) -> Rig:
    shared.simulator.fault("clear")
    shared.until("live", 10)
    return shared


@pytest.fixture
def own_rig() -> Iterator[Rig]:
    """A daemon of its own, for tests that stop it or read everything it wrote."""
    with Rig() as rig:
        rig.start()
        yield rig


def test_a_killed_session_is_said_once_and_a_login_brings_live_back_by_itself(
    own_rig: Rig,
) -> None:
    rig = own_rig
    with rig.feed(*INSTRUMENTS) as feed:
        eventually(lambda: all(feed[key].is_fresh for key in INSTRUMENTS), 5)
        validations = rig.simulator.stats()["requests"]["total"]["GET /user/profile"]
        rig.simulator.fault("kill")
        status = rig.until("login_required", 5)
        assert status["source"] == "cache"
        assert not any(feed[key].is_fresh for key in INSTRUMENTS)
        assert {feed[key].source for key in INSTRUMENTS} == {"cache"}
        # Two rungs of the ladder: validations at 0, 5 and 20 s, and no more.
        eventually(lambda: feed["NSE:INFY"].age_s > 12, 20)
        asked = rig.simulator.stats()["requests"]["total"]["GET /user/profile"] - validations
        assert asked == 2
        assert feed["NSE:INFY"].last_price > 0

        session = rig.simulator.login()
        start_ns = boot_ns()
        rig.log_in(session)
        eventually(lambda: all(feed[key].is_fresh for key in INSTRUMENTS), 5)
        assert (boot_ns() - start_ns) / 1e9 < 5
        assert feed.status.feed == "live"
    assert len(rig.errors()) == 1, rig.errors()
    rig.stop()
    _assert_no_secret(rig)


def _assert_no_secret(rig: Rig) -> None:
    """Greps everything the run wrote, the session files apart."""
    written = [path for path in rig.root.rglob("*") if path.is_file()]
    assert any(path.name == "up.log" for path in written)
    for path in written:
        if path.name != "session.json":
            _assert_clean(path, rig.simulator.tokens)


def _assert_clean(path: Path, tokens: list[str]) -> None:
    data = path.read_bytes()
    for token in tokens:
        assert token.encode() not in data, f"a token is in {path.name}"


def test_no_token_is_in_a_command_line_or_environment_of_any_process(rig: Rig) -> None:
    for role in Role:
        pid = rig.pid_of(role)
        assert pid
        for name in ("cmdline", "environ"):
            _assert_clean(Path(f"/proc/{pid}/{name}"), rig.simulator.tokens)


def test_a_refused_socket_is_bridged_by_polling_and_comes_back_by_itself() -> None:
    with Rig(settings="backoff_s = [0.5, 1.0, 30, 60]") as rig:
        rig.start()
        rig.simulator.fault("refuse_ws", 403)
        status = rig.until("rest", 15)
        assert status["source"] == "rest"
        assert status["consecutive_403"] == 3
        assert 50 < status["retry_in_s"] <= 60
        with rig.feed(*INSTRUMENTS) as feed, Truth(rig.simulator, slack_s=12) as truth:
            handshakes = rig.simulator.stats()["handshakes"]["total"]["403"]
            arrivals = _arrivals(feed, "NSE:INFY", count=3, truth=truth)
            gaps = [b - a for a, b in itertools.pairwise(arrivals)]
            assert all(4.0 < gap < 6.5 for gap in gaps), gaps
            assert feed["NSE:INFY"].source == "rest"
            assert feed["NSE:INFY"].is_fresh
            assert rig.simulator.stats()["handshakes"]["total"]["403"] == handshakes
            rig.simulator.fault("clear")
            assert rig.kitefeed("retry").returncode == 0
            eventually(lambda: feed.status.feed == "live", 5)
            eventually(lambda: feed["NSE:INFY"].source == "websocket", 3)
        assert truth.judged
        assert truth.lies == []
        assert len(rig.errors()) == 1, rig.errors()


def _arrivals(feed: Feed, key: str, count: int, truth: Truth) -> list[float]:
    """When new values of `key` came, in seconds; what was there before does not count."""
    found: list[float] = []
    seen = feed[key].seq
    deadline_ns = boot_ns() + 40_000_000_000
    while len(found) < count and boot_ns() < deadline_ns:
        tick = feed.next(0.5)
        for name in INSTRUMENTS:
            truth.judge(feed[name])
        if tick is not None and tick.instrument == key and tick.seq > seen:
            seen = tick.seq
            found.append(boot_ns() / 1e9)
    assert len(found) == count
    return found


def test_with_a_standby_session_a_kill_leaves_fresh_polled_values() -> None:
    with Rig(standby=True) as rig:
        rig.log_in(rig.simulator.ready["apps"][1], "--standby")
        rig.start()
        rig.simulator.fault("kill")
        rig.until("login_required", 5)
        with rig.feed("NSE:INFY") as feed:
            eventually(lambda: feed["NSE:INFY"].is_fresh, 8)
            assert feed["NSE:INFY"].source == "rest"
            assert feed.status.feed == "login_required"
            assert feed.status.source == "rest"
        assert rig.status()["standby"] == "valid"


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
    assert took_s < 5, f"{role} took {took_s:.1f} s"
    eventually(lambda: rig.status().get("feed") == "live", 5)


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


def test_a_silent_socket_reads_stale_at_once_and_is_replaced(rig: Rig) -> None:
    with rig.feed(*INSTRUMENTS) as feed, Truth(rig.simulator, slack_s=4.5) as truth:
        rig.simulator.fault("silence")
        start_ns = boot_ns()
        eventually(lambda: not feed["NSE:INFY"].is_fresh, 5)
        handshakes = rig.simulator.stats()["handshakes"]["total"]["101"]
        eventually(lambda: rig.simulator.stats()["handshakes"]["total"]["101"] > handshakes, 15)
        assert 9 < (boot_ns() - start_ns) / 1e9 < 13
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


def test_a_second_up_refuses_and_leaves_the_first_alone(rig: Rig) -> None:
    pids = [rig.pid_of(role) for role in Role]
    second = rig.kitefeed("up")
    assert second.returncode == 75
    assert "already" in second.stderr
    assert [rig.pid_of(role) for role in Role] == pids
    assert rig.status()["feed"] == "live"


def test_sigterm_stops_every_process(own_rig: Rig) -> None:
    rig = own_rig
    assert rig.daemon is not None
    pids = [rig.pid_of(role) for role in Role]
    start_ns = boot_ns()
    rig.daemon.terminate()
    rig.daemon.wait(10)
    assert (boot_ns() - start_ns) / 1e9 < 5
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_when_supervisord_is_killed_no_actor_is_left_and_no_second_set_starts(
    own_rig: Rig,
) -> None:
    rig = own_rig
    assert rig.daemon is not None
    rig.daemon.kill()
    rig.daemon.wait(5)
    eventually(lambda: not any(rig.pid_of(role) for role in Role), 6)
    rig.start()
    assert json.dumps(rig.simulator.stats()["sockets"]["open"]) == "1"


def test_a_stopped_subscriber_changes_nothing_for_another(rig: Rig) -> None:
    with rig.feed(*INSTRUMENTS) as stopped, rig.feed(*INSTRUMENTS) as other:
        seq = other["NSE:INFY"].seq
        eventually(lambda: other["NSE:INFY"].seq > seq + 5, 10)
        assert other.gaps == 0
        assert stopped["NSE:INFY"].seq > seq
    assert threading.active_count() < 20
