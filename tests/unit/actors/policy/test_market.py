"""23 November 2026 is a Monday; Tuesday the 24th is a holiday with an evening at MCX."""

from datetime import UTC, datetime, time

import pytest

from kitefeed.actors.policy import market
from kitefeed.actors.policy.calendar import Calendar, parse
from kitefeed.actors.policy.market import Hours, Market
from kitefeed.actors.runtime import calendar_file
from kitefeed.protocol.kite.units import IST

NSE, NFO, CDS, MCX, INDICES = 1, 2, 3, 7, 9
CALENDAR = calendar_file.load()


def ist(text: str) -> int:
    return market.to_utc_ns(datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=IST))


def on(moment: str) -> int:
    return market.to_utc_ns(datetime.fromisoformat(moment).replace(tzinfo=IST))


@pytest.fixture
def exchange() -> Market:
    return Market("calendar", CALENDAR)


def test_a_moment_survives_the_way_to_utc_and_back() -> None:
    moment = datetime(2026, 11, 23, 9, 15, 0, 250_000, tzinfo=IST)
    assert market.to_ist(market.to_utc_ns(moment)) == moment
    assert market.to_utc_ns(datetime(2026, 11, 23, 3, 45, tzinfo=UTC)) == ist("23 09:15")


@pytest.mark.parametrize(
    ("at", "is_open", "is_trading"),
    [
        ("23 08:59:59.9", False, False),
        ("23 09:00", True, False),
        ("23 09:14:59.9", True, False),
        ("23 09:15", True, True),
        ("23 15:14:59.9", True, True),
        ("23 15:15", True, False),
        ("23 15:40", True, False),
        ("23 15:59:59.9", True, False),
        ("23 16:00", False, False),
        ("24 12:00", False, False),
        ("28 12:00", False, False),
    ],
)
def test_a_share_is_open_to_the_post_close_and_trades_to_the_auction(
    exchange: Market, at: str, is_open: bool, is_trading: bool
) -> None:
    assert exchange.is_open(NSE, ist(at)) is is_open
    assert exchange.is_trading(NSE, ist(at)) is is_trading
    assert exchange.is_open(INDICES, ist(at)) is is_open


def test_after_the_close_of_shares_the_other_segments_go_on(exchange: Market) -> None:
    assert 1 in exchange.closed_segments(ist("23 16:30"))
    assert not {CDS, MCX} & set(exchange.closed_segments(ist("23 16:30")))
    assert set(exchange.closed_segments(ist("23 22:00"))) == {1, 2, 3, 4, 5, 6, 8, 9}


def test_a_segment_nobody_has_documented_follows_nse(exchange: Market) -> None:
    for segment in (8, 10, 200):
        assert exchange.phase(segment, ist("23 12:00")) == "open"
        assert exchange.phase(segment, ist("23 22:00")) == "closed"


@pytest.mark.parametrize(("hours", "is_open"), [("always", True), ("never", False)])
def test_a_market_without_a_calendar_does_not_look_at_the_clock(
    hours: Hours, is_open: bool
) -> None:
    without = Market(hours, CALENDAR)
    for at in ("23 12:00", "28 03:00"):
        assert without.is_open(NSE, ist(at)) is is_open
        assert without.is_trading(MCX, ist(at)) is is_open
        assert without.closed_segments(ist(at)) == ()
    assert without.next_open([NSE], ist("23 12:00")) is None
    assert without.opens_today([NSE], ist("23 08:00")) is None
    assert without.warning(on("2027-05-01T00:00")) == ""


@pytest.mark.parametrize(
    ("segments", "at", "opens"),
    [
        ([NSE], "23 08:59", "23 09:00"),
        ([NSE], "23 09:00", "25 09:00"),
        ([MCX], "23 22:00", "24 17:00"),
        ([NSE, MCX], "23 22:00", "24 17:00"),
        ([NSE], "27 16:00", "30 09:00"),
        ([NSE], "28 12:00", "30 09:00"),
    ],
)
def test_the_next_open_is_the_earliest_to_come(
    exchange: Market, segments: list[int], at: str, opens: str
) -> None:
    moment = exchange.next_open(segments, ist(at))
    assert moment is not None
    assert market.to_utc_ns(moment) == ist(opens)


def test_a_calendar_without_sessions_has_no_next_open() -> None:
    empty = Market("calendar", Calendar([parse("")]))
    assert empty.next_open([NSE], ist("23 12:00")) is None
    assert not empty.is_open(NSE, ist("23 12:00"))


def test_a_day_begins_at_midnight_in_india(exchange: Market) -> None:
    assert exchange.opens_today([NSE], ist("23 00:30"))  # still Sunday in UTC
    assert not exchange.opens_today([NSE], ist("28 00:30"))
    assert not exchange.opens_today([NSE], ist("24 08:45"))


@pytest.mark.parametrize(
    ("at", "is_warned"),
    [("2026-11-30T23:59", False), ("2026-12-01T00:00", True), ("2028-01-01T00:00", True)],
)
def test_from_december_of_its_last_year_the_table_is_warned_about(
    exchange: Market, at: str, is_warned: bool
) -> None:
    assert ("ends with 2026" in exchange.warning(on(at))) is is_warned


@pytest.mark.parametrize(
    ("at", "flush"), [("23 07:29", "22 07:30"), ("23 07:30", "23 07:30"), ("23 23:00", "23 07:30")]
)
def test_the_last_token_flush_is_not_in_the_future(at: str, flush: str) -> None:
    assert market.last_flush_utc_ns(ist(at)) == ist(flush)


@pytest.mark.parametrize(
    ("since", "until", "is_flush"),
    [
        ("23 07:34", "23 07:50", True),
        ("23 07:35", "23 07:50", False),
        ("22 16:00", "23 05:59", False),
        ("22 16:00", "23 06:00", True),
        ("23 09:20", "24 06:10", True),
    ],
)
def test_a_flush_counts_from_six_until_the_check_after_it(
    since: str, until: str, is_flush: bool
) -> None:
    assert Market("calendar", CALENDAR).is_flush_between(ist(since), ist(until)) is is_flush
    assert not Market("always", CALENDAR).is_flush_between(ist(since), ist(until))


def test_the_last_time_of_day_is_today_or_yesterday() -> None:
    assert market.last_utc_ns(ist("23 08:45"), time(8, 45)) == ist("23 08:45")
    assert market.last_utc_ns(ist("23 08:44"), time(8, 45)) == ist("22 08:45")
