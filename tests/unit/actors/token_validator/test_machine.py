from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.token_validator.machine import (
    CALLS_MAX,
    TIMEOUT_NS,
    WAITING_MAX,
    Answered,
    Ask,
    TokenValidator,
)
from kitefeed.protocol.messages import bus as m


def ask(machine: TokenValidator, number: int, now_ns: int = 0) -> list[object]:
    return list(machine.handle(m.Validate(number, f"fp{number}", "standby"), now_ns))


def busy_machine() -> TokenValidator:
    machine = TokenValidator()
    for number in range(CALLS_MAX):
        ask(machine, number)
    return machine


def test_a_question_becomes_a_call_and_its_answer_a_report() -> None:
    machine = TokenValidator()
    assert ask(machine, 1) == [Ask(1, "fp1")]
    report = machine.handle(Answered(1, "valid", "AB1234", "Asha Rao"), 5)
    assert report == [m.Validated(1, "fp1", "standby", "valid", "AB1234", "Asha Rao")]
    assert machine.deadline_ns is None


def test_a_repeated_question_is_not_asked_twice() -> None:
    machine = TokenValidator()
    ask(machine, 1)
    assert ask(machine, 1) == []


def test_a_call_without_an_answer_is_unverified_after_three_seconds_and_only_once() -> None:
    machine = TokenValidator()
    ask(machine, 1, now_ns=7)
    assert machine.deadline_ns == 7 + TIMEOUT_NS
    assert machine.handle(Wake(), 6 + TIMEOUT_NS) == []
    (report,) = machine.handle(Wake(), 7 + TIMEOUT_NS)
    assert isinstance(report, m.Validated)
    assert (report.verdict, report.detail) == ("unverified", "no answer within 3 s")
    assert machine.handle(Answered(1, "refused"), 8 + TIMEOUT_NS) == []


def test_a_hung_call_does_not_hold_up_the_next_question() -> None:
    machine = TokenValidator()
    ask(machine, 1)
    assert ask(machine, 2) == [Ask(2, "fp2")]


def test_the_newest_waiting_question_is_asked_first() -> None:
    machine = busy_machine()
    assert ask(machine, 10) == []
    assert ask(machine, 11) == []
    assert machine.handle(Answered(0, "valid"), 1)[1:] == [Ask(11, "fp11")]


def test_threads_that_hang_are_not_forgotten() -> None:
    machine = busy_machine()
    machine.handle(Wake(), TIMEOUT_NS)
    assert ask(machine, 10, TIMEOUT_NS) == []  # all threads still hang
    assert machine.handle(Answered(0, "valid"), TIMEOUT_NS + 1) == [Ask(10, "fp10")]


def test_more_questions_than_can_wait_leave_the_oldest_unverified() -> None:
    machine = busy_machine()
    for number in range(100, 100 + WAITING_MAX):
        assert ask(machine, number) == []
    (report,) = ask(machine, 200)
    assert isinstance(report, m.Validated)
    assert (report.request_id, report.verdict) == (100, "unverified")


def test_messages_for_others_change_nothing() -> None:
    assert TokenValidator().handle(m.StopPolling(0), 0) == []
