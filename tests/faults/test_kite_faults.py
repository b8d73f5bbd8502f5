"""Faults of Kite and of the network, as the simulator makes them."""

import itertools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest

from kitefeed import Feed
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.topology import Role
from tests.faults.probe import Ledger, Probe
from tests.faults.test_process_faults import all_fresh, seconds_since, until_fresh
from tests.integration.rig import INSTRUMENTS, Rig
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

POLLED_SLACK_S = 12.0  # two periods, one round, and the way
FROZEN, FROZEN_TOKEN = "NSE:RELIANCE", 738561


def handshakes(rig: Rig, status: int) -> list[float]:
    """Return when handshakes of this status were, in seconds by the simulator's own stamps."""
    recent = rig.simulator.stats()["handshakes"]["recent"]
    return [row["at_ns"] / 1e9 for row in recent if row["status"] == status]


def requests(rig: Rig, route: str) -> list[float]:
    found = rig.simulator.stats()["requests"]["recent_ns"].get(route, [])
    return [at_ns / 1e9 for at_ns in found]


def test_17_fifty_subscribers_at_once_all_get_every_value(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    ledger = Ledger(rig, probe)
    probe.forget_pauses()
    gate = threading.Barrier(50)

    def come() -> tuple[Feed, float]:
        gate.wait()
        start_ns = boot_ns()
        feed = Feed(*INSTRUMENTS, config=rig.config)
        assert all(feed.wait_for(key, 10) for key in INSTRUMENTS)
        return feed, seconds_since(start_ns)

    with ThreadPoolExecutor(50) as pool:
        came = [each.result() for each in [pool.submit(come) for _ in range(50)]]
    try:
        assert max(took_s for _, took_s in came) < 2
        assert probe.longest_inside_s < 0.2
        eventually(lambda: rig.status()["subscribers"] >= 50, 5, every_s=0.3)
        ledger.assert_none_lost()
    finally:
        for feed, _ in came:
            feed.close()


def test_21_two_refusals_in_a_row_are_waited_out_without_polling(rig: Rig, probe: Probe) -> None:
    rig.simulator.fault("refuse_ws", 403)
    eventually(lambda: len(handshakes(rig, 403)) == 2, 9)
    rig.simulator.fault("clear")
    # One for each refusal, asked after it, which tells that the session is good.
    before = eventually(lambda: len(found := requests(rig, "GET /quote")) == 2 and found, 3)
    until_fresh(rig, 18)
    first, second = handshakes(rig, 403)
    third = handshakes(rig, 101)[-1]
    assert (second - first, third - second) == pytest.approx((5, 15), abs=1.3)  # a quote between
    assert requests(rig, "GET /quote") == before
    assert probe.sources.keys() == {1}
    assert rig.status()["consecutive_403"] == 0


@pytest.mark.behind(POLLED_SLACK_S)
def test_22_a_refused_socket_is_tried_on_the_ladder_and_then_once_a_minute(
    rig: Rig, probe: Probe
) -> None:
    with rig.feed(*INSTRUMENTS) as feed:
        rig.simulator.fault("refuse_ws", 403)
        rig.until("rest", 30)
        eventually(lambda: len(handshakes(rig, 403)) == 4, 65, every_s=1)
        polls = requests(rig, "GET /quote")[-8:-1]
        assert all(feed[key].is_fresh and feed[key].source == "rest" for key in INSTRUMENTS)
    gaps_s = [b - a for a, b in itertools.pairwise(handshakes(rig, 403))]
    assert gaps_s == pytest.approx([5, 15, 60], abs=1.5)  # a wait begins when a quote has told why
    assert [b - a for a, b in itertools.pairwise(polls)] == pytest.approx([5] * 6, abs=0.3)
    assert len(rig.errors()) == 1, rig.errors()
    rig.simulator.fault("clear")
    rig.kitefeed("retry")
    rig.until("live", 8)


def test_23_a_login_is_live_within_bounds_in_each_of_fifty_runs(
    rig: Rig, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    took, known = [], []
    with rig.feed(*INSTRUMENTS) as feed:
        for _ in range(50):
            start_ns = boot_ns()
            rig.simulator.fault("kill")
            eventually(lambda: feed.status.feed == "login_required", 10)
            known.append(seconds_since(start_ns))
            session = rig.simulator.login()
            start_ns = boot_ns()
            rig.log_in(session)
            eventually(lambda: feed.status.feed == "live" and feed["NSE:INFY"].is_fresh, 8)
            took.append(seconds_since(start_ns))
    with capsys.disabled():
        print(
            f"\nlogin to live, {len(took)} runs: median {median(took):.2f} s, "
            f"maximum {max(took):.2f} s\n"
            f"end of the session to known: median {median(known):.2f} s, "
            f"maximum {max(known):.2f} s"
        )
    assert max(took) <= 5
    assert median(took) <= 1.5
    assert median(known) <= 1.5


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


@pytest.mark.parametrize("how", ["close", "twice", "1001", "1011", "fin", "rst"])
def test_25_a_lost_socket_is_tried_again_within_half_a_second(
    rig: Rig, probe: Probe, how: str
) -> None:
    start_ns = boot_ns()
    eventually(lambda: seconds_since(start_ns) > 11, 12)  # stable: the next loss is a new one
    before = handshakes(rig, 101)
    dropped_s = utc_ns() / 1e9
    rig.simulator.fault("drop_ws", how)
    after = eventually(lambda: handshakes(rig, 101)[len(before) :], 3)
    assert len(after) == 1
    assert after[0] - dropped_s < 0.5
    until_fresh(rig, 5)
    assert requests(rig, "GET /quote") == []
    assert rig.status()["consecutive_403"] == 0
    assert rig.errors() == []


@pytest.mark.behind(POLLED_SLACK_S)
def test_25_a_handshake_that_takes_too_long_or_fails_is_no_refusal(rig: Rig, probe: Probe) -> None:
    """The official client gives up a handshake after five seconds."""
    rig.simulator.fault("slow_ws", 8)
    rig.simulator.fault("drop_ws", "fin")
    eventually(lambda: len(handshakes(rig, 101)) == 3, 15)
    rig.simulator.fault("clear")
    rig.simulator.fault("refuse_ws", 502)
    eventually(lambda: len(handshakes(rig, 502)) == 1, 15)
    status = rig.status()
    assert (status["feed"], status["consecutive_403"], status["session"]) == ("stale", 0, "valid")
    rig.simulator.fault("clear")
    until_fresh(rig, 15)
    assert len(rig.errors()) == 1, rig.errors()


@pytest.mark.behind(POLLED_SLACK_S)
def test_26_a_fourth_socket_waits_half_a_minute_and_names_the_cause(rig: Rig, probe: Probe) -> None:
    rig.simulator.fault("refuse_ws", 429)
    eventually(lambda: handshakes(rig, 429), 5)
    eventually(lambda: any("429" in line for line in rig.errors()), 5)
    assert rig.status()["consecutive_403"] == 0
    rig.simulator.fault("clear")
    (refused_s,) = handshakes(rig, 429)
    eventually(lambda: len(handshakes(rig, 101)) == 2, 63, every_s=0.5)
    assert 30 <= handshakes(rig, 101)[-1] - refused_s <= 61
    until_fresh(rig, 5)
    assert len(rig.errors()) == 1, rig.errors()


def test_27_a_silent_socket_is_replaced_after_ten_seconds(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    silent_s = utc_ns() / 1e9
    rig.simulator.fault("silence")
    eventually(lambda: len(handshakes(rig, 101)) == 2, 15)
    rig.simulator.fault("clear")
    assert 9.5 < handshakes(rig, 101)[-1] - silent_s < 11
    until_fresh(rig, 5)


@pytest.mark.behind(6.0)  # that of the canaries is noticed after 5 s
def test_28_heartbeats_without_ticks_while_the_market_moves_end_in_a_reconnect(
    rig: Rig, probe: Probe
) -> None:
    until_fresh(rig, 5)
    with rig.feed(*INSTRUMENTS) as feed:
        mute_s = utc_ns() / 1e9
        rig.simulator.fault("mute")
        eventually(lambda: not any(feed[key].is_fresh for key in INSTRUMENTS), 8)
        assert utc_ns() / 1e9 - mute_s < 6
        eventually(lambda: len(handshakes(rig, 101)) == 2, 20)
        assert handshakes(rig, 101)[-1] - mute_s < 14
        assert len(requests(rig, "GET /quote")) == 1
        rig.simulator.fault("clear")
        eventually(lambda: all_fresh(feed), 15)


@pytest.mark.behind(20.0)
def test_28_of_a_list_without_canaries_a_quote_tells_that_the_market_moves() -> None:
    with Rig(instruments=("NSE:INFY", "NSE:TCS")) as rig:
        rig.start()
        with rig.feed("NSE:INFY", "NSE:TCS") as feed:
            eventually(
                lambda: len(feed.values()) == 2 and all(t.is_fresh for t in feed.values()), 5
            )
            mute_s = utc_ns() / 1e9
            rig.simulator.fault("mute")
            eventually(lambda: len(handshakes(rig, 101)) == 2, 20)
            assert 9 < handshakes(rig, 101)[-1] - mute_s < 15
            assert len(requests(rig, "GET /quote")) == 1
            assert not any(tick.is_fresh for tick in feed.values())
            rig.simulator.fault("clear")
            eventually(lambda: all(tick.is_fresh for tick in feed.values()), 15)


@pytest.mark.behind(20.0)  # of which its age tells
def test_28_one_frozen_instrument_disturbs_nobody_and_shows_its_age(rig: Rig, probe: Probe) -> None:
    """Nothing tells it from one that nobody trades: Kite sends only what changed."""
    with rig.feed(*INSTRUMENTS) as feed:
        eventually(lambda: all_fresh(feed), 5)
        rig.simulator.fault("freeze", FROZEN_TOKEN)
        eventually(lambda: feed[FROZEN].age_s > 12, 15)
        others = [feed[key] for key in INSTRUMENTS if key != FROZEN]
        assert all(tick.is_fresh and tick.age_s < 5 for tick in others)
        rig.simulator.fault("clear")
        eventually(lambda: feed[FROZEN].age_s < 2, 5)
    assert len(handshakes(rig, 101)) == 1
    assert rig.errors() == []


def test_28_damaged_frames_cost_no_tick(rig: Rig, probe: Probe) -> None:
    ledger = Ledger(rig, probe)
    rig.simulator.fault("garbage")
    eventually(lambda: bad_frames(rig) > 20, 15, every_s=0.5)
    rig.simulator.fault("clear")
    ledger.assert_none_lost()
    assert len(handshakes(rig, 101)) == 1


def bad_frames(rig: Rig) -> int:
    rows = {row["role"]: row["counters"] for row in rig.status()["actors"]}
    count: int = rows["ticker"]["bad_frames"]
    return count


def test_30_a_socket_outlives_its_session_until_it_drops(rig: Rig, probe: Probe) -> None:
    until_fresh(rig, 5)
    ledger = Ledger(rig, probe)
    rig.simulator.fault("expire")
    rig.kitefeed("retry")
    eventually(lambda: rig.status()["session"] == "refused", 8, every_s=0.2)
    assert rig.status()["feed"] == "live"
    ledger.assert_none_lost()
    assert rig.errors() == []
    rig.simulator.fault("drop_ws", "rst")
    rig.until("login_required", 8)
    eventually(lambda: len(rig.errors()) == 1, 2)  # the line takes its way through supervisord


@pytest.mark.behind(POLLED_SLACK_S)
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_31_thirty_seconds_without_a_network_are_one_condition(
    rig: Rig, probe: Probe, how: str
) -> None:
    until_fresh(rig, 5)
    with rig.feed(*INSTRUMENTS) as feed, no_network(rig, how):
        start_ns = boot_ns()
        eventually(lambda: feed.status.feed == "stale", 12)
        eventually(lambda: seconds_since(start_ns) > 30, 35)
        assert rig.status()["consecutive_403"] == 0
        assert all(feed[key].last_price > 0 and not feed[key].is_fresh for key in INSTRUMENTS)
    back_ns = boot_ns()
    until_fresh(rig, 30)
    assert seconds_since(back_ns) < 3
    assert len(rig.errors()) == 1, rig.errors()


@contextmanager
def no_network(rig: Rig, how: str) -> Iterator[None]:
    if how == "silent":
        rig.simulator.stop()
        yield
        rig.simulator.go_on()
    else:
        for name, arg in (("rest_down", None), ("refuse_ws", 503), ("drop_ws", "rst")):
            rig.simulator.fault(name, arg)
        yield
        rig.simulator.fault("clear")


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
    """By the documented command, with an instrument that only this program reads."""
    keys = (*INSTRUMENTS, "NSE:TCS")
    command = [str(Path(sys.executable).with_name("supervisorctl")), "-c"]
    command += [str(rig.run_dir / "supervisor.conf"), "restart"]
    with rig.feed(*keys) as feed:
        eventually(lambda: all(key in feed and feed[key].is_fresh for key in keys), 10)
        for role in Role:
            before = rig.pid_of(role)
            subprocess.run([*command, f"kitefeed:{role}"], check=True, capture_output=True)
            eventually(lambda role=role, before=before: rig.pid_of(role) not in (0, before), 8)
            eventually(lambda: all(feed[key].is_fresh for key in keys), 10)
        assert feed.gaps == 0
        assert rig.status()["subscriptions"]["confirmed"] == len(keys)
