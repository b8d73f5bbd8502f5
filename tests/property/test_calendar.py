"""Tests rules that hold for any day and moment of the shipped calendar."""

from datetime import date, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from kitefeed.actors.policy.calendar import SEGMENTS
from kitefeed.actors.policy.market import Market, to_ist, to_utc_ns
from kitefeed.actors.runtime import calendar_file
from kitefeed.protocol.kite.ticks import EXCHANGE_NAMES
from kitefeed.protocol.kite.units import IST

CALENDAR = calendar_file.load()
MARKET = Market("calendar", CALENDAR)
S = 1_000_000_000
days = st.dates(date(2024, 1, 1), date(2028, 12, 31))
moments = st.datetimes(datetime(2024, 1, 1), datetime(2028, 12, 31)).map(
    lambda naive: naive.replace(tzinfo=IST)
)
numbers = st.sampled_from(sorted(EXCHANGE_NAMES))


@given(segment=st.sampled_from(SEGMENTS), day=days)
def test_sessions_and_phases_follow_each_other(segment: str, day: date) -> None:
    sessions = CALENDAR.plan(segment, day).sessions
    spans = [(phase.start, phase.end) for session in sessions for phase in session.phases]
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@given(segment=numbers, moment=moments)
@settings(max_examples=300)
def test_the_next_open_is_open_and_nothing_opens_before_it(segment: int, moment: datetime) -> None:
    now_ns = to_utc_ns(moment)
    opens = MARKET.next_open([segment], now_ns)
    assert opens is not None
    opens_ns = to_utc_ns(opens)
    assert opens_ns > now_ns
    assert MARKET.is_open(segment, opens_ns)
    assert not MARKET.is_open(segment, opens_ns - S)
    if not MARKET.is_open(segment, now_ns):
        middle_ns = now_ns + (opens_ns - now_ns) // 2
        assert not MARKET.is_open(segment, middle_ns)


@given(segment=numbers, moment=moments)
def test_an_open_segment_has_a_session_around_the_moment(segment: int, moment: datetime) -> None:
    now_ns = to_utc_ns(moment)
    if segment != 8 and MARKET.is_open(segment, now_ns):
        sessions = CALENDAR.plan(EXCHANGE_NAMES[segment], to_ist(now_ns).date()).sessions
        at = to_ist(now_ns).time()
        assert any(session.start <= at < session.end for session in sessions)
        assert segment not in MARKET.closed_segments(now_ns)
    assert MARKET.is_trading(segment, now_ns) <= MARKET.is_open(segment, now_ns)


@given(day=days)
def test_indices_keep_the_hours_of_the_shares_they_are_made_of(day: date) -> None:
    plans = {CALENDAR.plan(segment, day).sessions for segment in ("NSE", "BSE", "INDICES")}
    assert len(plans) == 1
    assert not CALENDAR.plan("NSE", day).is_certain or day.year <= 2026
    if day.year == 2027 and day.weekday() < 5:
        assert CALENDAR.plan("NSE", day).sessions
        assert CALENDAR.plan("NSE", day + timedelta(days=7)).sessions
