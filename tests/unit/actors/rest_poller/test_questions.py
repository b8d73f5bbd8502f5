"""Quotes that programs ask for: what polling leaves over, shared, and never a queue."""

import itertools

import msgspec
import pytest

from kitefeed.actors.rest_poller.machine import Ask
from kitefeed.actors.rest_poller.questions import BUSY, PATIENCE_NS, WAITING_MAX
from kitefeed.actors.rest_poller.sweep import SPACING_NS
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from tests.unit.actors.rest_poller.stage import PERIOD_NS, S, Stage, quote

INFY, TCS = 408065, 2953217


@pytest.fixture
def stage() -> Stage:
    return Stage()


def asks(stage: Stage) -> list[tuple[int, ...]]:
    return [ask.tokens for _, ask in stage.asked]


def quoted(commands: list[object]) -> dict[int, m.Quoted]:
    return {each.request_id: each for each in commands if isinstance(each, m.Quoted)}


def test_a_question_goes_out_at_once_and_is_answered_with_kites_own_items(stage: Stage) -> None:
    assert stage.tell(m.FetchQuotes(7, "fp", (INFY, TCS))) == [Ask(1, "fp", (INFY, TCS))]
    (answer,) = quoted(stage.answer()).values()
    assert (answer.request_id, answer.outcome) == (7, "ok")
    assert msgspec.json.decode(answer.quotes) == {str(t): quote(t) for t in (INFY, TCS)}


def test_all_that_wait_share_the_next_request_and_each_gets_its_own(stage: Stage) -> None:
    stage.tell(m.FetchQuotes(1, "fp", (INFY,)))
    stage.answer()
    stage.tell(m.FetchQuotes(2, "fp", (INFY, TCS)))
    stage.tell(m.FetchQuotes(3, "fp", (TCS, 5)))
    stage.tell(m.FetchQuotes(4, "another", (6,)))
    stage.wait(SPACING_NS / S)
    assert asks(stage)[1:] == [(INFY, TCS, 5)]
    found = quoted(stage.answer())
    assert found.keys() == {2, 3}
    assert msgspec.json.decode(found[3].quotes).keys() == {str(TCS), "5"}
    stage.wait(SPACING_NS / S)
    assert asks(stage)[2:] == [(6,)]


def test_what_one_request_cannot_hold_waits_for_the_next(stage: Stage) -> None:
    stage.tell(m.FetchQuotes(1, "fp", (1,)))
    stage.answer()
    many = tuple(range(10_000, 10_400))
    stage.tell(m.FetchQuotes(2, "fp", many))
    stage.tell(m.FetchQuotes(3, "fp", tuple(range(20_000, 20_400))))
    stage.tell(m.FetchQuotes(4, "fp", (many[0],)))
    stage.wait(SPACING_NS / S)
    assert asks(stage)[1] == many
    assert quoted(stage.answer()).keys() == {2, 4}
    stage.wait(SPACING_NS / S)
    assert quoted(stage.answer()).keys() == {3}


def test_polls_and_probes_go_first_and_questions_have_what_is_left(stage: Stage) -> None:
    stage.start(Instrument(INFY, "NSE:INFY", "full"))
    stage.answer()
    began_ns = stage.at_ns
    for second in range(20):
        stage.tell(m.FetchQuotes(second, "fp", (TCS,)))
        stage.wait(1)
        stage.answer()
    polls = [at_ns for at_ns, ask in stage.asked if ask.tokens == (INFY,)]
    gaps = [after - before for before, after in itertools.pairwise(polls)]
    assert all(gap <= PERIOD_NS + SPACING_NS for gap in gaps)
    times = [at_ns for at_ns, _ in stage.asked]
    assert all(b - a >= SPACING_NS for a, b in itertools.pairwise(times))
    assert len(times) >= (stage.at_ns - began_ns) // SPACING_NS - 1

    stage.tell(m.FetchQuotes(100, "fp", (TCS,)))
    stage.tell(m.Probe(1, "fp", 3))
    stage.wait(1)
    assert (3,) in asks(stage)[-2:]


def test_one_that_finds_no_request_left_over_is_told_so_within_its_patience(stage: Stage) -> None:
    instruments = [Instrument(100 + n, f"NSE:X{n}", "full") for n in range(4_000)]
    stage.start(*instruments)  # eight requests a round, and a round of eight seconds: all of them
    stage.answer()
    stage.tell(m.FetchQuotes(1, "fp", (TCS,)))
    said: list[object] = []
    for _ in range(4):
        said += stage.wait(PATIENCE_NS / S / 4)
        said += stage.answer()
    assert quoted(said) == {1: m.Quoted(1, "rate", BUSY)}
    assert (TCS,) not in asks(stage)


def test_too_many_and_those_of_a_limited_key_are_refused(stage: Stage) -> None:
    stage.tell(m.FetchQuotes(0, "fp", (INFY,)))
    for number in range(1, WAITING_MAX + 1):
        assert quoted(stage.tell(m.FetchQuotes(number, "fp", (number,)))) == {}
    assert quoted(stage.tell(m.FetchQuotes(99, "fp", (99,))))[99].outcome == "rate"
    assert quoted(stage.answer("rate"))[0] == m.Quoted(0, "rate", "why")
    said = quoted(stage.wait(PATIENCE_NS / S))
    assert {each.outcome for each in said.values()} == {"rate"}
    assert len(said) == WAITING_MAX
    assert len(stage.asked) == 1
