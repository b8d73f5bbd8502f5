"""Tests who is told of what, and when, on a virtual clock."""

from datetime import time

import msgspec
import pytest

from kitefeed.protocol.messages.status import (
    ActorStatus,
    ListStatus,
    ReaderStatus,
    ShardStatus,
    SubscriptionCounts,
)
from kitefeed.services.notifier.alerts import KINDS, Code, Links, compose, lasted
from kitefeed.services.notifier.machine import Machine, Memory, Rules
from tests.unit.services.notifier_kit import Day

MONDAY = "2026-11-30"
NOON = f"{MONDAY} 12:00"
LOGIN = {"source": "cache", "session": "refused", "reason": "Kite refuses the session"}


def needs_login(day: Day) -> None:
    day.set("login_required", **LOGIN)
    day.knows(feed="login_required", session="refused")


def test_a_good_day_tells_nobody_anything_but_that_all_is_well() -> None:
    day = Day(f"{MONDAY} 08:00")
    day.set("closed")
    assert day.run(f"{MONDAY} 09:15") == []
    day.set("live")
    assert day.run(f"{MONDAY} 10:00") == []
    assert 119 <= day.beats <= 121


def test_a_login_is_asked_for_once_with_the_link_and_reminded_of_every_quarter_of_an_hour() -> None:
    day = Day(NOON)
    day.run(seconds=60)
    needs_login(day)
    assert day.run(seconds=20) == ["KF-LOGIN"]
    (alert,) = day.alerts
    assert alert.link == "http://127.0.0.1:8787/login"
    assert "Next: Log in: http://127.0.0.1:8787/login" in alert.text
    assert "Kite refuses the session." in alert.text
    assert alert.wakes
    assert day.run(seconds=14 * 60) == []
    assert day.run(seconds=46 * 60) == ["KF-LOGIN"] * 4
    assert "still after" in day.alerts[-1].title


def test_without_a_gateway_the_command_is_named() -> None:
    day = Day(NOON, links=Links("", "box"))
    needs_login(day)
    day.run(seconds=20)
    assert "kitefeed login --paste" in day.alerts[0].text
    assert day.alerts[0].link == ""


def test_the_end_of_an_outage_is_told_with_its_length_from_its_very_beginning() -> None:
    day = Day(NOON)
    day.set("stale", source="cache", reason="no connection to Kite")
    day.run(seconds=20)
    needs_login(day)
    day.run(seconds=600)
    day.set("stale", session="valid", reason="connecting")
    day.run(seconds=100)
    day.back()
    assert day.run(seconds=20) == ["KF-RECOVERED"]
    recovered = day.alerts[-1]
    assert "KF-LOGIN and KF-LOST over after 12 min" in recovered.text
    assert "prices are fresh, by websocket" in recovered.text
    assert not recovered.wakes


def test_an_outage_that_nobody_was_told_of_ends_without_a_word() -> None:
    day = Day(NOON)
    day.run(seconds=120)
    day.set("stale", source="cache", reason="connecting")
    day.run(seconds=20)
    day.back()
    assert day.run(seconds=3600) == []


def test_polling_wakes_nobody_and_is_said_once() -> None:
    day = Day(NOON)
    day.set("rest", source="rest", reason="polled every 5 s: the WebSocket is refused")
    assert day.run(seconds=3 * 3600) == ["KF-REST"]
    assert not day.alerts[0].wakes
    assert "wake nobody" in day.alerts[0].text
    day.back()
    assert day.run(seconds=20) == ["KF-RECOVERED"]
    assert "KF-REST over after 3 h" in day.alerts[-1].text


def test_polling_that_the_operator_chose_is_no_news() -> None:
    day = Day(NOON)
    day.set("rest", source="rest", override="rest", reason="the operator chose REST")
    assert day.run(seconds=600) == []


def test_a_pause_is_the_operators_wish() -> None:
    day = Day(NOON)
    day.set("paused", reason="paused by the operator")
    assert day.run(seconds=600) == []
    assert day.beats == 10


def test_a_session_that_dies_while_its_socket_streams_is_told() -> None:
    day = Day(NOON)
    day.set("live", session="refused")
    assert day.run(seconds=60) == ["KF-LOGIN"]
    assert "still streams" in day.alerts[0].text


def test_a_plan_without_market_data_is_told_with_the_remedy() -> None:
    day = Day(NOON)
    day.set("no_entitlement", source="none", reason="the Kite plan has no market data")
    assert day.run(seconds=30) == ["KF-NO-ENTITLEMENT"]
    assert "developers.kite.trade" in day.alerts[0].text


@pytest.mark.parametrize("feed", ["stale", "misconfigured"])
def test_no_fresh_price_in_market_hours_is_told_with_the_reason(feed: str) -> None:
    day = Day(NOON)
    day.set(feed, source="cache", reason="no connection to Kite: timed out")
    assert day.run(seconds=120) == ["KF-LOST"]
    assert "no connection to Kite: timed out" in day.alerts[0].text


def test_a_source_that_is_silent_under_a_live_headline_is_told() -> None:
    day = Day(NOON)
    day.set("live", is_heard=False)
    assert day.run(seconds=120) == ["KF-LOST"]
    assert day.beats == 0


def test_a_daemon_that_dies_is_told_and_its_return_too() -> None:
    day = Day(NOON)
    day.run(seconds=120)
    day.silent()
    assert day.run(seconds=60) == ["KF-LOST"]
    assert "silent" in day.alerts[0].text
    day.back()
    assert day.run(seconds=20) == ["KF-RECOVERED"]


def test_a_supervisor_that_alone_does_not_answer_is_told() -> None:
    day = Day(NOON)
    day.run(seconds=120)
    day.facts = day.facts._replace(report=None)
    assert day.run(seconds=120) == ["KF-LOST"]
    assert "supervisor" in day.alerts[0].text


def test_a_daemon_that_starts_is_not_lost() -> None:
    day = Day(NOON)
    day.silent()
    day.run(seconds=50)
    day.back()
    assert day.run(seconds=600) == []


def test_a_fresh_installation_without_instruments_is_no_outage() -> None:
    day = Day(NOON)
    day.set("stale", reason="connected, but no instrument is wanted")
    day.knows(feed="stale", subscriptions=SubscriptionCounts())
    assert day.run(seconds=600) == []


def test_a_condition_that_comes_and_goes_does_not_flood() -> None:
    day = Day(NOON)
    for _ in range(60):
        needs_login(day)
        day.run(seconds=30)
        day.back()
        day.run(seconds=30)
    codes = [alert.code for alert in day.alerts]
    assert codes.count(Code.LOGIN) <= 12
    assert codes.count(Code.RECOVERED) <= codes.count(Code.LOGIN)


# --- hours --------------------------------------------------------------------------------------


def test_reminders_end_with_the_market_and_an_outage_ends_with_it_in_silence() -> None:
    day = Day(f"{MONDAY} 15:00")
    needs_login(day)
    assert day.run(f"{MONDAY} 16:00").count("KF-LOGIN") >= 3
    day.set("closed", session="refused")
    assert day.run(f"{MONDAY} 23:59") == []


def test_a_disk_that_fills_at_night_is_told_in_the_morning() -> None:
    day = Day(f"{MONDAY} 23:00")
    day.set("closed")
    day.knows(feed="closed", market={"NSE": "closed"})
    day.facts = day.facts._replace(free_mb=3.0)
    assert day.run("2026-12-01 07:59") == []
    assert day.run("2026-12-01 08:01") == ["KF-CALENDAR", "KF-DISK"]
    assert "3 MB" in day.alerts[-1].text


def test_a_recording_that_cannot_be_written_is_told_as_a_full_disk() -> None:
    day = Day(f"{MONDAY} 11:00")
    problem = "/rec/2026-11-30/110000-000.kfrec: No space left on device"
    day.knows(readers=[ReaderStatus("recorder", 1, 0.0, problem=problem)])
    assert day.run(seconds=29) == []
    assert day.run(seconds=31) == ["KF-DISK"]
    assert f"The feed is not recorded, or soon will not be: {problem}." in day.alerts[-1].text
    day.knows(readers=[ReaderStatus("strategy.py", 1, 0.0, problem="mine")])
    assert day.run(seconds=60) == ["KF-RECOVERED"]


def test_who_asks_for_it_is_told_at_night() -> None:
    day = Day(f"{MONDAY} 23:00", rules=Rules(at_night=True))
    day.set("closed")
    day.facts = day.facts._replace(free_mb=3.0)
    assert day.run(seconds=120) == ["KF-DISK"]


def test_an_evening_session_of_commodities_is_no_night() -> None:
    day = Day(f"{MONDAY} 22:30")
    needs_login(day)
    day.knows(feed="login_required", session="refused", market={"MCX": "open"})
    assert day.run(seconds=30) == ["KF-LOGIN"]


def test_a_daemon_that_is_lost_at_night_is_told_in_the_morning_and_is_not_reminded_of() -> None:
    day = Day("2026-11-29 02:00")  # a Sunday
    day.silent()
    assert day.run("2026-11-29 07:59") == []
    assert day.run("2026-11-29 20:00") == ["KF-LOST"]
    day.back("closed")
    assert day.run("2026-11-29 20:01") == ["KF-RECOVERED"]
    assert "the feed is closed" in day.alerts[-1].text


# --- who logs in by itself ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "is_elsewhere", "grace_s"),
    [("alert", True, 5), ("wait", True, 900), ("command", True, 120),
     ("alert", False, 5), ("wait", False, 5), ("command", False, 5)],
)  # fmt: skip
@pytest.mark.parametrize("feed", ["login_required", "live"])
def test_a_login_elsewhere_is_given_the_time_that_the_rule_says(
    rule: str, is_elsewhere: bool, grace_s: int, feed: str
) -> None:
    """Where the socket still streams half a minute is the least."""
    grace_s = max(grace_s, 30) if feed == "live" else grace_s
    day = Day(NOON)
    day.facts = day.facts._replace(elsewhere=rule, has_command=rule == "command")
    day.set(feed, **{**LOGIN, "source": "cache" if feed == "login_required" else "websocket"})
    at_s = day.utc_ns / 1e9 if is_elsewhere else None
    day.knows(feed=feed, session="refused", elsewhere_utc_s=at_s)
    assert day.run(seconds=grace_s - 1) == []
    assert day.run(seconds=2) == ["KF-LOGIN"]
    assert day.run(seconds=14 * 60) == []
    assert day.run(seconds=2 * 60) == ["KF-LOGIN"]


def test_a_session_that_is_taken_back_in_time_is_no_news() -> None:
    day = Day(NOON)
    day.facts = day.facts._replace(elsewhere="command", has_command=True)
    needs_login(day)
    day.knows(feed="login_required", session="refused", elsewhere_utc_s=day.utc_ns / 1e9)
    assert day.run(seconds=100) == []
    day.back()
    assert day.run(seconds=3600) == []


def at_eight(at: str = f"{MONDAY} 07:00", *, has_command: bool = False, **changes: object) -> Day:
    day = before_the_open(at, session="refused", **changes)
    day.facts = day.facts._replace(login_at=time(8), has_command=has_command)
    return day


def test_a_dead_session_at_the_hour_of_the_login_is_told_with_the_link() -> None:
    """The service `login` has neither a refresh token nor a command, and says so in its log."""
    day = at_eight()
    assert day.run(f"{MONDAY} 08:00") == []
    assert day.run(f"{MONDAY} 08:02") == ["KF-LOGIN"]
    assert day.alerts[0].link == "http://127.0.0.1:8787/login"
    assert "the market opens at 09:00 IST" in day.alerts[0].text
    assert day.run(f"{MONDAY} 08:44") == [], "reminders come in market hours"
    day.knows(feed="closed", market={"NSE": "closed"})
    assert day.run(f"{MONDAY} 08:50") == ["KF-RECOVERED"]
    assert "KF-LOGIN" in day.alerts[-1].text


def test_a_command_has_the_time_for_its_three_tries_before_a_person_is_asked() -> None:
    day = at_eight(has_command=True)
    assert day.run(f"{MONDAY} 08:09") == []
    assert day.run(f"{MONDAY} 08:11") == ["KF-LOGIN"]


def test_a_login_that_nobody_made_is_told_on_until_it_is_there() -> None:
    """One after the other, never twice at once; the outage counts from the open."""
    day = at_eight()
    assert day.run(f"{MONDAY} 08:59:50") == ["KF-LOGIN", "KF-NOT-READY"]
    needs_login(day)
    day.facts = day.facts._replace(login_at=time(8))
    assert day.run(f"{MONDAY} 09:10") == ["KF-LOGIN"]
    assert "still after" in day.alerts[-1].title
    day.back()
    assert day.run(f"{MONDAY} 09:12") == ["KF-RECOVERED"]
    assert "KF-LOGIN over after 10 min" in day.alerts[-1].text


def test_a_login_right_after_the_open_is_told_to_who_was_asked_for_it() -> None:
    day = at_eight()
    day.run(f"{MONDAY} 08:59:30")
    day.set("stale", source="cache", session="refused", reason="starting")
    day.knows(feed="stale", session="refused")
    assert day.run(seconds=15) == [], "another word is no end"
    day.silent()
    assert day.run(seconds=10) == []
    needs_login(day)
    day.run(seconds=20)
    day.back()
    assert day.run(f"{MONDAY} 09:05") == ["KF-RECOVERED"]
    assert "KF-LOGIN" in day.alerts[-1].text


@pytest.mark.parametrize(
    ("date", "login_at"),
    [("2026-11-28", time(8)), ("2026-11-24", time(8)), (MONDAY, None)],
    ids=["a Saturday", "a holiday", "no hour"],
)
def test_nobody_is_asked_for_a_login_that_nothing_needs(date: str, login_at: time | None) -> None:
    day = at_eight(f"{date} 07:00")
    day.facts = day.facts._replace(login_at=login_at)
    assert day.run(f"{date} 08:44") == []


def test_an_hour_within_the_flush_is_moved_behind_it() -> None:
    day = at_eight()
    day.facts = day.facts._replace(login_at=time(6))
    day.machine = Machine(Rules(at_night=True), day.machine._links, day.machine._market, day.utc_ns)
    assert day.run(f"{MONDAY} 07:30") == []
    assert day.run(f"{MONDAY} 07:31") == ["KF-LOGIN"]


# --- before the open ----------------------------------------------------------------------------


def before_the_open(at: str = f"{MONDAY} 08:00", **changes: object) -> Day:
    day = Day(at)
    day.set("closed")
    day.knows(**{"feed": "closed", "market": {"NSE": "closed"}, **changes})
    return day


def test_a_quarter_to_nine_says_what_is_missing() -> None:
    day = before_the_open(
        session="refused",
        subscriptions=SubscriptionCounts(wanted=5, refused={"NSE:INFZ": "no such instrument"}),
        instrument_list=ListStatus(rows=9, day_ist="2026-11-27", outcome="taken"),
    )
    assert day.run(f"{MONDAY} 08:44:59") == []
    assert day.run(f"{MONDAY} 08:45") == ["KF-NOT-READY"]
    (alert,) = day.alerts
    assert "The market opens at 09:00 IST" in alert.text
    for missing in ("a valid session (it is refused)", "NSE:INFZ", "that of 2026-11-27"):
        assert missing in alert.text
    assert alert.link == "http://127.0.0.1:8787/login"
    assert alert.wakes
    assert day.run(f"{MONDAY} 08:59") == []


def test_what_was_missing_and_is_there_before_the_open_is_told() -> None:
    day = before_the_open(session="absent")
    day.run(f"{MONDAY} 08:50")
    day.knows(feed="closed", market={"NSE": "closed"})
    assert day.run(f"{MONDAY} 08:51") == ["KF-RECOVERED"]
    assert "not ready for the open" in day.alerts[-1].text


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"shards": [ShardStatus(0, "waiting", "none", 0, 5, 0)]}, "a socket to Kite"),
        ({"subscriptions": SubscriptionCounts()}, "none is wanted"),
        ({"actors": [ActorStatus("ticker", "absent")]}, "processes: ticker"),
        ({"session": "unverified"}, "it is unverified"),
        ({"actors": [ActorStatus("broadcaster", "up", counters={"writes_failing": 1})]}, "disk"),
    ],
)
def test_each_thing_that_can_lack_is_named(changes: dict[str, object], missing: str) -> None:
    day = before_the_open(**changes)
    assert "KF-NOT-READY" in day.run(f"{MONDAY} 08:46")
    assert missing in next(a.text for a in day.alerts if a.code == "KF-NOT-READY")


def test_no_daemon_at_a_quarter_to_nine_is_told_as_that() -> None:
    day = before_the_open()
    day.run(f"{MONDAY} 08:40")
    day.silent()
    assert sorted(day.run(f"{MONDAY} 08:46")) == ["KF-LOST", "KF-NOT-READY"]
    assert "a daemon that answers" in day.alerts[-1].text


@pytest.mark.parametrize("date", ["2026-11-28", "2026-11-29", "2026-11-24"])
def test_nobody_is_asked_to_be_ready_when_there_is_no_session(date: str) -> None:
    """A Saturday, a Sunday, a holiday."""
    assert before_the_open(f"{date} 08:00", session="refused").run(f"{date} 12:00") == []


def test_the_time_of_readiness_is_over_when_the_market_opens() -> None:
    day = before_the_open(session="refused")
    day.run(f"{MONDAY} 08:59:50")
    needs_login(day)
    assert day.run(f"{MONDAY} 09:05") == ["KF-LOGIN"]
    day.back()
    assert day.run(f"{MONDAY} 09:10") == ["KF-RECOVERED"]


# --- beside the feed ----------------------------------------------------------------------------


def test_a_list_that_is_not_believed_is_told_with_what_to_do() -> None:
    day = Day(NOON)
    doubted = ListStatus(rows=9, day_ist=MONDAY, outcome="doubted", detail="it lacks NSE:INFY")
    day.knows(instrument_list=doubted)
    assert day.run(seconds=7200) == ["KF-LIST"]
    assert "it lacks NSE:INFY" in day.alerts[0].text
    assert "--believe" in day.alerts[0].text
    assert "KF-LIST" not in day.run("2026-12-01 11:58")
    assert "KF-LIST" in day.run("2026-12-01 12:04"), "once a day"
    day.knows()
    assert day.run(seconds=20) == ["KF-RECOVERED"]


def test_a_list_that_cannot_be_had_for_a_moment_is_no_news() -> None:
    day = Day(NOON)
    day.knows(instrument_list=ListStatus(9, MONDAY, 1, "failed", "timed out"))
    assert day.run(seconds=590) == []
    assert day.run(seconds=20) == ["KF-LIST"]
    assert f"that of {MONDAY} stays in use: timed out" in day.alerts[0].text
    day = Day(NOON)
    day.knows(instrument_list=ListStatus(0, "", 1, "failed", "timed out"))
    assert day.run(seconds=610) == ["KF-LIST"]
    assert "there is none: timed out" in day.alerts[0].text


def test_what_only_the_supervisor_tells_is_not_over_because_it_is_silent() -> None:
    day = Day(NOON)
    day.knows(instrument_list=ListStatus(9, MONDAY, 1, "doubted", "half of it"))
    day.run(seconds=120)
    day.facts = day.facts._replace(report=None)
    assert day.run(seconds=30) == []


def test_a_calendar_that_runs_out_is_told_once_a_week() -> None:
    day = Day("2026-12-07 12:00")
    assert day.run("2026-12-22 12:00").count("KF-CALENDAR") == 3
    assert "2026" in day.alerts[0].text
    assert not day.alerts[0].wakes


# --- the dead man's switch, and the end ---------------------------------------------------------


@pytest.mark.parametrize(
    ("feed", "beats"), [("live", 10), ("closed", 10), ("rest", 10), ("stale", 0), ("lost", 0),
                        ("login_required", 0), ("no_entitlement", 0), ("misconfigured", 0)],
)  # fmt: skip
def test_the_switch_is_fed_once_a_minute_while_all_is_well(feed: str, beats: int) -> None:
    day = Day(NOON)
    day.set(feed)
    day.run(seconds=600)
    assert day.beats == beats


def test_the_switch_is_not_fed_while_an_alert_reaches_nobody() -> None:
    day = Day(NOON)
    day.is_delivered = False
    day.run(seconds=600)
    assert day.beats == 0


def test_an_orderly_end_is_said() -> None:
    alert = Day(NOON).machine.farewell(0).alert
    assert (alert.code, alert.wakes) == (Code.STOPPED, False)


def test_a_restarted_notifier_repeats_nothing_and_knows_how_long_it_lasted() -> None:
    before = Day(NOON)
    needs_login(before)
    assert before.run(seconds=120) == ["KF-LOGIN"]
    kept = msgspec.json.decode(msgspec.json.encode(before.machine.memory), type=Memory)
    after = Day(f"{MONDAY} 12:04", memory=kept)
    after.silent()
    after.run(seconds=10)
    needs_login(after)
    assert after.run(seconds=60) == []
    after.back()
    assert after.run(seconds=20) == ["KF-RECOVERED"]
    assert "over after 5 min" in after.alerts[0].text


def test_a_clock_that_is_put_back_neither_floods_nor_silences() -> None:
    day = Day(NOON)
    needs_login(day)
    day.run(seconds=60)
    day.utc_ns -= 3600 * 1_000_000_000
    assert day.run(seconds=14 * 60) == []
    assert day.run(seconds=2 * 60) == ["KF-LOGIN"]
    day.back()
    day.run(seconds=61)
    assert day.beats >= 1


def test_every_alert_says_what_to_do_next_and_what_should_wake_nobody_says_so() -> None:
    for code, kind in KINDS.items():
        for links in (Links("http://127.0.0.1:8787", "box"), Links("", "box")):
            alert = compose(code, "What happened.", links, 0)
            assert "\nNext: " in alert.text
            assert "{" not in alert.text
            assert alert.link.startswith(links.page)
            assert alert.link in alert.text
            assert bool(alert.link) is bool(links.page)
            assert ("wake nobody" in alert.text) is not kind.wakes
            assert code in alert.title
            assert "box" in alert.title


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (3725, "1 h 2 min"),
     (90_061, "1 d 1 h"), (-5, "0 s")],
)  # fmt: skip
def test_lengths_are_told_in_their_two_largest_units(seconds: float, words: str) -> None:
    assert lasted(int(seconds * 1e9)) == words
