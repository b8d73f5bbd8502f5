"""Sessions that are replaced, refused or without data while something else is under way."""

from datetime import datetime

import pytest

from kitefeed.actors.policy.market import Hours
from kitefeed.actors.supervisor import report, session
from kitefeed.actors.supervisor.facts import (
    Clock,
    DialState,
    Elsewhere,
    Operate,
    RetryNow,
)
from kitefeed.actors.supervisor.roster import Roster
from kitefeed.actors.supervisor.shards import Capacity
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import LinkReport
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import NIFTY, Bench


def polling(bench: Bench) -> m.StartPolling:
    """The operator chose REST, and it is polled."""
    bench.up()
    bench.login()
    bench.feed(Operate("rest"))
    bench.validate("valid")
    bench.grant()
    bench.poll()
    return bench.last(m.StartPolling)


def refuse_three_times(bench: Bench) -> None:
    for wait_s in (5, 15, 0):
        bench.validate("valid")
        bench.refuse()
        bench.wait(wait_s)


def test_a_quote_of_the_former_session_says_nothing_about_the_new_login() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.feed(m.LinkRefused(0, bench.last(m.OpenLink).epoch, 403))
    asked = bench.last(m.Probe).request_id
    bench.login("second")
    bench.feed(m.Probed(asked, "token"))
    assert bench.state.session == "unknown"
    bench.validate("valid")
    assert bench.last(m.OpenLink).fingerprint == "second"


def test_a_refused_new_login_whose_quotes_fail_does_not_drop_the_socket_of_the_old_one() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.login("second")
    bench.validate("refused")
    bench.feed(m.LinkDoubt(0, epoch, "canary", NIFTY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "token"))
    assert bench.state.feed == "live"
    assert not bench.all(m.CloseLink)


def test_a_stalled_stream_of_a_refused_session_is_followed_by_validations_on_the_ladder() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.wait(300.5, fresh=True)
    bench.validate("refused")
    bench.feed(m.LinkDoubt(0, epoch, "canary", NIFTY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "token"))
    assert bench.last(m.CloseLink).epoch == epoch
    assert bench.state.feed == "login_required"
    bench.forget()
    bench.wait(5.1)
    assert len(bench.all(m.Validate)) == 1


def test_a_socket_refused_after_a_poll_met_the_dead_session_waits_on_the_ladder() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    refuse_three_times(bench)
    bench.grant()
    bench.wait(60)
    bench.validate("valid")
    bench.poll("token")
    bench.refuse(quote="token")
    assert bench.machine.state.dial.state is DialState.WAITING
    assert bench.until(m.Validate) <= 60


def test_a_third_login_while_the_second_is_being_connected_replaces_it() -> None:
    bench = Bench()
    bench.live()
    bench.login("second")
    bench.validate("valid")
    second = bench.last(m.OpenLink).epoch
    bench.login("third")
    assert bench.last(m.CloseLink).epoch == second
    bench.validate("valid")
    assert bench.last(m.OpenLink).fingerprint == "third"
    bench.feed(m.LinkOpened(0, bench.last(m.OpenLink).epoch))
    assert bench.machine.state.shards[0].link.fingerprint == "third"


def test_a_login_that_was_good_before_the_socket_was_proven_is_used_at_once_after_it() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    epoch = bench.open()
    bench.login("second")
    bench.validate("valid")
    bench.feed(m.LinkFresh(0, epoch))
    bench.validate("valid")
    assert bench.last(m.OpenLink).fingerprint == "second"


def test_what_was_seen_refused_is_not_trusted_after_a_restart() -> None:
    first = Bench()
    first.live()
    first.wait(300.5, fresh=True)
    first.validate("refused")
    second = Bench(persisted=first.machine.state.persisted)
    second.up()
    second.login()
    second.validate("unverified")
    assert not second.all(m.OpenLink)


def test_an_attempt_with_a_session_that_is_found_dead_meanwhile_is_given_up() -> None:
    bench = Bench(capacity=Capacity(2, 1))
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.open()
    epoch = bench.last(m.OpenLink).epoch  # of the second socket
    bench.feed(RetryNow())
    asked = len(bench.all(m.Validate))
    bench.validate("refused")
    assert bench.last(m.CloseLink).epoch == epoch
    bench.wait(4.9)
    assert len(bench.all(m.Validate)) == asked  # not once more at once
    bench.wait(0.2)
    assert len(bench.all(m.Validate)) == asked + 1
    assert bench.last(m.OpenLink).epoch == epoch


def test_a_move_to_a_session_that_is_found_dead_meanwhile_leaves_the_old_socket_alone() -> None:
    bench = Bench()
    bench.live()
    epoch = bench.last(m.OpenLink).epoch
    bench.login("second")
    bench.validate("valid")
    bench.validate("valid")
    moved = bench.last(m.OpenLink).epoch
    assert moved > epoch
    bench.feed(RetryNow())
    bench.validate("refused")
    assert bench.last(m.CloseLink).epoch == moved
    assert bench.state.feed == "live"


def test_a_session_file_that_is_removed_and_restored_connects_again() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(m.SessionSeen("primary", None))
    bench.login("first")
    bench.validate("valid")
    assert bench.last(m.OpenLink).epoch > epoch


def test_a_late_answer_about_the_same_session_is_no_answer_to_the_next_question() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    late = bench.last(m.Validate)
    bench.until(m.Validate)
    bench.feed(m.Validated(late.request_id, "first", "primary", "refused"))
    assert bench.state.session == "unverified"
    bench.validate("valid")
    assert bench.state.session == "valid"


def test_a_plan_without_data_met_by_a_poll_ends_the_attempt_under_way() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    refuse_three_times(bench)
    bench.grant()
    bench.wait(60)
    bench.validate("valid")
    attempt = bench.last(m.OpenLink).epoch
    bench.poll("permission")
    assert bench.last(m.CloseLink).epoch == attempt
    bench.feed(m.LinkOpened(0, attempt))
    assert bench.state.feed == "no_entitlement"
    assert not bench.machine.state.is_any_open


def test_a_plan_without_data_met_by_a_poll_ends_the_question_why_a_socket_was_refused() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    refuse_three_times(bench)
    bench.grant()
    bench.wait(60)
    bench.validate("valid")
    bench.feed(m.LinkRefused(0, bench.last(m.OpenLink).epoch, 403))
    bench.poll("permission")
    assert bench.state.feed == "no_entitlement"
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    bench.until(m.Probe, 1_000)
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    bench.wait(0.1)
    bench.validate("valid")
    bench.feed(m.LinkFresh(0, bench.open()))
    assert bench.state.feed == "live"


def test_a_plan_that_has_data_again_is_polled_again() -> None:
    bench = Bench()
    polling(bench)
    bench.poll("permission")
    bench.until(m.Probe, 1_000)
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    bench.grant()
    bench.poll()
    assert bench.state.feed == "rest"


def test_a_session_that_dies_while_its_plan_has_no_data_is_validated_on_the_ladder() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.refuse(quote="permission")
    bench.until(m.Probe, 1_000)
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "token"))
    assert bench.state.feed == "login_required"
    assert bench.until(m.Validate) <= 60


def test_a_question_that_nobody_answers_is_given_up_after_eight_seconds() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.feed(m.LinkRefused(0, bench.last(m.OpenLink).epoch, 403))
    bench.wait(7.9)
    assert bench.state.reason == "the WebSocket was refused; asking why"
    bench.wait(0.2)
    assert bench.machine.state.dial.state is DialState.WAITING
    assert bench.machine.state.dial.cause == "socket"


def test_fresh_ticks_disprove_that_the_plan_has_no_data() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.refuse(quote="permission")
    epoch = bench.last(m.OpenLink).epoch + 1
    running = LinkReport(0, epoch, "first", False, "websocket")
    bench.up(Role.TICKER, links=(running,), is_new=False)
    bench.feed(m.LinkFresh(0, epoch))
    assert bench.state.feed == "live"


def test_a_new_login_that_could_not_be_judged_while_live_is_asked_about_again_soon() -> None:
    bench = Bench()
    bench.live()
    bench.login("second")
    bench.validate("unverified")
    assert bench.until(m.Validate) <= 15.1
    bench.validate("valid")
    assert bench.last(m.OpenLink).fingerprint == "second"


# --- several session files ------------------------------------------------------------------------


def two_files(bench: Bench, newer: str = "newer", older: str = "first") -> None:
    bench.feed(m.SessionSeen("primary", newer, None, (older,)))


def test_a_newer_file_with_a_dead_token_does_not_displace_the_session_that_works() -> None:
    bench = Bench()
    epoch = bench.live()
    two_files(bench)
    bench.validate("refused")
    bench.validate("valid")
    assert bench.last(m.Validate).fingerprint == "first"
    assert (bench.state.feed, bench.state.session, bench.state.reason) == (
        "live",
        "valid",
        "streaming",
    )
    assert not bench.all(m.CloseLink)
    assert bench.errors() == []
    assert any("newer" in said.text and "first" in said.text for said in bench.said)
    bench.feed(m.LinkClosed(0, epoch, 1006, "gone"))
    bench.validate("valid")
    assert bench.last(m.OpenLink).fingerprint == "first"


def test_at_the_start_the_first_session_that_kite_accepts_is_used() -> None:
    bench = Bench()
    bench.up()
    bench.feed(m.SessionSeen("primary", "a", None, ("b", "c")))
    bench.validate("refused")
    bench.validate("refused")
    bench.validate("valid")
    assert [asked.fingerprint for asked in bench.all(m.Validate)] == ["a", "b", "c"]
    assert bench.last(m.OpenLink).fingerprint == "c"
    assert bench.errors() == []


def test_a_newer_file_that_kite_accepts_is_used() -> None:
    bench = Bench()
    bench.live()
    two_files(bench)
    bench.validate("valid")
    assert bench.state.session == "valid"
    assert bench.last(m.OpenLink).fingerprint == "newer"


def test_trouble_on_the_way_to_kite_makes_nobody_fall_back() -> None:
    bench = Bench()
    bench.live()
    two_files(bench)
    bench.validate("unverified")
    assert bench.last(m.Validate).fingerprint == "newer"
    assert bench.state.session == "unverified"


def test_the_session_in_use_that_dies_gives_way_to_one_that_was_never_tried() -> None:
    bench = Bench()
    bench.live()
    bench.feed(m.SessionSeen("primary", "first", None, ("older",)))
    bench.wait(300.5, fresh=True)
    bench.validate("refused")
    assert bench.last(m.Validate).fingerprint == "older"


def test_when_all_are_refused_they_take_turns_on_the_ladder() -> None:
    bench = Bench()
    bench.up()
    two_files(bench)
    bench.validate("refused")
    bench.validate("refused")
    assert bench.state.feed == "login_required"
    assert len(bench.errors()) == 1
    for _ in range(4):
        bench.until(m.Validate)
        bench.validate("refused")
    asked = [each.fingerprint for each in bench.all(m.Validate)]
    assert asked == ["newer", "first"] * 3
    bench.until(m.Validate)
    bench.validate("valid")
    assert bench.state.session == "valid"
    assert bench.last(m.OpenLink).fingerprint == "newer"


def test_a_login_after_a_refusal_is_tried_first_and_what_was_refused_is_not_asked_again() -> None:
    bench = Bench()
    bench.live()
    two_files(bench)
    bench.validate("refused")
    bench.validate("valid")
    bench.feed(m.SessionSeen("primary", "login", None, ("newer", "first")))
    assert bench.last(m.Validate).fingerprint == "login"
    bench.validate("refused")
    assert bench.last(m.Validate).fingerprint == "first"


def test_a_file_that_goes_changes_nothing_for_the_session_in_use() -> None:
    bench = Bench()
    bench.live()
    two_files(bench)
    bench.validate("refused")
    bench.validate("valid")
    bench.forget()
    bench.login("first")
    assert not bench.all(m.Validate)
    assert bench.machine.state.session.refused == {}


def test_each_session_is_reported_with_what_kite_made_of_it() -> None:
    bench = Bench()
    bench.live()
    bench.feed(m.SessionSeen("primary", "newer", None, ("first", "older")))
    bench.validate("refused")
    bench.validate("valid")
    wishes, around = Subscriptions((), (), "full", {}), report.Surroundings()
    found = report.status(bench.machine.state, wishes, Roster(0), around, bench.now_ns)
    assert [(each.fingerprint, each.word, each.is_in_use) for each in found.sessions] == [
        ("newer", "refused", False),
        ("first", "valid", True),
        ("older", "unknown", False),
    ]


def test_a_refused_session_is_forgotten_as_good_and_no_other_one() -> None:
    bench = Bench()
    bench.up()
    bench.login("first")
    bench.validate("valid")
    seen_utc_ns = bench.machine.state.persisted.valid_utc_ns
    assert seen_utc_ns
    bench.login("second")
    bench.validate("refused")
    assert bench.machine.state.persisted.valid_utc_ns == seen_utc_ns
    bench.login("first")
    bench.validate("refused")
    assert not bench.machine.state.persisted.valid_utc_ns


# --- who ended it -------------------------------------------------------------------------------


def ended(
    *, good: str, refused: str, rule: Elsewhere = "alert", hours: Hours = "calendar"
) -> Bench:
    """A session seen good at the one time (November 2026, IST), and refused at the other."""
    begin, end = (datetime.fromisoformat(f"2026-11-{at}").replace(tzinfo=IST)
                  for at in (good, refused))  # fmt: skip
    bench = Bench(at=begin, hours=hours)
    bench.machine.state.elsewhere = rule
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.step_clock((end - begin).total_seconds() - 1)
    bench.feed(Clock(bench.utc_ns))
    bench.feed(RetryNow())
    bench.wait(1)
    session.refused_elsewhere(bench.machine.state, "first", "Token is invalid")
    bench.feed(Clock(bench.utc_ns))
    return bench


@pytest.mark.parametrize(
    ("good", "refused"),
    [("23 09:20", "23 11:05"), ("23 07:40", "23 23:00"), ("23 16:00", "24 05:30")],
)
def test_a_session_that_dies_between_two_flushes_was_ended_by_somebody_else(
    good: str, refused: str
) -> None:
    reason = session.elsewhere(ended(good=good, refused=refused).machine.state.session)
    assert "somebody else logged in" in reason
    assert f"good at {good[3:]}" in reason
    assert f"refused at {refused[3:]}" in reason


@pytest.mark.parametrize(
    ("good", "refused"),
    [("23 09:20", "24 06:10"), ("23 16:00", "24 09:00"), ("23 06:30", "23 07:20"),
     ("23 07:31", "23 07:34"), ("23 06:30", "23 12:00"), ("20 12:00", "23 05:00")],
)  # fmt: skip
def test_a_session_that_kites_flush_may_have_ended_is_blamed_on_nobody(
    good: str, refused: str
) -> None:
    assert not session.elsewhere(ended(good=good, refused=refused).machine.state.session)


def test_a_session_that_dies_when_kite_flushes_has_expired() -> None:
    assert "expired" in ended(good="24 16:00", refused="25 09:05").state.reason


def test_a_simulators_market_has_no_flush_to_end_a_session() -> None:
    reason = ended(good="23 06:30", refused="23 07:20", hours="always").state.reason
    assert "somebody else logged in" in reason


def test_who_waits_for_the_other_program_has_a_warning_and_no_error() -> None:
    waiting = ended(good="23 09:20", refused="23 11:05", rule="wait")
    assert not any("login_required" in text for text in waiting.errors())
    assert "waiting for a new session" in waiting.state.reason
    alerted = ended(good="23 09:20", refused="23 11:05")
    assert any("login_required" in text for text in alerted.errors())


def test_who_waits_for_the_other_program_is_told_of_a_session_that_nobody_else_ended() -> None:
    expired = ended(good="24 16:00", refused="25 09:05", rule="wait")
    assert any("login_required" in text for text in expired.errors())


def test_the_next_login_ends_what_is_said_of_somebody_else() -> None:
    bench = ended(good="23 09:20", refused="23 11:05")
    assert bench.machine.state.session.elsewhere_utc_ns
    bench.login("second")
    assert not bench.machine.state.session.elsewhere_utc_ns
    bench.validate("refused")
    assert "somebody else" not in bench.state.reason
