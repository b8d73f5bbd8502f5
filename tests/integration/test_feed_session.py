"""A session that dies, a socket that is refused, and the way back."""

import itertools

import pytest

from kitefeed import Feed
from kitefeed.protocol.clock import boot_ns
from tests.integration.rig import INSTRUMENTS, Rig, Truth
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


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
            rig.assert_no_token(path)


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
