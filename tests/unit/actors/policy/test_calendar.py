"""The shipped table against every date that is known, and the format of tables."""

from datetime import date, datetime, time, timedelta

import pytest

from kitefeed.actors.policy.calendar import GROUPS, SEGMENTS, BadTable, Calendar, PhaseWord, parse
from kitefeed.actors.runtime import calendar_file
from kitefeed.protocol.kite.units import IST

SHIPPED = calendar_file.load()
EQUITY, CURRENCY, COMMODITY = GROUPS["equity"], GROUPS["currency"], GROUPS["commodity"]
HOLIDAYS = (
    "2026-01-15", "2026-01-26", "2026-03-03", "2026-03-26", "2026-03-31", "2026-04-03",
    "2026-04-14", "2026-05-01", "2026-05-28", "2026-06-26", "2026-09-14", "2026-10-02",
    "2026-10-20", "2026-11-10", "2026-11-24", "2026-12-25",
)  # fmt: skip
CURRENCY_HOLIDAYS = (*HOLIDAYS, "2026-02-19", "2026-03-19", "2026-04-01", "2026-08-26")
MCX_CLOSED = ("2026-01-26", "2026-04-03", "2026-10-02", "2026-12-25")
MCX_EVENINGS = (
    "2026-03-03", "2026-03-26", "2026-03-31", "2026-04-14", "2026-05-01", "2026-05-28",
    "2026-06-26", "2026-09-14", "2026-10-20", "2026-11-10", "2026-11-24",
)  # fmt: skip
YEAR = [date(2026, 1, 1) + timedelta(days=n) for n in range(365)]


def hours(segment: str, day: str, calendar: Calendar = SHIPPED) -> str:
    """`09:15-10:00 11:30-12:30`, from the first phase to the last; empty: closed."""
    sessions = calendar.plan(segment, date.fromisoformat(day)).sessions
    return " ".join(f"{session.start:%H:%M}-{session.end:%H:%M}" for session in sessions)


def phase(segment: str, moment: str) -> PhaseWord:
    return SHIPPED.phase(segment, datetime.fromisoformat(moment).replace(tzinfo=IST))


# --- holidays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", EQUITY)
def test_equity_is_closed_on_sixteen_weekdays_of_2026_and_no_other(segment: str) -> None:
    closed = [d.isoformat() for d in YEAR if d.weekday() < 5 and not SHIPPED.plan(segment, d)[0]]
    assert closed == sorted(HOLIDAYS)


@pytest.mark.parametrize("segment", CURRENCY)
def test_currency_is_closed_on_four_days_more(segment: str) -> None:
    closed = [d.isoformat() for d in YEAR if d.weekday() < 5 and not SHIPPED.plan(segment, d)[0]]
    assert closed == sorted(CURRENCY_HOLIDAYS)


@pytest.mark.parametrize("segment", COMMODITY)
def test_commodities_have_full_closures_and_half_days(segment: str) -> None:
    closed = [d.isoformat() for d in YEAR if d.weekday() < 5 and not SHIPPED.plan(segment, d)[0]]
    assert closed == sorted(MCX_CLOSED)
    evenings = [d.isoformat() for d in YEAR if hours(segment, d.isoformat()).startswith("17:00")]
    assert evenings == sorted(MCX_EVENINGS)
    assert hours(segment, "2026-01-01") == "09:00-17:00"


def test_every_holiday_has_a_name() -> None:
    for day in CURRENCY_HOLIDAYS:
        assert SHIPPED.plan("CDS", date.fromisoformat(day)).name


def test_weekends_are_closed_but_for_the_special_ones() -> None:
    for segment in SEGMENTS:
        found = [d.isoformat() for d in YEAR if d.weekday() > 4 and SHIPPED.plan(segment, d)[0]]
        muhurat = ["2026-11-08"] if segment in EQUITY else []
        budget = [] if segment in CURRENCY else ["2026-02-01"]
        assert found == budget + muhurat


# --- special sessions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "segment", "expected"),
    [
        ("2026-02-01", "NSE", "09:00-16:00"),
        ("2026-02-01", "NFO", "09:00-15:30"),
        ("2026-02-01", "MCX", "09:00-23:55"),
        ("2026-11-08", "NSE", "18:15-19:15"),
        ("2026-11-08", "BFO", "18:15-19:15"),
        ("2025-10-21", "NSE", "13:45-14:45"),
        ("2025-02-01", "BSE", "09:00-16:00"),
        ("2024-11-01", "NFO", "18:00-19:00"),
        ("2024-01-20", "NSE", "09:15-10:00 11:30-12:30"),
        ("2024-03-02", "NSE", "09:15-10:00 11:30-12:30"),
        ("2024-05-18", "NFO", "09:15-10:00 11:30-12:30"),
    ],
)
def test_special_sessions(day: str, segment: str, expected: str) -> None:
    assert hours(segment, day) == expected


def test_between_two_sessions_of_a_drill_the_market_is_closed() -> None:
    assert phase("NSE", "2024-03-02T09:59") == "open"
    assert phase("NSE", "2024-03-02T10:00") == "closed"
    assert phase("NSE", "2024-03-02T11:30") == "open"


@pytest.mark.parametrize(
    ("segment", "day"),
    [("NSE", "2026-11-08"), ("NSE", "2026-12-07"), ("MCX", "2026-11-24"), ("CDS", "2026-02-19")],
)
def test_what_one_source_says_is_uncertain(segment: str, day: str) -> None:
    assert not SHIPPED.plan(segment, date.fromisoformat(day)).is_certain


@pytest.mark.parametrize("day", ["2026-11-24", "2026-02-01", "2026-11-23", "2026-12-06"])
def test_what_several_sources_say_is_certain(day: str) -> None:
    assert SHIPPED.plan("NSE", date.fromisoformat(day)).is_certain


@pytest.mark.parametrize("is_day_certain", [True, False])
@pytest.mark.parametrize("are_hours_certain", [True, False])
def test_a_day_cut_out_of_a_weekday_is_as_certain_as_the_less_certain_of_the_two(
    *, is_day_certain: bool, are_hours_certain: bool
) -> None:
    table = parse(f"""
        years = [2026]
        [[regime]]
        segments = ["NSE"]
        from = 2026-01-01
        uncertain = {str(not are_hours_certain).lower()}
        sessions = [{{ open = "09:15-15:30" }}]
        [[day]]
        date = 2026-06-15
        segments = ["NSE"]
        until = "12:30"
        uncertain = {str(not is_day_certain).lower()}
        """)
    plan = Calendar([table]).plan("NSE", date(2026, 6, 15))
    assert [session.end for session in plan.sessions] == [time(12, 30)]
    assert plan.is_certain is (is_day_certain and are_hours_certain)


# --- regimes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segment", "moment", "expected"),
    [
        # The closing auction of 3 August, and its move of 7 December.
        ("NSE", "2026-07-31T15:20", "open"),
        ("NSE", "2026-07-31T15:35", "break"),
        ("NSE", "2026-07-31T15:40", "post_close"),
        ("NSE", "2026-08-03T15:14", "open"),
        ("NSE", "2026-08-03T15:15", "closing_auction"),
        ("NSE", "2026-08-03T15:35", "break"),
        ("NSE", "2026-08-03T15:49", "break"),
        ("NSE", "2026-08-03T15:50", "post_close"),
        ("NSE", "2026-08-03T16:00", "closed"),
        ("NSE", "2026-12-04T15:20", "closing_auction"),
        ("NSE", "2026-12-07T15:20", "open"),
        ("NSE", "2026-12-07T15:30", "closing_auction"),
        ("NSE", "2026-12-07T15:40", "break"),
        ("NSE", "2026-12-07T15:50", "post_close"),
        # The longer order entry of 7 September.
        ("BSE", "2026-09-04T09:09", "pre_open_match"),
        ("BSE", "2026-09-07T09:09", "pre_open"),
        ("BSE", "2026-09-07T09:10", "pre_open_match"),
        ("INDICES", "2026-09-07T09:15", "open"),
        # Derivatives: pre-open since December 2025, later closes.
        ("NFO", "2025-12-05T09:05", "closed"),
        ("NFO", "2025-12-08T09:05", "pre_open"),
        ("NFO", "2026-07-31T15:30", "closed"),
        ("NFO", "2026-08-03T15:39", "open"),
        ("BFO", "2026-08-03T15:40", "closed"),
        ("NFO", "2026-12-04T15:40", "closed"),
        ("NFO", "2026-12-07T15:44", "open"),
        ("BFO", "2026-12-07T15:45", "closed"),
        # Currency and commodities.
        ("CDS", "2026-11-23T08:59", "closed"),
        ("CDS", "2026-11-23T16:59", "open"),
        ("BCD", "2026-11-23T17:00", "closed"),
        ("MCX", "2026-11-23T22:00", "open"),
        ("MCX", "2026-11-24T16:59", "closed"),
        ("MCX", "2026-11-24T17:00", "open"),
    ],
)
def test_the_phase_of_a_moment(segment: str, moment: str, expected: PhaseWord) -> None:
    assert phase(segment, moment) == expected


@pytest.mark.parametrize(
    ("last", "first", "before", "after"),
    [
        ("2023-11-03", "2023-11-06", "23:30", "23:55"),
        ("2024-03-08", "2024-03-11", "23:55", "23:30"),
        ("2025-03-07", "2025-03-10", "23:55", "23:30"),
        ("2025-10-31", "2025-11-03", "23:30", "23:55"),
        ("2026-03-06", "2026-03-09", "23:55", "23:30"),
        ("2026-10-30", "2026-11-02", "23:30", "23:55"),
        ("2027-03-12", "2027-03-15", "23:55", "23:30"),
    ],
)
@pytest.mark.parametrize("segment", COMMODITY)
def test_commodities_close_by_the_clocks_of_america(
    segment: str, last: str, first: str, before: str, after: str
) -> None:
    assert (hours(segment, last), hours(segment, first)) == (f"09:00-{before}", f"09:00-{after}")


def test_the_clocks_of_america_change_on_the_sunday_before_each_switch() -> None:
    """Second Sunday of March, first of November."""
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(4 * 365)]
    for day in (d for d in days if d.weekday() == 0 and d.month in (3, 11)):
        ends = [SHIPPED._weekday("MCX", d).sessions[0].end for d in (day - timedelta(3), day)]
        sunday = day.day - 1
        is_switch = 8 <= sunday <= 14 if day.month == 3 else 1 <= sunday <= 7
        assert (ends[0] != ends[1]) is is_switch, day


# --- beyond the table ---------------------------------------------------------------------------


def test_beyond_its_years_a_weekday_is_a_session_and_uncertain() -> None:
    republic_day = SHIPPED.plan("NSE", date(2027, 1, 26))
    assert republic_day.sessions
    assert not republic_day.is_certain
    assert not SHIPPED.plan("NSE", date(2027, 1, 24)).sessions  # a Sunday
    assert hours("NFO", "2028-06-01") == "09:00-15:45"
    assert SHIPPED.last_year == 2026


def test_before_its_years_only_what_has_an_entry_is_certain() -> None:
    assert SHIPPED.plan("NSE", date(2025, 10, 21)).is_certain
    assert not SHIPPED.plan("NSE", date(2025, 10, 20)).is_certain


# --- a table of the user's ----------------------------------------------------------------------

OWN = """
years = [2027]
[[day]]
date = 2026-11-24
name = "Holiday withdrawn"
segments = ["NSE"]
like_weekday = true
[[day]]
date = 2027-01-26
segments = ["equity"]
[[regime]]
segments = ["currency"]
from = 2026-12-01
until = 2026-12-31
sessions = [{ open = "09:00-19:30" }]
"""


def test_the_users_table_wins_for_the_dates_and_segments_it_names() -> None:
    calendar = Calendar([parse(calendar_file._shipped()), parse(OWN)])
    assert hours("NSE", "2026-11-24", calendar) == "09:00-16:00"
    assert hours("BSE", "2026-11-24", calendar) == ""
    assert hours("NSE", "2027-01-26", calendar) == ""
    assert calendar.plan("NSE", date(2027, 1, 26)).is_certain
    assert hours("CDS", "2026-12-31", calendar) == "09:00-19:30"
    assert hours("CDS", "2027-01-01", calendar) == "09:00-17:00"
    assert hours("CDS", "2026-12-25", calendar) == ""  # its hours do not undo our holiday
    assert calendar.last_year == 2027


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("= 3", "is not TOML"),
        ("versionn = 1", "unknown field `versionn`"),
        ("version = 2", "version: is 2"),
        ('[[day]]\ndate = "soon"\nsegments = ["NSE"]', "day[0].date"),
        ('[[day]]\ndate = 2027-01-26\nsegments = ["NSEE"]', "'NSEE' is not one of NSE"),
        (
            '[[day]]\ndate = 2027-01-26\nsegments = ["NSE", "cash"]',
            "2027-01-26 has an entry for NSE already",
        ),
        ('[[day]]\ndate = 2027-01-26\nsegments = []\nfrom = "25:00"', "day[0].from"),
        ('[[day]]\ndate = 2027-01-26\nsegments = []\nfrom = "17:00\\n"', "day[0].from"),
        (
            '[[day]]\ndate = 2027-01-26\nsegments = []\nfrom = "17:00"\nuntil = "09:00"',
            "not after 17:00",
        ),
        (
            '[[day]]\ndate = 2027-01-26\nsegments = []\nfrom = "17:00"\nuntil = "17:00"',
            "17:00 is not after 17:00",
        ),
        (
            "[[day]]\ndate = 2027-01-26\nsegments = []\nlike_weekday = true\n"
            'sessions = [{ open = "09:15-10:00" }]',
            "excludes like_weekday",
        ),
        (
            '[[day]]\ndate = 2027-01-26\nsegments = []\nsessions = [{ open = "10:00-09:15" }]',
            "ends before it starts",
        ),
        ("[[day]]\ndate = 2027-01-26\nsegments = []\nsessions = [{}]", "has no phase"),
        (
            "[[day]]\ndate = 2027-01-26\nsegments = []\n"
            'sessions = [{ pre_open = "09:00-09:20", open = "09:15-10:00" }]',
            "open: starts before the end of pre_open",
        ),
        (
            "[[day]]\ndate = 2027-01-26\nsegments = []\n"
            'sessions = [{ open = "11:30-12:30" }, { open = "09:15-10:00" }]',
            "one starts at 09:15",
        ),
        (
            "[[regime]]\nfrom = 2027-01-02\nuntil = 2027-01-01\nsegments = []\nsessions = []",
            "2027-01-01 is before",
        ),
    ],
)
def test_a_bad_table_is_refused_with_its_key(text: str, says: str) -> None:
    with pytest.raises(BadTable) as caught:
        parse(text)
    assert says in str(caught.value)
