from pathlib import Path

import msgspec

from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.config_tables import Config, FeedTable
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.supervisor import report
from kitefeed.actors.supervisor.report import Surroundings
from kitefeed.actors.supervisor.roster import Roster
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.protocol import keys, private_files
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Beat, Hello
from kitefeed.protocol.messages.status import StatusReport, TcpAddress
from kitefeed.protocol.sockets import new_key_pair
from kitefeed.protocol.topology import WIRES, Role
from tests.unit.actors.supervisor.bench import MONDAY, Bench, S


def status(
    bench: Bench, roster: Roster | None = None, around: Surroundings | None = None
) -> StatusReport:
    subscriptions = Subscriptions(("NSE:INFY",), (), "full", {})
    state, around = bench.machine.state, around or Surroundings()
    return report.status(state, subscriptions, roster or Roster(0), around, bench.now_ns)


def beating(role: Role, beat: Beat, heard_ns: int) -> Roster:
    roster = Roster(0)
    roster.hello(Hello(role, "boot", 7, 7, "1"), b"p", heard_ns)
    roster.members[role].beat = beat
    return roster


def test_a_live_feed_is_reported_as_it_was_announced() -> None:
    bench = Bench()
    epoch = bench.live()
    found = status(bench)
    assert (found.feed, found.source, found.session) == ("live", "websocket", "valid")
    assert (found.epoch, found.user_id, found.user_name) == (epoch, "AB1", "Asha")
    assert found.since_utc_s == bench.state.since_utc_ns / 1e9
    assert found.subscriptions.wanted == 1


def test_the_report_says_which_kite_it_is() -> None:
    target = Kite().target()
    found = status(Bench(), around=Surroundings(target=target))
    assert found.target == target
    assert target.kind == "kite"


def test_the_report_says_where_other_hosts_read_the_feed(tmp_path: Path) -> None:
    own = new_key_pair()
    private_files.create(keys.server_path(tmp_path), keys.server_text(own).encode())
    feed = FeedTable(tcp="tcp://127.0.0.1:5556", keys=str(tmp_path))
    tcp_feed = Settings(Config(feed=feed), None, tmp_path, tmp_path).tcp_feed
    assert tcp_feed == TcpAddress("tcp://127.0.0.1:5556", own.public)
    bench = Bench()
    found = status(bench, around=Surroundings(tcp_feed=tcp_feed))
    assert found.tcp_feed == tcp_feed
    assert own.secret.reveal() not in msgspec.json.encode(found).decode()
    assert status(bench).tcp_feed is None


def test_the_seconds_to_the_next_attempt_run_between_events() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("refused")
    assert status(bench).retry_in_s == 5.0
    bench.now_ns += 2 * S
    assert status(bench).retry_in_s == 3.0


def test_the_age_of_the_last_tick_grows_with_the_age_of_the_beat() -> None:
    bench = Bench()
    beat = Beat(last_tick_age_ns=S // 4)
    roster = beating(Role.TICKER, beat, bench.now_ns - S)
    assert status(bench, roster).last_tick_age_s == 1.25


def test_a_tick_that_never_came_has_no_age() -> None:
    bench = Bench()
    assert status(bench, beating(Role.TICKER, Beat(), bench.now_ns)).last_tick_age_s is None
    assert status(bench).last_tick_age_s is None


def test_the_first_tick_has_an_age_before_the_tickers_next_beat() -> None:
    """A monitor would take a live feed without any for a dead one."""
    bench = Bench()
    epoch = bench.live()
    roster = beating(Role.TICKER, Beat(), bench.now_ns)
    assert status(bench, roster).feed == "live"
    assert status(bench, roster).last_tick_age_s == 0
    bench.now_ns += S // 2
    assert status(bench, roster).last_tick_age_s == 0.5
    bench.feed(m.LinkClosed(0, epoch, 1006, "gone"))
    bench.now_ns += S
    assert status(bench, roster).last_tick_age_s == 1.5


def test_subscribers_are_counted_by_the_broadcaster() -> None:
    bench = Bench()
    roster = beating(Role.BROADCASTER, Beat(subscribers=3), bench.now_ns)
    assert status(bench, roster).subscribers == 3
    assert status(bench).subscribers == 0


def test_all_actors_and_endpoints_are_listed_also_absent_ones() -> None:
    wires = {wire.name: f"ipc:///run/{wire.name}" for wire in WIRES}
    around = Surroundings(7, "1.0", wires, build="compiled")
    found = status(Bench(), around=around)
    assert [row.role for row in found.actors] == list(Role)
    assert [row.state for row in found.actors] == ["up"] + ["absent"] * 5
    assert (found.actors[0].pid, found.version, found.build) == (7, "1.0", "compiled")
    assert set(found.endpoints) == {wire.name for wire in WIRES}


def test_the_market_is_told_with_its_next_open() -> None:
    found = status(Bench(hours="calendar", at=MONDAY))
    assert found.market == {"NSE": "open", "INDICES": "open"}
    assert found.next_open == "2026-11-25T09:00:00+05:30"  # Tuesday is a holiday
    closed = status(Bench(hours="never", instruments=()))
    assert (closed.market, closed.next_open) == ({"NSE": "closed"}, None)


def test_the_standby_has_a_word_of_its_own() -> None:
    bench = Bench()
    bench.up()
    bench.login("spare", "standby")
    bench.validate("refused", "standby")
    found = status(bench)
    assert (found.session, found.standby) == ("unknown", "refused")
