"""The one-word headline, its order of precedence, and the log lines of conditions."""

import pytest

from kitefeed.actors.supervisor.facts import ActorLost, Instruments, Operate, RetryNow
from kitefeed.actors.supervisor.shards import Capacity
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import FetchList
from kitefeed.protocol.messages.membership import Beat
from kitefeed.protocol.messages.status import Outage
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import INFY, MONDAY, NIFTY, Bench


def ends(bench: Bench) -> list[str]:
    return [say.text for say in bench.said if say.text.startswith("over after")]


def test_a_broken_configuration_comes_before_a_pause() -> None:
    bench = Bench(misconfigured="kitefeed.toml: mode: is wrong")
    bench.up()
    bench.feed(Operate("paused"))
    assert bench.state.feed == "misconfigured"
    assert bench.state.reason == "kitefeed.toml: mode: is wrong"


def test_a_pause_comes_before_a_closed_market() -> None:
    bench = Bench(hours="never")
    bench.up()
    bench.feed(Operate("paused"))
    assert bench.state.feed == "paused"


def test_a_closed_market_comes_before_a_missing_session() -> None:
    bench = Bench(hours="never")
    bench.up()
    bench.feed(m.SessionSeen("primary", None))
    assert (bench.state.feed, bench.state.session) == ("closed", "absent")


def test_a_missing_session_comes_before_a_plan_without_data() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.refuse(quote="permission")
    assert bench.state.feed == "no_entitlement"
    bench.feed(m.SessionSeen("primary", None))
    assert bench.state.feed == "login_required"


def test_an_unusable_session_file_is_the_reason_to_log_in() -> None:
    bench = Bench()
    bench.up()
    bench.feed(m.SessionSeen("primary", None, "session.json has mode 0644: `chmod 600`"))
    assert bench.state.feed == "login_required"
    assert "0644" in bench.state.reason


@pytest.mark.parametrize(
    ("held", "source"), [(0, "none"), (5, "cache")], ids=["nothing held", "values held"]
)
def test_without_a_source_the_values_held_are_the_cache(held: int, source: str) -> None:
    bench = Bench()
    bench.up()
    bench.feed(Beat(values=held))
    bench.feed(m.SessionSeen("primary", None))
    assert bench.state.source == source


def test_values_that_died_with_the_broadcaster_are_no_cache() -> None:
    bench = Bench()
    bench.up()
    bench.feed(Beat(values=5), ActorLost(Role.BROADCASTER), m.SessionSeen("primary", None))
    bench.up(Role.BROADCASTER)
    assert bench.state.source == "none"


def test_polled_values_stop_being_fresh_after_two_periods() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.feed(Operate("rest"))
    bench.validate("valid")
    bench.grant()
    bench.poll()
    bench.wait(10)
    assert (bench.state.feed, bench.state.source) == ("rest", "rest")
    bench.wait(2)
    assert bench.state.feed == "stale"
    assert bench.state.source != "rest"


def test_the_reason_of_polling_names_who_wanted_it() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.feed(Operate("rest"))
    bench.validate("valid")
    bench.grant()
    bench.poll()
    assert bench.state.reason == "polled every 5 s: the operator chose REST"
    epoch = bench.last(m.StartPolling).epoch
    bench.feed(m.Polled(0, epoch, "ok", sweep_ns=18_900_000_000))
    count = len(bench.last(m.StartPolling).instruments)
    expected = f"polling {count} instruments takes 18.9 s: the operator chose REST"
    assert bench.state.reason == expected


def test_polling_without_answers_is_not_fresh_however_long_a_sweep_takes() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.feed(Operate("rest"))
    bench.validate("valid")
    bench.grant()
    order = bench.last(m.StartPolling)
    bench.feed(m.Polled(0, order.epoch, "ok", sweep_ns=18_900_000_000))
    for expected in ("rest", "rest", "stale"):
        bench.wait(5)
        bench.feed(m.Polled(0, order.epoch, "network", "down", sweep_ns=18_900_000_000))
        assert bench.state.feed == expected
    bench.feed(m.Polled(0, order.epoch, "ok", sweep_ns=18_900_000_000))
    assert bench.state.feed == "rest"


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (0, "starting"),
        (1, "checking the session"),
        (2, "connecting"),
        (3, "connected; waiting for the first fresh tick"),
    ],
)
def test_stale_says_which_step_is_under_way(step: int, reason: str) -> None:
    bench = Bench()
    bench.up()
    if step >= 1:
        bench.login()
    if step >= 2:
        bench.validate("valid")
    if step >= 3:
        bench.open()
    assert (bench.state.feed, bench.state.reason) == ("stale", reason)


def test_a_connection_without_wants_says_how_to_subscribe() -> None:
    bench = Bench(instruments=())
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.open()
    assert "kitefeed subscribe" in bench.state.reason


def test_an_absent_ticker_is_named() -> None:
    bench = Bench()
    bench.live()
    bench.feed(ActorLost(Role.TICKER))
    assert bench.state.reason == "the ticker process is starting"


def test_the_picture_is_sent_when_it_changes_and_not_otherwise() -> None:
    bench = Bench()
    bench.live()
    before = len(bench.all(m.Announce))
    bench.wait(30, fresh=True)
    assert len(bench.all(m.Announce)) == before


def test_a_wait_is_announced_with_its_seconds() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("refused")
    assert bench.state.retry_in_s == 5.0


def test_since_is_when_the_feed_became_what_it_is() -> None:
    bench = Bench()
    bench.live()
    became_ns = bench.state.since_utc_ns
    bench.wait(40, fresh=True)
    bench.feed(Instruments(()))
    assert bench.state.since_utc_ns == became_ns
    bench.feed(Operate("paused"))
    assert bench.state.since_utc_ns == bench.utc_ns


def test_names_that_wait_for_the_instrument_list_are_not_called_unwanted() -> None:
    bench = Bench(instruments=())
    bench.feed(Instruments((), unresolved=2))
    bench.up()
    bench.login()
    bench.validate("valid")
    assert bench.state.feed == "stale"
    assert "instrument list, in which to find 2" in bench.state.reason
    bench.feed(Instruments(()))
    assert "instrument list" not in bench.state.reason


@pytest.mark.parametrize("verdict", ["valid", "refused", "unverified"])
def test_an_answer_of_kite_hastens_the_instrument_list_that_names_wait_for(
    verdict: m.Verdict,
) -> None:
    bench = Bench(instruments=())
    bench.feed(Instruments((), unresolved=2))
    bench.up()
    bench.login()
    bench.validate(verdict)
    assert bool(bench.all(m.FetchInstruments)) == (verdict != "unverified")


def test_a_list_that_no_name_waits_for_is_not_hastened() -> None:
    bench = Bench()
    bench.live()
    assert not bench.all(m.FetchInstruments)


def test_retry_tries_the_instrument_list_too() -> None:
    bench = Bench()
    bench.live()
    bench.feed(RetryNow())
    assert bench.all(m.FetchInstruments) == [m.FetchInstruments(is_ordered=True)]
    bench.feed(FetchList(is_believed=True))
    assert bench.all(m.FetchInstruments)[-1] == m.FetchInstruments(True, True)


def test_a_list_that_is_not_believed_is_said_once_with_the_remedy_and_once_when_it_is_over() -> (
    None
):
    bench = Bench()
    bench.live()
    bench.feed(m.InstrumentsReady(7, "2026-11-23"))
    for fetches in (1, 2):
        bench.feed(m.InstrumentsFetched(fetches, "doubted", "it lacks 5 of the 7", 2))
        bench.feed(m.InstrumentsFetched(fetches, "failed", "no answer"))
    (line,) = [say.text for say in bench.said if "condition=instruments" in say.text]
    assert "it lacks 5 of the 7" in line
    assert "that of 2026-11-23 stays in use" in line
    assert "`kitefeed instruments fetch --believe`" in line
    assert bench.state.feed == "live"
    bench.feed(m.InstrumentsFetched(3, "taken", "", 7))
    assert len(ends(bench)) == 1


def test_a_condition_ends_with_one_line_that_tells_time_and_attempts() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    for wait_s in (5, 15):
        bench.validate("valid")
        bench.refuse()
        bench.wait(wait_s)
    bench.validate("valid")
    bench.feed(m.LinkFresh(0, bench.open()))
    assert ends(bench) == ["over after 20.0 s and 3 attempts condition=socket"]
    assert len(bench.errors()) == 1


def test_the_trouble_of_a_socket_is_over_when_nobody_wants_its_instruments_any_more() -> None:
    bench = Bench(instruments=(NIFTY, INFY), capacity=Capacity(2, 1))
    bench.live()
    bench.feed(m.LinkClosed(1, bench.machine.state.shards[1].link.epoch, 1006, "reset"))
    bench.until(m.Validate)
    bench.validate("valid")
    bench.refuse()
    assert len(bench.errors()) == 1
    bench.feed(Instruments((NIFTY,)))
    assert ends(bench) == ["over after 0.0 s and 1 attempts condition=socket"]
    assert bench.state.feed == "live"


def test_the_network_is_no_second_condition_while_a_login_is_required() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("refused")
    bench.wait(5)
    bench.validate("unverified")
    bench.wait(120)
    assert len(bench.errors()) == 1


def test_a_login_not_yet_judged_ends_no_condition() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("refused")
    bench.login("second")
    assert ends(bench) == []
    bench.validate("valid")
    assert len(ends(bench)) == 1


def test_a_session_refused_while_it_streams_is_a_warning() -> None:
    bench = Bench()
    bench.live()
    bench.wait(300.5, fresh=True)
    bench.validate("refused")
    assert [say.level for say in bench.said if "session_refused" in say.text] == ["warning"]


def test_an_outage_is_dated_from_its_detection_over_the_login_to_its_end() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(m.LinkClosed(0, epoch, 1006, "gone"))
    detected_s = bench.utc_ns / 1e9
    bench.wait(0.1)
    bench.validate("refused")
    bench.wait(100)
    bench.login("second")
    login_s = bench.utc_ns / 1e9
    bench.validate("valid")
    bench.wait(1)
    bench.feed(m.LinkFresh(0, bench.open()))
    outage = bench.machine.state.outage
    assert outage == Outage("stale", detected_s, login_s, bench.utc_ns / 1e9)


def test_a_feed_that_is_ready_for_the_open_says_so_once() -> None:
    bench = Bench(hours="calendar", at=MONDAY.replace(hour=8, minute=44, second=50))
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.open()
    bench.wait(60)
    assert len([say for say in bench.said if say.text == "ready for the open at 09:00"]) == 1


def test_nobody_is_reminded_of_the_open_on_a_sunday() -> None:
    sunday = MONDAY.replace(day=22, hour=8, minute=44, second=50)
    bench = Bench(hours="calendar", at=sunday)
    bench.up()
    bench.feed(m.SessionSeen("primary", None))
    bench.wait(60)
    assert not [say for say in bench.said if "ready for the open" in say.text]
