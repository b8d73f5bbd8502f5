"""The rows of the supervisor's decision table that are about session and socket."""

import itertools
from typing import Literal

import pytest

from kitefeed.actors.supervisor import dial
from kitefeed.actors.supervisor.facts import (
    ActorLost,
    ActorUp,
    Clock,
    DialState,
    Instruments,
    Operate,
    Persisted,
    RetryNow,
)
from kitefeed.actors.supervisor.news import Judged
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Beat, GrantReport, Hello, LinkReport
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import INFY, MONDAY, NIFTY, Bench


def test_without_a_session_the_feed_says_once_how_to_log_in() -> None:
    bench = Bench()
    bench.up()
    bench.feed(m.SessionSeen("primary", None))
    bench.wait(600)
    assert bench.state.feed == "login_required"
    assert bench.state.session == "absent"
    assert not bench.all(m.OpenLink)
    assert len(bench.errors()) == 1
    assert "kitefeed login" in bench.errors()[0]


def test_no_socket_is_opened_before_the_session_is_validated() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    assert bench.last(m.Validate).fingerprint == "first"
    assert not bench.all(m.OpenLink)
    bench.validate("valid")
    assert bench.last(m.OpenLink).fingerprint == "first"


def test_the_grant_comes_before_the_subscription() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    epoch = bench.last(m.OpenLink).epoch
    bench.feed(m.LinkOpened(0, epoch))
    assert bench.last(m.Grant) == m.Grant(0, epoch, "websocket")
    assert not bench.all(m.Subscribe)
    bench.grant()
    assert bench.last(m.Subscribe) == m.Subscribe(0, epoch, (NIFTY, INFY))


def test_live_is_declared_on_the_first_fresh_tick_and_not_on_the_handshake() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    epoch = bench.open()
    assert bench.state.feed == "stale"
    assert "first fresh tick" in bench.state.reason
    bench.feed(m.LinkFresh(0, epoch))
    assert (bench.state.feed, bench.state.source) == ("live", "websocket")
    assert bench.state.user_name == "Asha"


def test_a_refused_session_opens_no_socket_and_is_validated_on_the_ladder() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    start = bench.times(m.Validate)[0]
    for wait_s in (5, 15, 30, 60, 60):
        bench.validate("refused")
        bench.wait(wait_s)
    assert [t - start for t in bench.times(m.Validate)] == [0, 5, 20, 50, 110, 170]
    assert not bench.all(m.OpenLink)
    assert bench.state.feed == "login_required"
    assert len(bench.errors()) == 1


def test_a_refused_session_without_standby_is_polled_once_and_then_parked() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("refused")
    bench.grant()
    assert len(bench.all(m.StartPolling)) == 1
    bench.poll("token")
    bench.wait(300)
    assert len(bench.all(m.StartPolling)) == 1
    assert bench.last(m.Grant).source == "none"


def test_a_refused_session_with_a_standby_is_polled_with_the_standby() -> None:
    bench = Bench()
    bench.live()
    bench.login("second", "standby")
    bench.validate("valid", "standby")
    bench.forget()
    bench.feed(m.LinkClosed(0, bench.machine.state.shards[0].link.epoch, 1006, "gone"))
    bench.wait(1)
    bench.validate("refused")
    bench.grant()
    assert bench.last(m.StartPolling).fingerprint == "second"
    bench.poll()
    assert bench.state.feed == "login_required"
    assert bench.state.source == "rest"


def test_when_kite_cannot_be_asked_a_session_seen_valid_today_connects_anyway() -> None:
    bench = Bench()
    bench.live()
    bench.forget()
    bench.feed(m.LinkClosed(0, bench.machine.state.shards[0].link.epoch, 1006, "gone"))
    bench.wait(0.1)
    bench.validate("unverified")
    assert len(bench.all(m.OpenLink)) == 1


def test_when_kite_cannot_be_asked_an_unknown_session_waits_on_the_network_ladder() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("unverified")
    bench.wait(0.1)
    bench.validate("unverified")
    assert not bench.all(m.OpenLink)
    assert bench.state.session == "unverified"
    assert len(bench.errors()) == 1
    assert "no connection to Kite" in bench.errors()[0]


def test_a_session_valid_before_the_last_token_flush_is_not_trusted_unverified() -> None:
    yesterday = Persisted(valid_fingerprint="first", valid_utc_ns=1)
    bench = Bench(persisted=yesterday)
    bench.up()
    bench.login()
    bench.validate("unverified")
    assert not bench.all(m.OpenLink)


def test_a_validator_that_never_answers_counts_as_unverified_after_three_and_a_half_seconds() -> (
    None
):
    bench = Bench()
    bench.up()
    bench.login()
    bench.wait(3.4)
    assert bench.state.session == "unknown"
    bench.wait(0.2)
    assert bench.state.session == "unverified"


def test_a_late_answer_of_the_validator_changes_nothing() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    late = bench.last(m.Validate)
    bench.login("second")
    bench.feed(m.Validated(late.request_id, "first", "primary", "valid"))
    assert not bench.all(m.OpenLink)
    assert bench.last(m.Validate).fingerprint == "second"


def test_a_socket_only_refusal_climbs_the_ladder_and_after_three_polls_rest() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    times = []
    for wait_s in (5, 15):
        bench.validate("valid")
        times.append(bench.times(m.OpenLink)[-1])
        bench.refuse()
        assert not bench.all(m.StartPolling)
        bench.wait(wait_s)
    bench.validate("valid")
    times.append(bench.times(m.OpenLink)[-1])
    bench.refuse()
    bench.grant()
    bench.poll()
    assert [t - times[0] for t in times] == [0, 5, 20]
    assert bench.state.feed == "rest"
    assert bench.state.consecutive_403 == 3
    assert bench.last(m.StartPolling).period_ns == 5_000_000_000
    assert len(bench.errors()) == 1


def test_after_three_refusals_the_socket_is_tried_once_a_minute() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    for wait_s in (5, 15, 60, 60):
        bench.validate("valid")
        bench.refuse()
        bench.wait(wait_s)
    bench.validate("valid")
    times = bench.times(m.OpenLink)
    assert [round(b - a) for a, b in itertools.pairwise(times)] == [5, 15, 60, 60]


def test_network_trouble_after_three_refusals_does_not_speed_the_socket_up() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    for _ in range(3):
        bench.until(m.Validate) if bench.all(m.OpenLink) else None
        bench.validate("valid")
        bench.refuse()
    bench.until(m.Validate)
    bench.validate("valid")
    bench.feed(m.LinkClosed(0, bench.last(m.OpenLink).epoch, None, "connection refused"))
    assert bench.until(m.Validate) >= 59
    assert bench.machine.state.consecutive_403 == 3


def test_a_session_found_good_moves_no_wait_for_the_network() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.feed(m.LinkClosed(0, bench.last(m.OpenLink).epoch, None, "connection refused"))
    state = bench.machine.state
    assert (state.dial.state, state.dial.cause) == (DialState.WAITING, "network")
    until_ns = state.dial.until_ns
    dial.hear(state, Judged("valid", is_good=True))
    assert state.dial.until_ns == until_ns
    dial.hear(state, Judged("refused", is_good=False))
    assert state.dial.until_ns > until_ns


def test_a_session_that_is_refused_while_the_network_is_waited_for_is_asked_on_its_ladder() -> None:
    bench = Bench()
    bench.feed(m.LinkClosed(0, bench.live(), 1006, "gone"))
    for _ in range(5):
        bench.until(m.Validate)
        bench.validate("valid")
        bench.feed(m.LinkClosed(0, bench.last(m.OpenLink).epoch, None, "connection refused"))
    bench.grant()
    bench.wait(28)  # of 30
    bench.poll("token")
    assert bench.until(m.Validate) >= 4.9


def test_a_quote_that_proves_a_stream_is_no_tick_that_overrules_the_calendar() -> None:
    bench = Bench(hours="calendar", at=MONDAY.replace(day=22))
    epoch = live_on_sunday(bench)
    bench.wait(50)
    bench.feed(m.LinkClosed(0, epoch, 1006, "gone"))
    bench.until(m.Validate)
    bench.validate("valid")
    epoch = bench.open()
    bench.feed(m.LinkDoubt(0, epoch, "unproven", NIFTY.token, 1))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    assert bench.state.feed == "live"
    bench.wait(11)
    assert bench.state.feed == "closed"


def test_a_429_after_a_403_is_bridged_by_rest() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.refuse()
    bench.until(m.Validate)
    bench.validate("valid")
    bench.refuse(429)
    bench.wait(15)
    assert bench.last(m.Grant).source == "rest"


def test_the_first_fresh_tick_ends_the_count_of_refusals_and_the_polling() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    for wait_s in (5, 15, 60):
        bench.validate("valid")
        bench.refuse()
        bench.wait(wait_s)
    bench.validate("valid")
    epoch = bench.open()
    assert bench.machine.state.consecutive_403 == 3
    bench.feed(m.LinkFresh(0, epoch))
    assert bench.state.consecutive_403 == 0
    assert bench.state.feed == "live"
    assert not bench.machine.state.shards[0].rest.epoch
    assert not bench.machine.state.is_socket_refusal  # REST may bridge the next loss


def test_a_refusal_whose_quote_is_refused_too_is_a_dead_session() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.refuse(quote="token")
    assert bench.state.session == "refused"
    assert bench.state.feed == "login_required"


def test_a_plan_without_market_data_is_said_once_and_asked_for_every_quarter_hour() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.refuse(quote="permission")
    assert bench.state.feed == "no_entitlement"
    bench.forget()
    bench.wait(3_605)
    assert len(bench.all(m.Probe)) in (3, 4)
    assert not bench.all(m.OpenLink)
    assert not bench.all(m.StartPolling)
    assert bench.errors() == []
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    bench.wait(0.1)
    bench.validate("valid")
    assert len(bench.all(m.OpenLink)) == 1


def test_a_lost_socket_is_reconnected_at_once_and_then_slower() -> None:
    bench = Bench()
    bench.live()
    bench.wait(30, fresh=True)
    bench.forget()
    bench.feed(m.LinkClosed(0, bench.machine.state.shards[0].link.epoch, 1006, "reset"))
    waits = []
    for _ in range(7):
        waits.append(round(bench.until(m.Validate)))
        bench.validate("valid")
        bench.feed(m.LinkClosed(0, bench.last(m.OpenLink).epoch, None, "refused"))
    assert waits == [0, 1, 2, 5, 10, 30, 30]
    assert bench.machine.state.consecutive_403 == 0


def test_a_lost_socket_that_comes_back_at_once_is_no_error() -> None:
    bench = Bench()
    bench.live()
    bench.wait(30, fresh=True)
    bench.feed(m.LinkClosed(0, bench.machine.state.shards[0].link.epoch, 1000, "bye"))
    bench.wait(0.1)
    bench.validate("valid")
    bench.feed(m.LinkFresh(0, bench.open()))
    assert bench.state.feed == "live"
    assert bench.errors() == []


def test_fifteen_seconds_without_fresh_data_are_bridged_by_rest_while_the_socket_goes_on() -> None:
    bench = Bench()
    bench.live()
    bench.wait(30, fresh=True)
    bench.forget()
    bench.feed(m.LinkClosed(0, bench.machine.state.shards[0].link.epoch, 1006, "reset"))
    start_ns = bench.now_ns
    while not bench.machine.state.shards[0].rest.epoch:
        bench.wait(0.1)
        if bench.machine.state.session.request_id:
            bench.validate("valid")
            bench.feed(m.LinkClosed(0, bench.last(m.OpenLink).epoch, None, "refused"))
    assert 14 <= (bench.now_ns - start_ns) / 1e9 <= 16
    bench.grant()
    bench.poll()
    assert bench.state.feed == "rest"
    before = len(bench.all(m.OpenLink))
    bench.until(m.Validate)
    bench.validate("valid")
    assert len(bench.all(m.OpenLink)) == before + 1


def test_a_429_waits_half_a_minute_or_more_and_names_the_cause() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.refuse(429)
    assert "429" in bench.errors()[0]
    bench.wait(29)
    assert len(bench.all(m.Validate)) == 1
    bench.wait(31)
    assert len(bench.all(m.Validate)) == 2
    assert bench.machine.state.consecutive_403 == 0


def test_a_429_after_three_403s_leaves_one_attempt_a_minute() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    for _ in range(3):
        bench.validate("valid")
        bench.refuse()
        bench.until(m.Validate)
    bench.validate("valid")
    bench.refuse(429)
    assert bench.until(m.Validate) > 59


def test_a_silent_socket_is_dropped_and_replaced() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(m.LinkSilent(0, epoch))
    assert bench.last(m.CloseLink).epoch == epoch
    bench.wait(0.1)
    bench.validate("valid")
    assert bench.last(m.OpenLink).epoch > epoch


@pytest.mark.parametrize(
    ("outcome", "is_closed"), [("same", False), ("moved", True), ("network", False)]
)
def test_a_doubt_about_a_live_stream_is_settled_by_one_quote(
    outcome: m.ProbeOutcome, is_closed: bool
) -> None:
    bench = Bench()
    epoch = bench.live()
    bench.wait(20)
    bench.forget()
    bench.feed(m.LinkDoubt(0, epoch, "canary", NIFTY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, outcome))
    bench.wait(2)
    assert bool(bench.all(m.CloseLink)) is is_closed
    assert len(bench.all(m.Probe)) == 1


def test_a_quote_that_moved_is_no_proof_when_the_stream_moved_as_well() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(m.LinkDoubt(0, epoch, "canary", NIFTY.token, 100))
    bench.wait(0.5)
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "moved"))
    bench.wait(3, fresh=True)
    assert not bench.all(m.CloseLink)


def test_a_doubtful_stream_whose_quote_is_refused_is_a_dead_session() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(m.LinkDoubt(0, epoch, "canary", NIFTY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "token"))
    assert bench.state.feed == "login_required"
    assert bench.last(m.CloseLink).epoch == epoch
    assert bench.machine.state.dial.cause == "session"  # the next attempt waits for its rung
    asked = len(bench.all(m.Validate))
    bench.wait(1)
    assert len(bench.all(m.Validate)) == asked


def test_an_unproven_stream_is_live_when_a_quote_shows_nothing_newer() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    epoch = bench.open()
    bench.feed(m.LinkDoubt(0, epoch, "unproven", NIFTY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    assert bench.state.feed == "live"


def test_two_unanswered_doubts_about_a_silent_canary_end_the_link() -> None:
    bench = Bench()
    epoch = bench.live()
    for _ in range(2):
        bench.feed(m.LinkDoubt(0, epoch, "canary", NIFTY.token, 100))
        bench.feed(m.Probed(bench.last(m.Probe).request_id, "network"))
        bench.wait(10)
    assert bench.all(m.CloseLink)


@pytest.mark.parametrize("other", ["quiet", "unproven"])
def test_what_was_asked_for_another_reason_does_not_count_against_a_canary(
    other: Literal["quiet", "unproven"],
) -> None:
    bench = Bench()
    epoch = bench.live()
    for kind in (other, "canary"):
        bench.feed(m.LinkDoubt(0, epoch, kind, NIFTY.token, 100))
        bench.feed(m.Probed(bench.last(m.Probe).request_id, "network"))
        bench.wait(10)
    assert not bench.all(m.CloseLink)


def test_a_quiet_list_stays_live_while_quotes_show_nothing_newer_or_cannot_be_had() -> None:
    bench = Bench()
    epoch = bench.live()
    for outcome in ("same", "network", "network", "network"):
        bench.feed(m.LinkDoubt(0, epoch, "quiet", INFY.token, 100))
        bench.feed(m.Probed(bench.last(m.Probe).request_id, outcome))
        bench.wait(10, fresh=True)
    assert not bench.all(m.CloseLink)
    assert bench.state.feed == "live"


def test_a_quiet_list_whose_market_moves_is_connected_anew() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.wait(10)
    bench.feed(m.LinkDoubt(0, epoch, "quiet", INFY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "moved"))
    bench.wait(5)
    assert bench.last(m.CloseLink).epoch == epoch


def test_while_live_the_session_is_validated_every_five_minutes() -> None:
    bench = Bench()
    bench.live()
    bench.wait(0.1)
    bench.validate("valid")
    bench.forget()
    for _ in range(3):
        bench.wait(300.5, fresh=True)
        bench.validate("valid")
    assert len(bench.all(m.Validate)) == 3


@pytest.mark.parametrize("at", ["06:05", "07:35", "08:45"])
def test_the_session_is_validated_around_the_token_flush_and_before_the_open(at: str) -> None:
    hour, minute = map(int, at.split(":"))
    bench = Bench(hours="calendar", at=MONDAY.replace(hour=hour, minute=minute - 2))
    bench.live()
    bench.validate("valid")
    bench.forget()
    bench.wait(115, fresh=True)
    assert not bench.all(m.Validate)
    bench.wait(10, fresh=True)
    assert len(bench.all(m.Validate)) == 1


def test_a_session_refused_while_its_socket_streams_keeps_streaming_and_warns() -> None:
    bench = Bench()
    bench.live()
    bench.wait(300.5, fresh=True)
    bench.validate("refused")
    assert (bench.state.feed, bench.state.session) == ("live", "refused")
    assert bench.state.reason.startswith("streaming, but somebody else logged in")
    assert bench.state.reason.endswith("log in before the next reconnect")
    assert not bench.all(m.CloseLink)
    assert bench.errors() == []


def test_a_new_valid_login_replaces_a_live_socket_without_a_pause() -> None:
    bench = Bench()
    old = bench.live()
    bench.forget()
    bench.login("second")
    assert not bench.all(m.CloseLink)
    bench.validate("valid")
    new = bench.last(m.OpenLink).epoch
    assert bench.state.feed == "live"
    assert not bench.all(m.CloseLink)
    bench.feed(m.LinkOpened(0, new))
    assert bench.last(m.Grant) == m.Grant(0, new, "websocket")
    assert bench.last(m.CloseLink).epoch == old
    bench.grant()
    assert bench.last(m.Subscribe).epoch == new
    assert bench.state.feed == "live"


def test_a_new_login_that_is_refused_never_drops_a_live_socket_and_is_said_once() -> None:
    bench = Bench()
    bench.live()
    bench.login("second")
    bench.validate("refused")
    bench.wait(60, fresh=True)
    assert bench.state.feed == "live"
    assert not bench.all(m.CloseLink)
    assert [e for e in bench.errors() if "new login is refused" in e]
    assert len(bench.errors()) == 1


def test_a_new_login_whose_socket_fails_leaves_the_old_one_alone() -> None:
    bench = Bench()
    old = bench.live()
    bench.login("second")
    bench.validate("valid")
    bench.feed(m.LinkRefused(0, bench.last(m.OpenLink).epoch, 503))
    assert bench.state.feed == "live"
    assert old not in [close.epoch for close in bench.all(m.CloseLink)]
    bench.wait(60.5, fresh=True)
    assert len(bench.all(m.OpenLink)) == 2
    bench.validate("valid")  # minutes-old good news are none: asked again before the socket opens
    assert len(bench.all(m.OpenLink)) == 3


def test_a_login_after_expiry_resets_the_ladder_and_connects_in_the_same_step() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    for wait_s in (5, 15, 30):
        bench.validate("refused")
        bench.wait(wait_s)
    bench.validate("refused")
    bench.wait(3)
    bench.forget()
    bench.login("second")
    assert bench.last(m.Validate).fingerprint == "second"
    bench.validate("valid")
    assert bench.last(m.OpenLink).fingerprint == "second"


def test_a_login_that_is_refused_after_expiry_is_a_condition_of_its_own() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("refused")
    bench.login("second")
    bench.validate("refused")
    bench.wait(120)
    assert len(bench.errors()) == 2
    assert "new login is refused" in bench.errors()[1]


def test_a_cleared_session_closes_the_socket() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(m.SessionSeen("primary", None))
    assert bench.last(m.CloseLink).epoch == epoch
    assert bench.state.feed == "login_required"


def test_an_unreadable_session_file_leaves_a_live_feed_alone() -> None:
    bench = Bench()
    bench.live()
    bench.feed(m.SessionSeen("primary", None, "session.json has mode 0644"))
    assert bench.state.feed == "live"
    assert "0644" in bench.errors()[0]


def test_while_the_market_is_closed_nothing_is_polled_doubted_or_stormed() -> None:
    bench = Bench(hours="never")
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.feed(m.LinkClosed(0, bench.last(m.OpenLink).epoch, None, "refused"))
    bench.wait(59)
    assert len(bench.all(m.OpenLink)) == 1
    bench.wait(241)
    assert bench.state.feed == "closed"
    assert len(bench.all(m.Validate)) <= 6
    assert not bench.all(m.StartPolling)
    bench.until(m.Validate)
    bench.validate("valid")
    epoch = bench.open()
    bench.feed(m.LinkDoubt(0, epoch, "canary", NIFTY.token, 1))
    assert not bench.all(m.Probe)
    assert bench.machine.state.is_any_open


def live_on_sunday(bench: Bench) -> int:
    """Fresh ticks on a day on which the calendar knows no session; returns the socket's epoch."""
    bench.up()
    bench.login()
    bench.validate("valid")
    epoch = bench.open()
    assert bench.state.feed == "closed"
    bench.feed(m.LinkFresh(0, epoch))
    assert bench.state.feed == "live"
    return epoch


def test_ticks_that_are_observed_overrule_the_calendar() -> None:
    bench = Bench(hours="calendar", at=MONDAY.replace(day=22))
    live_on_sunday(bench)
    bench.wait(61)
    assert bench.state.feed == "closed"


def test_the_open_of_the_market_ends_every_wait() -> None:
    bench = Bench(hours="calendar", at=MONDAY.replace(hour=8, minute=59, second=50))
    bench.up()
    bench.login()
    bench.validate("refused")
    bench.forget()
    bench.wait(11)
    assert len(bench.all(m.Validate)) == 1


def test_a_feed_that_is_not_ready_before_the_open_says_so() -> None:
    bench = Bench(hours="calendar", at=MONDAY.replace(hour=8, minute=44, second=58))
    bench.up()
    bench.feed(m.SessionSeen("primary", None))
    bench.wait(5)
    (said,) = (say.text for say in bench.said if "not ready for the open" in say.text)
    assert "no valid session" in said
    assert "no socket" in said
    assert "no instruments" not in said


def test_a_feed_without_instruments_is_not_ready_for_the_open() -> None:
    at = MONDAY.replace(hour=8, minute=44, second=58)
    bench = Bench(hours="calendar", at=at, instruments=())
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.wait(5)
    (said,) = (say.text for say in bench.said if "not ready for the open" in say.text)
    assert said.endswith("no instruments")


def test_pause_closes_everything_and_is_remembered() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(Operate("paused"))
    assert bench.last(m.CloseLink).epoch == epoch
    assert bench.last(m.Grant).source == "none"
    assert bench.state.feed == "paused"
    assert bench.machine.state.persisted.override == "paused"
    again = Bench(persisted=bench.machine.state.persisted)
    again.up()
    again.login()
    again.wait(60)
    assert not again.all(m.OpenLink)


def test_source_rest_polls_and_source_auto_returns_to_the_socket() -> None:
    bench = Bench()
    bench.live()
    bench.feed(Operate("rest"))
    bench.grant()
    bench.poll()
    assert (bench.state.feed, bench.state.source) == ("rest", "rest")
    bench.feed(Operate("auto"))
    bench.validate("valid")
    bench.feed(m.LinkFresh(0, bench.open()))
    assert bench.state.feed == "live"


def test_retry_ends_a_wait_at_once() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    for wait_s in (5, 15):
        bench.validate("refused")
        bench.wait(wait_s)
    bench.validate("refused")
    bench.forget()
    bench.feed(RetryNow())
    assert len(bench.all(m.Validate)) == 1


def test_reports_of_another_epoch_change_nothing() -> None:
    bench = Bench()
    epoch = bench.live()
    for stale in (
        m.LinkClosed(0, epoch - 1, 1006, "x"),
        m.LinkRefused(0, epoch - 1, 403),
        m.LinkSilent(0, epoch - 1),
        m.Polled(0, epoch - 1, "token"),
        m.Probed(999, "token"),
    ):
        bench.feed(stale)
    assert bench.state.feed == "live"
    assert bench.machine.state.consecutive_403 == 0


def test_a_dead_ticker_is_followed_by_a_new_attempt_under_a_new_epoch() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(ActorLost(Role.TICKER))
    assert bench.state.feed == "stale"
    assert bench.last(m.Grant).source == "none"
    bench.up(Role.TICKER)
    bench.validate("valid")
    assert bench.last(m.OpenLink).epoch > epoch


def test_a_new_broadcaster_gets_its_grant_and_everything_is_asked_for_anew() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.forget()
    bench.restart(Role.BROADCASTER)
    assert bench.last(m.Grant) == m.Grant(0, epoch, "websocket")
    bench.grant()
    assert bench.last(m.Subscribe).is_refresh
    assert bench.state.feed == "live"


def test_a_restarted_supervisor_adopts_the_running_link_and_closes_no_fence() -> None:
    first = Bench()
    epoch = first.live()
    second = Bench(persisted=first.machine.state.persisted)
    running = LinkReport(0, epoch, "first", True, "websocket")
    second.up(Role.BROADCASTER)
    second.up(Role.TICKER, links=(running,))
    second.up(Role.REST_POLLER, Role.TOKEN_VALIDATOR, Role.AUTH_WATCHER)
    assert second.state.feed == "live"
    assert [g for g in second.all(m.Grant) if g.source != "websocket"] == []
    second.login()
    second.validate("valid")
    assert not second.all(m.OpenLink)
    assert not second.all(m.CloseLink)


def test_an_attempt_gives_way_to_a_socket_that_the_ticker_turns_out_to_have() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    attempt = bench.last(m.OpenLink).epoch
    running = LinkReport(0, attempt + 5, "first", True, "websocket")
    bench.up(Role.TICKER, links=(running,), is_new=False)
    assert bench.last(m.CloseLink).epoch == attempt
    assert bench.state.feed == "live"
    bench.wait(10, fresh=True)  # longer than an attempt may take
    assert bench.machine.state.dial.state is DialState.IDLE
    assert bench.state.feed == "live"


def test_a_hello_that_crosses_an_order_to_close_does_not_bring_its_socket_back() -> None:
    """The socket it tells of was silent and is being closed: to adopt it would call it live."""
    bench = Bench()
    epoch = bench.live()
    bench.feed(m.LinkSilent(0, epoch))
    bench.forget()
    running = LinkReport(0, epoch, "first", True, "websocket")
    bench.up(Role.TICKER, links=(running,), is_new=False)
    assert bench.state.feed == "stale"
    assert bench.last(m.CloseLink) == m.CloseLink(0, epoch)
    assert bench.all(m.Grant) == []


def test_a_restarted_supervisor_waits_for_a_ticker_as_long_as_for_one_it_knows() -> None:
    """On a slow host its hello may be read seconds late, and the stored epoch be above the link's
    (another shard's, or REST's): the fence must not have been closed under that one by then."""
    epoch = Bench().live()
    second = Bench(persisted=Persisted(epoch=epoch + 3))
    held = GrantReport(0, epoch, "websocket")
    second.feed(ActorUp(Hello(Role.BROADCASTER, "boot", 7, 7, "1", grants=(held,)), True))
    second.up(Role.REST_POLLER)
    second.wait(4)
    assert second.all(m.Grant) == []
    second.up(Role.TICKER, links=(LinkReport(0, epoch, "first", True, "websocket"),))
    assert {(grant.epoch, grant.source) for grant in second.all(m.Grant)} <= {(epoch, "websocket")}
    assert second.all(m.CloseLink) == []


def test_a_restarted_supervisor_closes_the_fence_of_a_ticker_that_never_speaks() -> None:
    epoch = Bench().live()
    second = Bench(persisted=Persisted(epoch=epoch))
    second.up(Role.BROADCASTER, Role.REST_POLLER)
    second.wait(6)
    assert second.last(m.Grant) == m.Grant(0, epoch, "none")


@pytest.mark.parametrize("is_ticker_first", [False, True])
def test_a_restarted_supervisor_asks_for_nothing_anew_whoever_speaks_first(
    is_ticker_first: bool,
) -> None:
    first = Bench()
    epoch = first.live()
    second = Bench(persisted=first.machine.state.persisted)
    running = LinkReport(0, epoch, "first", True, "websocket", (NIFTY.token, INFY.token))
    held = GrantReport(0, epoch, "websocket")
    hellos = [
        Hello(Role.BROADCASTER, "boot", 7, 7, "1", grants=(held,)),
        Hello(Role.TICKER, "boot", 7, 7, "1", links=(running,)),
    ]
    for hello in reversed(hellos) if is_ticker_first else hellos:
        second.feed(ActorUp(hello, True))
    second.up(Role.REST_POLLER)
    second.grant()
    (order,) = second.all(m.Subscribe)
    assert order == m.Subscribe(0, epoch, (NIFTY, INFY), is_refresh=False)


def test_epochs_only_rise_also_when_the_stored_one_is_lost() -> None:
    first = Bench()
    epoch = first.live()
    second = Bench(persisted=Persisted())
    second.wait(1)
    running = LinkReport(0, epoch + 50, "first", True, "websocket")
    second.up(Role.TICKER, links=(running,))
    second.feed(ActorLost(Role.TICKER))
    second.up(Role.TICKER)
    second.login()
    second.validate("valid")
    assert second.last(m.OpenLink).epoch > epoch + 50


def test_an_epoch_is_written_down_before_it_is_used() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    before = bench.persisted
    bench.validate("valid")
    assert bench.persisted > before
    assert bench.machine.state.persisted.epoch == bench.last(m.OpenLink).epoch


def test_a_socket_that_opens_after_it_was_given_up_is_closed_again() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    epoch = bench.last(m.OpenLink).epoch
    bench.wait(13)
    bench.forget()
    bench.feed(m.LinkOpened(0, epoch))
    assert bench.last(m.CloseLink).epoch == epoch


def test_changed_wants_reach_an_open_link_at_once() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(Instruments((NIFTY,)))
    assert bench.last(m.Subscribe) == m.Subscribe(0, epoch, (NIFTY,))


def test_a_broken_configuration_is_the_headline_and_connects_nothing() -> None:
    bench = Bench(misconfigured="kitefeed.toml: mode: is wrong")
    bench.up()
    bench.login()
    bench.wait(30)
    assert bench.state.feed == "misconfigured"
    assert not bench.all(m.OpenLink)


def test_a_wall_clock_step_costs_no_reconnect() -> None:
    bench = Bench()
    bench.live()
    bench.forget()
    for step_s in (3_600, -3_600):
        bench.feed(Clock(bench.utc_ns + step_s * 1_000_000_000))
    bench.wait(5, fresh=True)
    assert not bench.all(m.CloseLink)
    assert bench.state.feed == "live"


def test_every_waiting_state_owns_a_deadline() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    for verdict in ("refused", "unverified", "refused"):
        bench.validate(verdict)
        assert bench.machine.deadline_ns is not None
        assert bench.until(m.Validate) <= 60


# --- what the broadcaster lost --------------------------------------------------------------------


def refreshes(bench: Bench) -> int:
    return sum(order.is_refresh for order in bench.all(m.Subscribe))


def lose(bench: Bench, count: int) -> None:
    bench.feed(Beat(losses={0: count}))


def test_ticks_that_never_reached_the_broadcaster_are_asked_for_anew_on_the_same_socket() -> None:
    bench = Bench()
    bench.live()
    bench.forget()
    lose(bench, 3)
    assert refreshes(bench) == 1
    assert not bench.all(m.CloseLink)
    assert "ticks were lost" in bench.said[-1].text
    bench.feed(Beat(losses={0: 3}), Beat(fresh_tick_age_ns=0))
    lose(bench, 3)
    bench.wait(60, fresh=True)
    assert refreshes(bench) == 1


def test_a_broadcaster_that_goes_on_losing_is_not_given_more_to_do_all_the_time() -> None:
    bench = Bench()
    bench.live()
    bench.forget()
    for count in range(1, 20):
        lose(bench, count)
        bench.wait(1, fresh=True)
    assert refreshes(bench) == 2
    assert sum("ticks were lost" in say.text for say in bench.said) == 3


def test_a_new_broadcaster_begins_to_count_anew() -> None:
    bench = Bench()
    bench.live()
    lose(bench, 3)
    bench.feed(Beat(losses={}))
    bench.wait(20, fresh=True)
    bench.forget()
    lose(bench, 1)
    assert refreshes(bench) == 1


def test_nothing_is_tried_before_there_is_a_session() -> None:
    bench = Bench()
    bench.up()
    bench.wait(2)
    assert bench.machine.state.dial.state is DialState.IDLE
    assert not bench.all(m.Validate)


def test_a_move_ends_when_a_quote_finds_the_new_login_dead_and_the_old_socket_streams_on() -> None:
    bench = Bench()
    old = bench.live()
    bench.login("second")
    bench.validate("valid")
    move = bench.last(m.OpenLink)
    bench.feed(m.LinkDoubt(0, old, "canary", NIFTY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "token"))
    assert bench.last(m.CloseLink).epoch == move.epoch
    assert bench.machine.state.dial.state is DialState.IDLE
    assert bench.machine.state.shards[0].link.epoch == old
