from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import pytest

from kitefeed.actors.policy.machine import Wake, Welcomed
from kitefeed.actors.rest_poller.dump_schedule import ClockRead, DumpEnded, FetchDump, TakeDump
from kitefeed.actors.rest_poller.machine import (
    ANSWER_WITHIN_NS,
    PROBES_WAITING_MAX,
    RATE_HOLD_NS,
    Answered,
    Ask,
)
from kitefeed.actors.rest_poller.sweep import BEAT_NS, RETRY_NS, SPACING_NS
from kitefeed.protocol.feed import TICKS_PER_CHUNK_MAX, IngestBatch, Source
from kitefeed.protocol.kite.ticks import QUOTE, TickBody
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import LinkReport
from tests.unit.actors.rest_poller.stage import PERIOD_NS, S, Stage, batches, polled, quote

INFY = Instrument(408065, "NSE:INFY", "quote")
TCS = Instrument(2953217, "NSE:TCS", "full")
MANY = tuple(Instrument(n << 8 | 1, f"NSE:X{n}", "ltp") for n in range(1, 1_201))


@pytest.fixture
def stage() -> Stage:
    return Stage()


# --- polling --------------------------------------------------------------------------------------


def test_polling_starts_at_once_and_comes_again_every_period(stage: Stage) -> None:
    assert stage.start(INFY, TCS) == [Ask(1, "fp", (INFY.token, TCS.token))]
    stage.at_ns += S
    stage.answer()
    stage.wait(3.9)
    assert len(stage.asked) == 1
    stage.wait(0.2)
    assert stage.asked[1][0] - stage.asked[0][0] == PERIOD_NS


def test_an_answer_becomes_a_batch_as_old_as_its_request(stage: Stage) -> None:
    stage.start(INFY, TCS)
    sent_ns = stage.at_ns
    stage.at_ns += S // 5
    assert stage.poller.links == (LinkReport(0, 1, "fp", False, "rest"),)
    said = stage.answer()
    (batch,) = batches(said)
    assert (batch.epoch, batch.source, batch.batch_seq) == (1, Source.REST, 1)
    assert batch.received_boot_ns == batch.last_frame_boot_ns == sent_ns
    assert (batch.period_ns, batch.canary_boot_ns) == (PERIOD_NS, 0)
    body = msgspec.msgpack.decode(batch.bodies[0], type=TickBody)
    assert (body.last_price, body.mode, batch.topics[0]) == (158_025, QUOTE, b"tick/NSE:INFY")
    assert said[1:] == [
        m.Confirmed(0, 1, (INFY.token, TCS.token)),
        m.Polled(0, 1, "ok", "", SPACING_NS),
    ]
    assert stage.poller.links == (LinkReport(0, 1, "fp", True, "rest"),)


def test_confirmed_is_said_once_in_an_epoch_and_again_to_a_new_supervisor(stage: Stage) -> None:
    stage.start(INFY)
    stage.answer()
    stage.wait(5)
    assert not [c for c in stage.answer() if isinstance(c, m.Confirmed)]
    assert stage.tell(Welcomed()) == [m.Confirmed(0, 1, (INFY.token,))]
    stage.start(INFY, epoch=2)
    stage.wait(5)
    assert m.Confirmed(0, 2, (INFY.token,)) in stage.answer()


def test_many_instruments_take_several_requests_a_second_apart(stage: Stage) -> None:
    stage.start(*MANY)
    for number in (1, 2, 3):
        assert polled(stage.answer()) == [m.Polled(0, 1, "ok", "", 3 * SPACING_NS)]
        if number < 3:
            stage.wait(1.1)
            assert len(stage.asked) == number + 1
    times = [at_ns for at_ns, _ in stage.asked]
    assert all(later - earlier >= S for earlier, later in pairwise(times))
    assert {t for _, ask in stage.asked for t in ask.tokens} == {i.token for i in MANY}


def test_a_round_longer_than_the_period_says_so_in_its_batches(stage: Stage) -> None:
    many = tuple(Instrument(n << 8 | 1, f"NSE:X{n}", "ltp") for n in range(1, 3_001))
    stage.start(*many)
    answer = batches(stage.answer())
    assert {batch.period_ns for batch in answer} == {6 * SPACING_NS}
    assert 6 * SPACING_NS > PERIOD_NS
    assert all(len(batch.topics) <= TICKS_PER_CHUNK_MAX for batch in answer)


def test_what_kite_does_not_know_or_cannot_say_is_counted(stage: Stage) -> None:
    stage.start(INFY, TCS)
    bad = {INFY.token: {"last_price": "x"}}
    (batch, end) = stage.tell(Answered(1, "ok", bad))
    assert isinstance(batch, IngestBatch)
    assert batch.topics == []
    assert isinstance(end, m.Polled)
    assert (stage.poller.counters["absent"], stage.poller.counters["bad_values"]) == (1, 1)


def test_an_odd_field_costs_itself_and_is_counted_and_the_price_is_passed_on(stage: Stage) -> None:
    stage.start(INFY, TCS)
    odd = {"last_price": 1.5, "volume": -1, "depth": {"buy": [{"orders": 196_608}]}}
    batch, *_ = stage.tell(Answered(1, "ok", {INFY.token: odd, TCS.token: odd}))
    assert isinstance(batch, IngestBatch)
    assert len(batch.topics) == 2
    counters = stage.poller.counters
    assert (counters["values"], counters["bad_values"], counters["odd_fields"]) == (2, 0, 4)
    assert stage.poller.odd == {"volume is out of range", "depth.buy: orders is out of range"}


@pytest.mark.parametrize("outcome", ["token", "permission"])
def test_a_refusal_parks_until_another_epoch(stage: Stage, outcome: m.RestOutcome) -> None:
    stage.start(INFY)
    assert stage.answer(outcome) == [m.Polled(0, 1, outcome, "why")]
    assert stage.wait(60) == []
    assert batches(stage.tell(Wake())) == []  # it does not beat either
    assert stage.start(INFY, TCS) == []
    assert stage.poller.links == ()
    assert stage.start(INFY, epoch=2) == [Ask(2, "fp", (INFY.token,))]


def test_a_poller_that_was_restarted_asks_as_if_it_had_asked_just_before(stage: Stage) -> None:
    stage.tell(Welcomed())
    stage.start(INFY)
    assert not stage.asked
    stage.wait(1)
    assert not stage.asked
    stage.wait(0.1)
    assert len(stage.asked) == 1
    stage.tell(Welcomed())  # by another supervisor
    stage.answer()
    stage.wait(5)
    assert [at_ns - stage.asked[0][0] for at_ns, _ in stage.asked] == [0, 5 * S]


def test_a_rate_limit_holds_the_bucket_for_ten_seconds(stage: Stage) -> None:
    stage.start(INFY)
    stage.answer("rate")
    assert stage.tell(m.Probe(1, "fp", INFY.token))[-1:] == [
        m.Probed(1, "rate", "Kite limited us a moment ago")
    ]
    stage.wait(30)
    assert stage.asked[1][0] - stage.asked[0][0] == RATE_HOLD_NS


def test_trouble_on_the_network_is_reported_and_tried_again_each_period(stage: Stage) -> None:
    stage.start(INFY)
    stage.answer()
    stage.wait(5)
    assert polled(stage.answer("network")) == [m.Polled(0, 1, "network", "why", SPACING_NS)]
    stage.wait(5)
    assert stage.asked[2][0] - stage.asked[1][0] == PERIOD_NS


def test_where_nothing_is_worth_waiting_for_the_way_back_is_looked_for_every_two_seconds(
    stage: Stage,
) -> None:
    stage.start(INFY)
    for _ in range(4):  # a bridge over a network that is down: no value came of it yet
        stage.answer("network")
        stage.wait(2)
    assert pauses(stage) == [RETRY_NS] * 4
    stage.answer()
    for _ in range(3):
        stage.wait(5)
        stage.answer("network")
    assert pauses(stage)[4:] == [PERIOD_NS] * 3
    for _ in range(2):
        stage.wait(2)  # the last values count no more
        stage.answer("network")
    assert pauses(stage)[7:] == [RETRY_NS] * 2


def pauses(stage: Stage) -> list[int]:
    return [later - earlier for (earlier, _), (later, _) in pairwise(stage.asked)]


def test_an_answer_that_never_comes_is_trouble_on_the_network(stage: Stage) -> None:
    stage.start(INFY)
    said = stage.wait(ANSWER_WITHIN_NS / 1e9 + 0.1)
    assert [(end.outcome, end.detail) for end in polled(said)] == [
        ("network", "no answer within 5 s")
    ]
    assert stage.tell(Answered(1, "ok", {INFY.token: quote(INFY.token)})) == []  # too late
    assert len(stage.asked) == 2  # the next one is out already


def test_stopping_ends_it_and_a_late_answer_is_dropped(stage: Stage) -> None:
    stage.start(INFY)
    stage.tell(m.StopPolling(0))
    assert stage.answer() == []
    assert stage.poller.deadline_ns is None


def test_an_older_epoch_is_refused(stage: Stage) -> None:
    stage.start(INFY, epoch=5)
    stage.answer()
    stage.start(TCS, epoch=4)
    stage.wait(5)
    assert stage.asked[-1][1].tokens == (INFY.token,)
    assert stage.poller.highest_epoch == 5


def test_new_instruments_in_the_same_epoch_are_asked_at_once_and_a_repetition_is_nothing(
    stage: Stage,
) -> None:
    stage.start(INFY)
    (first,) = batches(stage.answer())
    stage.start(INFY)
    stage.wait(2)
    assert len(stage.asked) == 1
    assert stage.start(INFY, TCS) != []
    assert stage.asked[-1][1].tokens == (TCS.token, INFY.token)
    (second,) = batches(stage.answer())
    assert second.batch_seq > first.batch_seq


def test_the_batch_number_goes_on_when_an_epoch_is_started_again(stage: Stage) -> None:
    stage.start(INFY)
    stage.answer()
    stage.tell(m.StopPolling(0))
    stage.at_ns += 2 * S
    stage.start(INFY)
    (batch,) = batches(stage.answer())
    assert batch.batch_seq == 2


def test_polling_beats_between_answers_with_the_age_of_the_last(stage: Stage) -> None:
    stage.start(INFY)
    sent_ns = stage.at_ns
    stage.answer()
    stage.at_ns += BEAT_NS
    (beat,) = batches(stage.tell(Wake()))
    assert (beat.topics, beat.batch_seq, beat.last_frame_boot_ns) == ([], 2, sent_ns)


def test_nothing_is_asked_without_instruments(stage: Stage) -> None:
    assert stage.start() == []
    stage.wait(20)
    assert stage.asked == []


def test_messages_for_others_change_nothing(stage: Stage) -> None:
    assert stage.tell(m.CloseLink(0, 1)) == []


# --- probes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "volume", "outcome"),
    [(158_025, 7, "same"), (158_025, None, "same"), (None, None, "same"), (None, 9, "same"),
     (158_020, 7, "moved"), (158_025, 8, "moved"), (0, None, "moved")],
)  # fmt: skip
def test_a_probe_compares_price_and_volume(
    stage: Stage, price: int | None, volume: int | None, outcome: str
) -> None:
    assert stage.tell(m.Probe(4, "fp", INFY.token, price, volume)) == [Ask(1, "fp", (INFY.token,))]
    assert stage.answer() == [m.Probed(4, outcome, last_price=158_025)]  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", ["token", "permission", "rate", "network", "input"])
def test_a_failed_probe_tells_its_remedy(stage: Stage, outcome: m.RestOutcome) -> None:
    stage.tell(m.Probe(4, "fp", INFY.token))
    assert stage.answer(outcome) == [m.Probed(4, outcome, "why")]


def test_a_probe_does_not_take_an_odd_volume_for_a_market_that_moved(stage: Stage) -> None:
    stage.tell(m.Probe(4, "a", 408065, 150, 7))
    quotes = {408065: {"last_price": 1.5, "volume": -1}}
    assert stage.tell(Answered(1, "ok", quotes)) == [m.Probed(4, "same", last_price=150)]


def test_a_probe_of_what_kite_does_not_know_is_bad_input(stage: Stage) -> None:
    stage.tell(m.Probe(4, "fp", INFY.token))
    (answer,) = stage.tell(Answered(1, "ok"))
    assert isinstance(answer, m.Probed)
    assert answer.outcome == "input"


def test_probes_share_the_bucket_and_go_before_polls(stage: Stage) -> None:
    stage.start(*MANY)
    stage.tell(m.Probe(4, "fp", INFY.token))
    stage.answer()
    stage.wait(1.1)
    assert stage.asked[1][1].tokens == (INFY.token,)
    assert stage.asked[1][0] - stage.asked[0][0] >= S


def test_a_repeated_probe_waits_once_and_too_many_lose_the_oldest(stage: Stage) -> None:
    stage.start(INFY)
    for number in range(PROBES_WAITING_MAX):
        assert stage.tell(m.Probe(number, "fp", INFY.token)) == []
    assert stage.tell(m.Probe(3, "fp", INFY.token)) == []
    (dropped,) = stage.tell(m.Probe(99, "fp", INFY.token))
    assert dropped == m.Probed(0, "rate", "too many probes at once")


# --- the dump -------------------------------------------------------------------------------------


def utc_s(text: str) -> float:
    """IST wall clock as UTC seconds."""
    return datetime.fromisoformat(f"{text}+05:30").astimezone(UTC).timestamp()


def test_a_missing_dump_is_fetched_at_start(stage: Stage) -> None:
    clock = ClockRead(utc_s("2026-11-23 09:00"))
    assert stage.tell(clock) == [FetchDump("2026-11-23")]
    assert stage.tell(clock) == []  # one at a time
    assert stage.tell(DumpEnded(90_000, "2026-11-23")) == [
        TakeDump(),
        m.InstrumentsReady(90_000, "2026-11-23"),
        m.InstrumentsFetched(1, "taken", "", 90_000),
    ]
    assert stage.tell(ClockRead(clock.utc_s, 90_000, "2026-11-23")) == []


@pytest.mark.parametrize(
    ("now", "day", "is_old"),
    [
        ("2026-11-23 08:14", "2026-11-22", False),
        ("2026-11-23 08:16", "2026-11-22", True),
        ("2026-11-23 08:16", "2026-11-23", False),
        ("2026-11-24 07:00", "2026-11-23", False),
    ],
)
def test_at_start_a_dump_older_than_the_last_quarter_past_eight_is_replaced(
    stage: Stage, now: str, day: str, is_old: bool
) -> None:
    said = stage.tell(ClockRead(utc_s(now), 5, day))
    assert said[0] == m.InstrumentsReady(5, day)  # usable until there is a better one
    assert bool(said[1:]) == is_old


def test_a_running_poller_fetches_every_day_at_half_past_eight(stage: Stage) -> None:
    stage.tell(ClockRead(utc_s("2026-11-23 09:00"), 5, "2026-11-23"))
    assert stage.tell(ClockRead(utc_s("2026-11-24 08:29"), 5, "2026-11-23")) == []
    fetch = stage.tell(ClockRead(utc_s("2026-11-24 08:30"), 5, "2026-11-23"))
    assert fetch == [FetchDump("2026-11-24")]


def test_a_failed_fetch_is_tried_after_5_15_30_60_and_60_seconds(stage: Stage) -> None:
    stage.tell(ClockRead(utc_s("2026-11-23 09:00")))
    for delay_s in (5, 15, 30, 60, 60):
        (said,) = stage.tell(DumpEnded(0, "2026-11-23", problem="no network"))
        assert isinstance(said, m.InstrumentsFetched)
        assert (said.outcome, said.detail) == ("failed", "no network")
        assert stage.wait(delay_s - 0.1) == []
        assert stage.tell(ClockRead(utc_s("2026-11-23 09:01"))) == []
        assert stage.wait(0.2) == [FetchDump("2026-11-23")]
    stage.tell(DumpEnded(7, "2026-11-23"))
    assert stage.wait(299) == []


def test_a_failed_fetch_is_tried_at_once_when_kite_answers(stage: Stage) -> None:
    assert stage.tell(m.FetchInstruments()) == []
    stage.tell(ClockRead(utc_s("2026-11-23 09:00")))
    assert stage.tell(m.FetchInstruments()) == []  # it is under way
    stage.tell(DumpEnded(0, "2026-11-23"))
    assert stage.tell(m.FetchInstruments()) == [FetchDump("2026-11-23")]
    stage.tell(DumpEnded(7, "2026-11-23"))
    assert stage.tell(m.FetchInstruments()) == []


def test_a_usable_dump_is_announced_to_every_new_supervisor(stage: Stage) -> None:
    assert stage.tell(Welcomed()) == []
    stage.tell(ClockRead(utc_s("2026-11-23 09:00"), 5, "2026-11-23"))
    assert stage.tell(Welcomed()) == [m.InstrumentsReady(5, "2026-11-23")]
