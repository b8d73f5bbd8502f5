"""Bars of ticks: each as the simulator's own candles, and honest about what they lack."""

import datetime as dt
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitefeed.client.bars import Bar, Bars, seconds_of
from kitefeed.client.tick import NOBODY, Arrival, Tick
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.feed import Flag, Source
from kitefeed.protocol.kite.candles import DAY_S, first_minute, span_of
from kitefeed.protocol.kite.ticks import FULL, QUOTE, TickBody
from kitefeed.protocol.kite.units import IST
from tests.unit.simulator.test_candles import CRUDE, INFY, NIFTY, Watcher

NS = 1_000_000_000
OPENING = dt.datetime(2026, 11, 23, 9, 15, tzinfo=IST)
OPENING_NS = int(OPENING.timestamp()) * NS


def tick(
    at_s: float, price: float = 100.0, volume: int | None = None, *, mode: int = FULL,
    epoch: int = 1, source: int = Source.WEBSOCKET, flags: int = 0, oi: int | None = None,
    key: str = "NSE:INFY", seq: int = 0, shard: int = 0,
) -> Tick:  # fmt: skip
    """`at_s`: after the opening."""
    at_ns = OPENING_NS + int(at_s * NS)
    body = TickBody(INFY, mode, 100, round(price * 100), volume_traded=volume, oi=oi)
    if mode == FULL:
        body.exchange_timestamp = at_ns // NS
    arrival = Arrival(1, shard, epoch, source, at_ns, 0, 0, NOBODY, 0)
    return Tick(key, body, seq, flags, arrival)


class Desk:
    """Ticks as they come, and the bars that are final by then."""

    def __init__(self, interval: str = "1m", **options: Any) -> None:
        self.bars = Bars(interval, **options)
        self.made: list[Bar] = []
        self.corrections: list[Bar] = []
        self.seq = 0

    def at(self, at_s: float, *args: Any, came_s: float | None = None, **options: Any) -> None:
        self.seq += 1
        given = tick(at_s, *args, **{"seq": self.seq, **options})
        now_ns = OPENING_NS + int((at_s if came_s is None else came_s) * NS)
        self.made += self.bars.final(now_ns)
        correction = self.bars.take(given, now_ns)
        self.corrections += [correction] if correction else []

    def until(self, at_s: float) -> list[Bar]:
        self.made += self.bars.final(OPENING_NS + int(at_s * NS))
        return self.made


def prices(bar: Bar) -> tuple[float, ...]:
    return (bar.open, bar.high, bar.low, bar.close)


@pytest.mark.parametrize("token", [INFY, NIFTY, CRUDE])
def test_every_bar_is_the_candle_that_the_simulator_answers(token: int) -> None:
    watcher = Watcher()
    market = watcher.floor.market
    sent: list[tuple[int, TickBody]] = []
    market.listeners.append(
        lambda security, now_ns: (
            sent.append((now_ns, security.body(FULL))) if security.listing.token == token else None
        )
    )
    watcher.look(token, 12)
    security = market.seen(token)
    assert security is not None
    for interval, name in (("1m", "minute"), ("3m", "3minute"), ("5m", "5minute")):
        bars = Bars(interval)
        made: list[Bar] = []
        for number, (now_ns, body) in enumerate(sent):
            made += bars.final(now_ns)
            bars.take(Tick(security.listing.key, body, number, 0, Arrival(
                1, 0, 1, Source.WEBSOCKET, now_ns, 0, 0, NOBODY, 0)), now_ns)  # fmt: skip
        made += bars.final(watcher.start_ns + DAY_S * NS)
        asked = watcher.ask(token, name, oi=1)
        assert [
            [f"{bar.start:%Y-%m-%dT%H:%M:%S%z}", *prices(bar), bar.volume or 0, bar.oi or 0]
            for bar in made
        ] == asked
        assert len(made) >= 2
        assert {bar.quality for bar in made[1:]} == {"complete"}


def test_a_bar_is_final_when_its_wait_is_over_and_no_sooner() -> None:
    desk = Desk(wait_s=2)
    desk.at(1, 100)
    desk.at(59, 101)
    assert desk.bars.due_ns == OPENING_NS + 62 * NS
    assert desk.until(61.9) == []
    (bar,) = desk.until(62)
    assert (bar.start, bar.end) == (OPENING, OPENING + dt.timedelta(minutes=1))
    assert prices(bar) == (100, 101, 100, 101)
    assert bar.is_final
    assert desk.bars.due_ns is None


def test_a_tick_that_comes_within_the_wait_is_in_its_own_bar() -> None:
    desk = Desk(wait_s=2)
    desk.at(1, 100, 10)
    desk.at(60.2, 102, 30)
    desk.at(59, 90, 20, came_s=61)
    first, second = desk.until(200)
    assert prices(first) == (100, 100, 90, 90)
    assert prices(second) == (102, 102, 102, 102)
    assert desk.bars.late == 0


def test_a_tick_that_comes_later_is_counted_and_its_volume_goes_into_the_next_bar() -> None:
    desk = Desk(wait_s=1)
    desk.at(1, 100, 10)
    desk.at(50, 100, 20)
    desk.at(58, 90, 50, came_s=62)
    desk.at(63, 95, 60)
    first, second = desk.until(200)
    assert (first.low, first.volume) == (100, 10)
    assert (second.low, second.volume) == (95, 40)
    assert desk.bars.late == 1
    assert desk.corrections == []


def test_where_it_is_asked_a_late_tick_corrects_the_last_bar() -> None:
    desk = Desk(wait_s=1, corrects=True)
    desk.at(1, 100, 10)
    desk.at(50, 100, 20)
    desk.at(58, 90, 50, came_s=62)
    desk.at(63, 95, 60)
    (correction,) = desk.corrections
    assert correction.is_correction
    assert (correction.start, correction.low, correction.volume) == (OPENING, 90, 40)
    first, second = desk.until(200)
    assert not first.is_correction
    assert second.volume == 10
    assert desk.bars.late == 1


def test_the_bar_in_which_the_reader_came_says_so_and_the_next_is_complete() -> None:
    desk = Desk()
    desk.at(10, 100, 1_000)
    desk.at(20, 101, 1_010)
    desk.at(70, 102, 1_025)
    first, second = desk.until(200)
    assert (first.quality, first.volume) == ("first", 10)
    assert (second.quality, second.volume) == ("complete", 15)


def test_a_last_value_of_long_ago_is_no_bar_and_tells_where_volume_begins() -> None:
    desk = Desk()
    desk.at(-3_600, 99, 700, came_s=5)
    desk.at(65, 100, 720)
    (bar,) = desk.until(200)
    assert (bar.open, bar.volume, bar.quality, desk.bars.late) == (100, 20, "complete", 0)


@pytest.mark.parametrize("flag", [Flag.FIRST_PACKET, Flag.CACHED])
def test_a_price_of_which_nothing_tells_when_it_was_makes_no_bar(flag: Flag) -> None:
    desk = Desk()
    desk.at(-5, 99, 5_000, mode=QUOTE, flags=flag)  # yesterday's
    desk.at(1, 100, 40, mode=QUOTE)
    desk.at(2, 101, 50, mode=QUOTE)
    (bar,) = desk.until(200)
    assert (prices(bar), bar.volume) == ((100, 101, 100, 101), 50)


def test_volume_begins_anew_with_the_day() -> None:
    desk = Desk()
    desk.at(-DAY_S, 99, 9_000)
    desk.at(1, 100, 30)
    desk.at(61, 100, 45)
    assert [bar.volume for bar in desk.until(200)] == [0, 30, 15]


def test_volume_of_lost_ticks_is_in_the_bar_that_tells_it_and_both_ends_say_gap() -> None:
    desk = Desk()
    desk.at(-10, 100, 10)
    desk.at(5, 100, 20)
    desk.at(65, 100, 30)
    desk.at(250, 100, 90, epoch=2)
    desk.at(310, 100, 95, epoch=2)
    made = desk.until(400)
    assert [(bar.volume, bar.quality) for bar in made] == [
        (0, "first"), (10, "complete"), (10, "complete"), (60, "gap"), (5, "complete"),
    ]  # fmt: skip
    desk = Desk()
    desk.at(-10, 100, 10)
    desk.at(5, 100, 20)
    desk.at(58, 100, 20)
    desk.at(61, 100, 90, epoch=2, came_s=61)
    assert [bar.quality for bar in desk.until(400)] == ["first", "gap", "gap"]


def test_a_number_that_was_left_out_is_a_gap_between_that_tick_and_the_one_before() -> None:
    desk = Desk()
    desk.at(-30, 100)
    for at_s, seq in ((10, 2), (58, 3), (61, 5), (130, 6)):
        desk.at(at_s, 100, seq=seq)
    assert [bar.quality for bar in desk.until(300)] == ["first", "gap", "gap", "complete"]


def test_bars_of_a_time_in_which_something_was_lost_say_so() -> None:
    desk = Desk()
    desk.at(-30, 100)
    desk.bars.lost(0, OPENING_NS + 50 * NS, OPENING_NS + 60 * NS)
    desk.bars.lost(0, OPENING_NS + 60 * NS, OPENING_NS + 70 * NS)
    desk.bars.lost(1, OPENING_NS + 130 * NS, OPENING_NS + 140 * NS)
    for at_s in (10, 80, 130):
        desk.at(at_s, 100)
    assert [bar.quality for bar in desk.until(300)] == ["first", "gap", "gap", "complete"]


def test_a_bar_of_polled_values_says_rest() -> None:
    desk = Desk()
    desk.at(-10, 100)
    desk.at(5, 100, source=Source.REST, epoch=2)
    desk.at(70, 100, source=Source.REST, epoch=2)
    assert [bar.quality for bar in desk.until(300)] == ["first", "rest", "rest"]


def test_a_replayed_bar_is_never_complete() -> None:
    desk = Desk(is_replay=True)
    desk.at(-10, 100)
    desk.at(5, 100)
    assert [bar.quality for bar in desk.until(300)] == ["first", "replay"]


def test_modes_without_volume_or_time_make_bars_of_prices_by_arrival() -> None:
    desk = Desk()
    desk.at(3, 100, mode=QUOTE)
    desk.at(64, 101, mode=QUOTE)
    first, second = desk.until(300)
    assert (first.close, first.volume, first.vwap, first.oi) == (100, None, None, None)
    assert second.open == 101


def test_vwap_weights_prices_by_what_was_traded_at_them() -> None:
    desk = Desk()
    desk.at(-1, 100, 0)
    desk.at(1, 100, 10)
    desk.at(2, 110, 40)
    bar = desk.until(100)[-1]
    assert bar.vwap == pytest.approx((100 * 10 + 110 * 30) / 40)


def test_a_timestamp_far_ahead_of_its_arrival_is_not_believed() -> None:
    desk = Desk()
    given = tick(5)
    given.raw.exchange_timestamp = OPENING_NS // NS + 5 * DAY_S
    desk.bars.take(given, OPENING_NS + 5 * NS)
    assert [bar.end for bar in desk.until(1_000)] == [OPENING + dt.timedelta(minutes=2)]


def test_what_is_under_way_is_shown_as_it_is_now() -> None:
    desk = Desk()
    desk.at(1, 100, key="NSE:INFY")
    desk.at(2, 50, key="NSE:TCS")
    desk.at(3, 103, key="NSE:INFY")
    shown = {bar.instrument: (bar.close, bar.is_final) for bar in desk.bars.under_way()}
    assert shown == {"NSE:INFY": (103, False), "NSE:TCS": (50, False)}
    assert desk.made == []


def test_a_program_that_was_away_gets_what_queued_in_its_own_bars() -> None:
    """It reads all that waits before it asks what is final."""
    desk = Desk()
    desk.bars.take(tick(-1, 100, 1), OPENING_NS)
    for at_s in (5, 65, 125):
        desk.bars.take(tick(at_s, 100, at_s), OPENING_NS + 500 * NS)
    assert [bar.ticks for bar in desk.until(500)] == [1, 1, 1, 1]
    assert desk.bars.late == 0


def test_a_clock_that_is_set_back_makes_no_bar_twice() -> None:
    desk = Desk()
    desk.at(1, 100)
    assert len(desk.until(100)) == 1
    desk.at(30, 100, came_s=40)
    assert len(desk.until(1_000)) == 1


@pytest.mark.parametrize(
    ("text", "length_s"),
    [("1s", 1), ("30s", 30), ("5m", 300), ("1h", 3_600), ("24h", DAY_S), ("1d", DAY_S)],
)  # fmt: skip
def test_an_interval_is_so_many_seconds(text: str, length_s: int) -> None:
    assert seconds_of(text) == length_s


@pytest.mark.parametrize("text", ["", "1", "m", "0m", "2d", "1w", "90000s", "1.5m", "1M", "-1m"])
def test_what_is_no_interval_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(BadInput, match="1s to 1d"):
        seconds_of(text)


@given(
    at_s=st.integers(1_700_000_000, 1_900_000_000),
    length_s=st.sampled_from([1, 7, 60, 180, 300, 420, 900, 3_600, 7_200, 50_000, DAY_S]),
    exchange=st.sampled_from(["NSE", "MCX"]),
)
def test_a_days_bars_lie_side_by_side_and_the_session_begins_one(
    at_s: int, length_s: int, exchange: str
) -> None:
    first = first_minute(exchange)
    start, end = span_of(at_s, length_s, first)
    assert start <= at_s < end <= start + length_s
    assert span_of(start, length_s, first) == (start, end)
    assert span_of(end - 1, length_s, first) == (start, end)
    assert span_of(end, length_s, first)[0] == end
    midnight = at_s - (at_s + 19_800) % DAY_S
    opening = midnight + first * 60
    assert span_of(opening, length_s, first)[0] == (opening if length_s < DAY_S else midnight)


@given(
    st.lists(
        st.tuples(st.floats(0, 600), st.integers(0, 5), st.integers(9_000, 11_000)), max_size=60
    ),
    st.floats(0, 30),
)
def test_nothing_traded_is_lost_or_counted_twice_however_late_it_comes(
    story: list[tuple[float, int, int]], wait_s: float
) -> None:
    volume, came_s = 0, 0.0
    desk = Desk(wait_s=wait_s, corrects=False)
    desk.at(-1, 100, 0)
    for after_s, late_s, price in sorted(story):
        volume += price % 7
        came_s = max(came_s, after_s + late_s)
        desk.at(after_s, price / 100, volume, came_s=came_s)
    desk.at(2_000, 100, volume)
    made = desk.until(5_000)
    assert sum(bar.volume or 0 for bar in made) == volume
    assert all(bar.low <= min(bar.open, bar.close) for bar in made)
    assert all(bar.high >= max(bar.open, bar.close) for bar in made)
    assert all(a.end_ns <= b.start_ns for a, b in pairwise(made))
