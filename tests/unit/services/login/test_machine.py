"""Tests when the session is renewed without a person, on a virtual clock; 30 November is a
Monday."""

from datetime import datetime, time

import msgspec
import pytest

from kitefeed.actors.policy.market import to_utc_ns
from kitefeed.protocol.kite.units import IST
from kitefeed.services.login.machine import (
    FAILURES_MAX,
    TAKEOVERS_MAX,
    Do,
    LoginRules,
    LoginState,
    Machine,
    Outcome,
    Seen,
    Tell,
)

S = 1_000_000_000


def ist(text: str) -> int:
    return to_utc_ns(datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=IST))


class Day:
    """The machine at a moment in India. `outcomes`: what comes of each order."""

    def __init__(
        self,
        at: str,
        *,
        hour: str | None = "08:00",
        command: bool = True,
        elsewhere: str = "alert",
        record: LoginState | None = None,
        has_flush: bool = True,
    ) -> None:
        self.utc_ns = ist(at)
        moment = time.fromisoformat(hour) if hour else None
        rules = LoginRules(moment, command, elsewhere, "http://127.0.0.1:8787/login", has_flush)
        self.machine = Machine(rules, record or LoginState())
        self.seen = Seen("old", True)
        self.outcomes: dict[Do, Outcome] = dict.fromkeys(Do, "bad")
        self.done: list[Do] = []
        self.told: list[Tell] = []

    def until(self, at: str, every_s: int = 10) -> list[Do]:
        """Lets time pass; returns what was done meanwhile."""
        before = len(self.done)
        end_ns = ist(at)
        while self.utc_ns <= end_ns:
            self.look()
            self.utc_ns += every_s * S
        return self.done[before:]

    def look(self) -> None:
        for _ in range(20):
            order = self.machine.look(self.seen, self.utc_ns)
            if order is None:
                return
            if isinstance(order, Do):
                self.done.append(order)
                outcome = self.outcomes[order]
                told = self.machine.done(order, outcome, self.seen, self.utc_ns, "why")
                if outcome == "good" and order is not Do.CHECK:
                    self.seen = Seen(f"new{len(self.done)}", self.seen.is_needed)
                order = told
            if order is not None:
                self.told.append(order)
        raise AssertionError("it does not come to rest")

    def restart(self) -> None:
        kept = msgspec.json.decode(msgspec.json.encode(self.machine.record), type=LoginState)
        self.machine = Machine(self.machine._rules, kept)

    def errors(self) -> list[str]:
        return [tell.text for tell in self.told if tell.level == "error"]


def test_a_dead_session_is_followed_by_the_command_at_its_hour_and_not_before() -> None:
    day = Day("30 00:00")
    day.outcomes[Do.COMMAND] = "good"
    assert day.until("30 07:59:50") == []
    assert day.until("30 23:00") == [Do.CHECK, Do.COMMAND]
    assert day.errors() == []


def test_a_good_session_is_left_alone() -> None:
    day = Day("30 07:00")
    day.outcomes[Do.CHECK] = "good"
    assert day.until("30 23:00") == [Do.CHECK]


def test_a_refresh_token_comes_before_the_command() -> None:
    day = Day("30 08:00")
    day.seen = day.seen._replace(can_renew=True)
    day.outcomes[Do.RENEW] = "good"
    assert day.until("30 12:00") == [Do.CHECK, Do.RENEW]


def test_a_refused_renewal_is_followed_by_the_command_and_not_tried_again() -> None:
    day = Day("30 08:00")
    day.seen = day.seen._replace(can_renew=True)
    assert day.until("30 12:00").count(Do.RENEW) == 1
    assert day.done[:3] == [Do.CHECK, Do.RENEW, Do.COMMAND]


@pytest.mark.parametrize("hour", ["05:00", "06:30", "07:29"])
def test_an_hour_before_the_end_of_the_flush_is_moved_behind_it(hour: str) -> None:
    day = Day("30 00:00", hour=hour)
    day.outcomes[Do.COMMAND] = "good"
    assert day.until("30 07:29:50") == []
    assert day.until("30 07:30") == [Do.CHECK, Do.COMMAND]


def test_where_no_flush_ends_sessions_the_hour_is_the_hour() -> None:
    day = Day("30 00:00", hour="05:00", has_flush=False)
    day.outcomes[Do.COMMAND] = "good"
    assert day.until("30 04:59:50") == []
    assert day.until("30 05:00") == [Do.CHECK, Do.COMMAND]


def test_three_failures_and_it_stops_over_restarts_and_days_and_says_so_once_a_day() -> None:
    day = Day("30 08:00")
    done = day.until("30 09:00")
    assert done.count(Do.COMMAND) == FAILURES_MAX
    assert "not run again until somebody has logged in" in day.errors()[-1]
    assert "http://127.0.0.1:8787/login" in day.errors()[-1]
    told = len(day.errors())
    day.restart()
    assert Do.COMMAND not in day.until("30 23:59")
    assert len(day.errors()) == told
    day.utc_ns = to_utc_ns(datetime(2026, 12, 1, 8, 0, tzinfo=IST))
    day.look()
    assert day.done.count(Do.COMMAND) == FAILURES_MAX
    assert len(day.errors()) == told + 1


def test_failures_are_a_minute_and_five_apart() -> None:
    day = Day("30 08:00")
    assert day.until("30 08:00:50").count(Do.COMMAND) == 1
    assert day.until("30 08:05:50").count(Do.COMMAND) == 1
    assert day.until("30 08:06:30").count(Do.COMMAND) == 1


def crash_in_the_next_command(day: Day) -> None:
    day.restart()
    while (order := day.machine.look(day.seen, day.utc_ns)) is Do.CHECK:
        day.machine.done(order, "bad", day.seen, day.utc_ns)
    day.done += [order] if isinstance(order, Do) else []


def test_a_crash_while_the_command_runs_counts_as_a_failure() -> None:
    day = Day("30 08:00")
    for _ in range(10):
        crash_in_the_next_command(day)
        day.utc_ns += 400 * S
    assert day.done.count(Do.COMMAND) == FAILURES_MAX


def test_a_crash_while_the_command_runs_is_followed_by_the_pause_of_a_failure() -> None:
    day = Day("30 08:00")
    for _ in range(5):
        crash_in_the_next_command(day)
        day.utc_ns += 10 * S
    assert day.done.count(Do.COMMAND) == 1
    day.restart()
    assert day.until("30 08:01:10").count(Do.COMMAND) == 1


def test_a_login_by_anybody_makes_the_budget_whole() -> None:
    day = Day("30 08:00")
    day.until("30 12:00")
    day.seen = Seen("by hand", True)
    day.outcomes[Do.COMMAND] = "good"
    day.utc_ns = to_utc_ns(datetime(2026, 12, 1, 8, 0, tzinfo=IST))
    day.look()
    assert day.done[-2:] == [Do.CHECK, Do.COMMAND]


def test_a_login_by_hand_between_two_failures_is_looked_at_before_the_command_runs_again() -> None:
    day = Day("30 08:00")
    assert day.until("30 08:00:20") == [Do.CHECK, Do.COMMAND]
    day.seen = Seen("by hand", True)
    day.outcomes[Do.CHECK] = "good"
    assert day.until("30 12:00") == [Do.CHECK]


def test_without_refresh_token_and_command_one_line_tells_where_to_log_in() -> None:
    day = Day("30 08:00", command=False)
    assert day.until("30 23:00") == [Do.CHECK]
    assert len(day.errors()) == 1
    assert "http://127.0.0.1:8787/login" in day.errors()[0]


def test_a_kite_that_cannot_be_asked_costs_no_failure_and_one_line() -> None:
    day = Day("30 08:00")
    day.outcomes[Do.CHECK] = "unknown"
    day.until("30 08:30")
    assert (day.machine.record.failures, len(day.told)) == (0, 1)
    day.outcomes |= {Do.CHECK: "bad", Do.COMMAND: "good"}
    assert day.until("30 08:31")[-2:] == [Do.CHECK, Do.COMMAND]


def test_a_day_without_a_session_of_the_market_needs_no_login() -> None:
    day = Day("29 00:00")
    day.seen = Seen("old", False)
    assert day.until("29 23:59") == []


def test_there_is_no_login_by_the_clock_without_an_hour() -> None:
    assert Day("30 00:00", hour=None).until("30 23:59") == []


# --- somebody else logged in --------------------------------------------------------------------


def taken(day: Day, at: str) -> None:
    day.utc_ns = ist(at)
    day.seen = day.seen._replace(elsewhere_utc_s=day.utc_ns / S)


def test_a_login_elsewhere_is_left_alone_answered_or_told_as_the_rule_says() -> None:
    for rule, done, errors in (("wait", [], 0), ("alert", [Do.CHECK], 1),
                               ("command", [Do.CHECK, Do.COMMAND], 0)):  # fmt: skip
        day = Day("30 11:00", hour=None, elsewhere=rule)
        day.outcomes[Do.COMMAND] = "good"
        taken(day, "30 11:05")
        assert day.until("30 15:00") == done, rule
        assert len(day.errors()) == errors, rule


def test_two_programs_that_take_the_session_from_each_other_come_to_an_end() -> None:
    day = Day("30 11:00", hour=None, elsewhere="command")
    day.outcomes[Do.COMMAND] = "good"
    for hour in range(10, 20):
        taken(day, f"30 {hour}:00")
        day.until(f"30 {hour}:10")
        day.restart()
    assert day.done.count(Do.COMMAND) == TAKEOVERS_MAX
    assert "again and again" in day.errors()[0]


def test_a_login_elsewhere_at_night_waits_for_the_end_of_the_flush() -> None:
    day = Day("30 02:00", hour=None, elsewhere="command")
    day.outcomes[Do.COMMAND] = "good"
    taken(day, "30 02:00")
    assert day.until("30 07:29:50") == []
    assert day.until("30 07:31") == [Do.CHECK, Do.COMMAND]


def test_a_clock_that_was_put_back_keeps_nobody_waiting() -> None:
    day = Day("30 12:00")
    day.until("30 12:00:10")
    assert day.done.count(Do.COMMAND) == 1
    day.utc_ns = ist("30 09:00")
    assert day.until("30 09:10").count(Do.COMMAND) >= 1
