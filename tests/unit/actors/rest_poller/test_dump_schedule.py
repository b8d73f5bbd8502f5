"""Tests when a list is fetched, doubted, asked for again and taken: minutes on a virtual clock."""

from datetime import UTC, datetime

import pytest

from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.rest_poller.dump_doubt import BELIEVED_AFTER_NS, doubts
from kitefeed.actors.rest_poller.dump_schedule import (
    OFFER_REPEAT_NS,
    ClockRead,
    Command,
    DumpEnded,
    DumpSchedule,
    FetchDump,
    Remark,
    TakeDump,
)
from kitefeed.protocol.kite.instruments import Loss
from kitefeed.protocol.messages import bus as m

S = 1_000_000_000
DAY = "2026-11-24"
SHORT = (Loss("NSE", "NSE", 7, 5),)
WHOLE = (Loss("NSE", "NSE", 7, 0),)


def utc_s(text: str) -> float:
    """IST wall clock as UTC seconds."""
    return datetime.fromisoformat(f"{text}+05:30").astimezone(UTC).timestamp()


class Desk:
    """A poller with yesterday's list at 09:00, and Kite, which answers `digest` and `losses`."""

    def __init__(self) -> None:
        self.schedule = DumpSchedule()
        self.now_ns = 0
        self.fetches: list[int] = []  # when, in seconds
        self.taken: list[str] = []
        self.reports: list[m.InstrumentsFetched] = []
        self.said: list[str] = []
        self.losses: tuple[Loss, ...] | None = SHORT
        self.digest = "short"
        self.lacking: tuple[str, ...] = ()
        self.left_out: dict[str, int] = {}
        self.is_down = False
        self.tell(ClockRead(utc_s(f"{DAY} 09:00"), 7, "2026-11-23"))

    def tell(self, event: ClockRead | DumpEnded | m.InstrumentsLacking | Wake) -> None:
        self.perform(self.schedule.handle(event, self.now_ns))

    def order(self, *, is_ordered: bool = True, is_believed: bool = False) -> None:
        self.perform(self.schedule.order(m.FetchInstruments(is_ordered, is_believed)))

    def perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case FetchDump(day_ist):
                    self.fetches.append(self.now_ns // S)
                    rows = 0 if self.is_down else 2
                    losses = None if self.is_down else self.losses
                    problem = "no answer" if self.is_down else ""
                    ended = DumpEnded(rows, day_ist, self.digest, losses, self.left_out, problem)
                    self.tell(ended)
                case m.InstrumentsOffered(digest):
                    self.tell(m.InstrumentsLacking(digest, len(self.lacking), self.lacking))
                case TakeDump():
                    self.taken.append(self.digest)
                case m.InstrumentsFetched():
                    self.reports.append(command)
                case Remark(text):
                    self.said.append(text)

    def wait(self, seconds: float) -> None:
        until_ns = self.now_ns + int(seconds * S)
        while (due_ns := self.schedule.deadline_ns) is not None and due_ns <= until_ns:
            self.now_ns = due_ns
            self.tell(Wake())
        self.now_ns = until_ns


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_short_list_is_doubted_and_asked_for_on_a_ladder(desk: Desk) -> None:
    assert desk.taken == []
    assert desk.reports[-1].outcome == "doubted"
    assert desk.reports[-1].detail.startswith("it lacks 5 of the 7 instruments")
    desk.wait(1_200)
    assert desk.fetches == [0, 60, 180, 480, 1_080]
    assert desk.taken == []


def test_the_good_list_being_back_is_taken_at_the_next_look(desk: Desk) -> None:
    desk.wait(70)
    desk.losses, desk.digest = WHOLE, "good"
    desk.wait(120)
    assert desk.taken == ["good"]
    assert desk.reports[-1] == m.InstrumentsFetched(3, "taken", "", 2, 0)
    desk.wait(7_200)
    assert len(desk.fetches) == 3


def test_the_operator_need_not_wait_for_the_ladder(desk: Desk) -> None:
    desk.wait(10)
    desk.losses, desk.digest = WHOLE, "good"
    desk.order()
    assert desk.taken == ["good"]
    desk.order()  # also when nothing waits
    assert desk.fetches == [0, 10, 10]


def test_what_is_doubted_is_taken_when_the_operator_says_so(desk: Desk) -> None:
    desk.order(is_believed=True)
    assert desk.taken == ["short"]
    assert desk.reports[-1].outcome == "taken"
    desk.order()  # believed once, not for ever
    assert desk.taken == ["short"]


def test_that_kite_answers_again_does_not_hurry_a_doubt(desk: Desk) -> None:
    desk.order(is_ordered=False)
    assert desk.fetches == [0]


def test_what_has_been_the_same_for_long_enough_is_taken_and_watched(desk: Desk) -> None:
    desk.wait(BELIEVED_AFTER_NS / S)
    assert desk.taken == []
    desk.wait(900)
    assert desk.taken == ["short"]
    before = len(desk.fetches)
    desk.losses = WHOLE  # compared with itself
    desk.wait(2_700)
    assert len(desk.fetches) == before + 3
    assert desk.taken == ["short"]
    desk.digest = "good"
    desk.wait(900)
    assert desk.taken == ["short", "good"]
    desk.wait(7_200)
    assert len(desk.fetches) == before + 4


def test_a_list_that_changes_every_time_is_not_believed(desk: Desk) -> None:
    for number in range(200):
        desk.digest = f"short {number}"
        desk.wait(60)
    assert desk.taken == []


def test_a_failure_between_two_doubts_ends_neither(desk: Desk) -> None:
    desk.is_down = True
    desk.wait(64)
    assert desk.reports[-1] == m.InstrumentsFetched(2, "failed", "no answer")
    desk.is_down = False
    desk.wait(2_700)
    assert desk.taken == ["short"]


@pytest.mark.parametrize("losses", [WHOLE, ()])
def test_a_list_that_lacks_what_is_in_use_is_doubted_however_whole_it_is(
    losses: tuple[Loss, ...],
) -> None:
    desk = Desk()
    desk.losses, desk.digest, desk.lacking = losses, "other", ("NSE:INFY",)
    desk.order()
    assert desk.taken == []
    assert "in use" in desk.reports[-1].detail
    assert "NSE:INFY" in desk.reports[-1].detail


def test_without_a_list_to_keep_any_is_taken_and_asked_for_again_for_half_an_hour(
    desk: Desk,
) -> None:
    desk.wait(10)
    desk.losses = None
    desk.order()
    assert desk.taken == ["short"]
    desk.losses = WHOLE
    desk.wait(7_200)
    assert [at_s - 10 for at_s in desk.fetches[1:]] == [0, 300, 900, 1_800]
    assert desk.taken == ["short", "short"]  # believed
    desk.wait(7_200)
    assert len(desk.fetches) == 5


def test_a_first_list_that_was_short_is_replaced_within_minutes(desk: Desk) -> None:
    desk.losses = None
    desk.order()
    desk.losses, desk.digest = WHOLE, "good"
    desk.wait(300)
    assert desk.taken == ["short", "good"]
    desk.wait(7_200)
    assert len(desk.fetches) == 3


def test_an_offer_is_repeated_until_it_is_answered_and_to_every_new_supervisor() -> None:
    schedule = DumpSchedule()
    schedule.handle(ClockRead(utc_s(f"{DAY} 09:00"), 7, "2026-11-23"), 0)
    offer = m.InstrumentsOffered("d", DAY)
    assert schedule.handle(DumpEnded(7, DAY, "d", WHOLE), S) == [offer]
    assert schedule.deadline_ns == S + OFFER_REPEAT_NS
    assert schedule.handle(Wake(), S + OFFER_REPEAT_NS) == [offer]
    assert schedule.news(9 * S)[-1] == offer
    other = m.InstrumentsLacking("another", 0)
    assert schedule.handle(other, 10 * S) == []
    taken = schedule.handle(m.InstrumentsLacking("d", 0), 10 * S)
    assert taken[:2] == [TakeDump(), m.InstrumentsReady(7, DAY)]
    assert schedule.handle(m.InstrumentsLacking("d", 0), 11 * S) == []
    assert schedule.news(12 * S) == taken[1:]
    assert schedule.deadline_ns is None


def test_rows_left_out_are_told_once_a_day(desk: Desk) -> None:
    desk.losses, desk.left_out = WHOLE, {"no usable token": 3, "no usable symbol": 1_200}
    desk.order()
    desk.order()
    assert desk.said == [
        "1,203 rows of the instrument dump name nothing and were left out: "
        "1,200 no usable symbol, 3 no usable token"
    ]
    assert desk.reports[-1].left_out == 1_203
    desk.tell(ClockRead(utc_s("2026-11-25 08:29"), 7, DAY))
    desk.tell(ClockRead(utc_s("2026-11-25 08:31"), 7, DAY))
    assert len(desk.said) == 2


def test_a_list_that_is_gone_or_damaged_later_is_fetched_anew(desk: Desk) -> None:
    desk.losses = WHOLE
    desk.order()
    before = len(desk.fetches)
    desk.losses = None
    desk.tell(ClockRead(utc_s(f"{DAY} 11:00")))
    assert len(desk.fetches) == before + 1
    assert len(desk.taken) == 2


# --- what is doubted ------------------------------------------------------------------------------

NOTHING = m.InstrumentsLacking("d", 0)


@pytest.mark.parametrize(
    ("losses", "word"),
    [
        ([Loss("NSE", "NSE", 20_007, 7_996)], "7,996 of the 20,007"),
        ([Loss("NSE", "NSE", 7, 5)], "5 of the 7"),
        ([Loss("NSE", "NSE", 9_000, 0), Loss("NCO", "NCO-FUT", 40, 40)], "of NCO it lacks all 40"),
        ([Loss("NSE", "NSE", 9_000, 0), Loss("NSE", "INDICES", 140, 140)], "NSE INDICES"),
        ([Loss("NFO", "NFO-OPT", 9_000, 0), Loss("NFO", "NFO-FUT", 600, 400)], "NFO NFO-FUT"),
    ],
)
def test_a_large_part_an_exchange_or_a_kind_that_is_missing_is_a_doubt(
    losses: list[Loss], word: str
) -> None:
    assert word in doubts(losses, NOTHING)


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [Loss("NSE", "NSE", 9_000, 0)],
        [Loss("NSE", "NSE", 9_000, 40), Loss("NFO", "NFO-OPT", 60_000, 3_000)],
        [Loss("NSE", "NSE", 9_000, 0), Loss("BCD", "BCD-OPT", 40, 20)],
    ],
)
def test_what_a_day_ends_or_renames_is_none(losses: list[Loss]) -> None:
    assert doubts(losses, NOTHING) == ""


def test_of_many_that_are_in_use_a_few_are_named() -> None:
    why = doubts([], m.InstrumentsLacking("d", 9, ("NSE:A", "NSE:B")))
    assert why.endswith("NSE:A, NSE:B and 7 more")
