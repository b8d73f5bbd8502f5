"""Expiries, strikes and the pair at the money, by a list as Kite's has it."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from kitefeed import BadInput, Unavailable, atm, expiries, strikes
from kitefeed.actors.runtime import instruments_db
from kitefeed.client import options
from kitefeed.protocol.kite.instruments import DumpRow

S = 1_000_000_000
TODAY = dt.date(2026, 11, 30)
D = dt.date.fromisoformat
WEEKLY, MONTHLY, JANUARY = D("2026-12-01"), D("2026-12-29"), D("2027-01-26")


def row(exchange: str, symbol: str, name: str, kind: str, **more: object) -> DumpRow:
    fields = {
        "instrument_token": 0, "exchange_token": 0, "last_price": 0.0, "expiry": "", "strike": 0.0,
        "tick_size": 0.05, "lot_size": 1, "segment": exchange, **more,
    }  # fmt: skip
    return DumpRow(
        tradingsymbol=symbol, name=name, instrument_type=kind, exchange=exchange, **fields
    )  # type: ignore[arg-type]


def index(exchange: str, symbol: str) -> DumpRow:
    return row(exchange, symbol, symbol, "EQ", segment="INDICES")


def ladder(
    exchange: str, name: str, expiry: dt.date, *of: float, lot_size: int = 75
) -> Iterator[DumpRow]:
    for strike in of:
        for kind in ("CE", "PE"):
            symbol = f"{name}{expiry:%y%b%d}{strike:g}{kind}".upper()
            yield row(
                exchange, symbol, name, kind, expiry=expiry.isoformat(), strike=strike,
                segment=f"{exchange}-OPT", lot_size=lot_size,
            )  # fmt: skip


def future(exchange: str, name: str, expiry: dt.date) -> DumpRow:
    symbol = f"{name}{expiry:%y%b}FUT".upper()
    return row(exchange, symbol, name, "FUT", expiry=expiry.isoformat(), segment=f"{exchange}-FUT")


LISTED = [
    index("NSE", "NIFTY 50"), index("NSE", "NIFTY BANK"), index("BSE", "SENSEX"),
    row("NSE", "RELIANCE", "RELIANCE INDUSTRIES", "EQ"),
    row("BSE", "RELIANCE", "RELIANCE INDUSTRIES", "EQ"), row("NSE", "M&M", "MAHINDRA", "EQ"),
    *ladder("NFO", "NIFTY", D("2026-11-24"), 24_000.0),  # has expired
    *ladder("NFO", "NIFTY", WEEKLY, 23_950.0, 24_000.0, 24_050.0, 24_100.0),
    *ladder("NFO", "NIFTY", D("2026-12-08"), 24_000.0),
    *ladder("NFO", "NIFTY", MONTHLY, 23_900.0, 24_000.0, 24_100.0),
    *ladder("NFO", "NIFTY", JANUARY, 24_000.0),
    *[one for one in ladder("NFO", "NIFTY", WEEKLY, 24_150.0) if one.instrument_type == "CE"],
    future("NFO", "NIFTY", MONTHLY), future("NFO", "NIFTY", JANUARY),
    *ladder("NFO", "BANKNIFTY", MONTHLY, 51_000.0, 51_500.0, lot_size=35),
    *ladder("NFO", "RELIANCE", MONTHLY, 1_400.0, 1_420.0),
    *ladder("NFO", "M&M", MONTHLY, 3_000.0, 3_050.0),
    *ladder("BFO", "SENSEX", D("2026-12-03"), 78_500.0, 78_600.0),
    *ladder("MCX", "CRUDEOIL", D("2026-12-16"), 6_100.0, 6_150.0),
    future("MCX", "CRUDEOIL", D("2026-11-30")), future("MCX", "CRUDEOIL", D("2026-12-18")),
    future("MCX", "CRUDEOIL", D("2027-01-19")),
    *ladder("CDS", "USDINR", D("2026-12-24"), 83.25, 83.5), # monthly: a weekly one follows it
    *ladder("CDS", "USDINR", D("2026-12-31"), 83.25, 83.5),
    future("CDS", "USDINR", D("2026-12-24")),
    *ladder("BCD", "USDINR", D("2026-12-24"), 83.25),
    *ladder("NCO", "LONELY", MONTHLY, 10.0, 20.0),
]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a daemon that does not run, but has fetched a list."""
    instruments_db.write(tmp_path / "state" / "instruments.sqlite", LISTED, TODAY.isoformat())
    made = tmp_path / "kitefeed.toml"
    made.write_text(f'state_dir = "{tmp_path}/state"\nruntime_dir = "{tmp_path}/run"\n')
    ist = dt.timezone(dt.timedelta(hours=5, minutes=30))
    now = dt.datetime.combine(TODAY, dt.time(0, 10), ist)  # the day before, by UTC
    monkeypatch.setattr(options, "utc_ns", lambda: int(now.timestamp()) * S)
    return made


def test_expiries_are_those_from_today_on(config: Path) -> None:
    assert expiries("NIFTY", config=config) == [WEEKLY, D("2026-12-08"), MONTHLY, JANUARY]
    assert expiries("SENSEX", config=config) == [D("2026-12-03")]


def test_strikes_are_those_with_a_call_and_a_put(config: Path) -> None:
    assert strikes("NIFTY", config=config) == [23_950, 24_000, 24_050, 24_100]
    assert strikes("NIFTY", MONTHLY, config=config) == [23_900, 24_000, 24_100]


@pytest.mark.parametrize(
    ("expiry", "day"),
    [
        ("nearest", WEEKLY), ("weekly", WEEKLY), ("monthly", MONTHLY), ("2026-12-08", "2026-12-08"),
        (MONTHLY, MONTHLY), (dt.datetime(2027, 1, 26, 9, 15), JANUARY),
    ],
)  # fmt: skip
def test_an_expiry_is_named_by_word_or_date(
    config: Path, expiry: dt.date | str, day: dt.date | str
) -> None:
    assert str(atm("NIFTY", expiry, price=24_010, config=config).expiry) == str(day)


def test_the_monthly_one_is_that_of_the_future_though_a_weekly_one_follows_it(
    config: Path,
) -> None:
    assert atm("USDINR", "monthly", price=83.3, config=config).expiry == D("2026-12-24")
    assert atm("USDINR", "weekly", price=83.3, config=config).expiry == D("2026-12-31")


@pytest.mark.parametrize(
    ("price", "strike"),
    [
        (24_010, 24_000), (24_024.95, 24_000), (24_025, 24_000), (24_025.05, 24_050),
        (Decimal("24_074.99"), 24_050), (24_101, 24_100), (23_900, 23_950),
    ],
)  # fmt: skip
def test_the_strike_is_the_nearest_and_of_two_as_near_the_lower(
    config: Path, price: float, strike: float
) -> None:
    pair = atm("NIFTY", price=price, config=config)
    assert (pair.strike, pair.price, pair.why_stale) == (strike, float(price), "")
    assert (pair.call, pair.put) == (
        f"NFO:NIFTY26DEC01{strike}CE", f"NFO:NIFTY26DEC01{strike}PE",
    )  # fmt: skip
    assert (pair.lot_size, pair.listed_on, pair.underlying) == (75, TODAY, "NSE:NIFTY 50")


@pytest.mark.parametrize(
    ("underlying", "key", "price", "call"),
    [
        ("NIFTY 50", "NSE:NIFTY 50", 24_000, "NFO:NIFTY26DEC0124000CE"),
        ("nse:nifty 50", "NSE:NIFTY 50", 24_000, "NFO:NIFTY26DEC0124000CE"),
        ("Bank Nifty", "NSE:NIFTY BANK", 51_400, "NFO:BANKNIFTY26DEC2951500CE"),
        ("NSE:NIFTY BANK", "NSE:NIFTY BANK", 51_400, "NFO:BANKNIFTY26DEC2951500CE"),
        ("SENSEX", "BSE:SENSEX", 78_520, "BFO:SENSEX26DEC0378500CE"),
        ("RELIANCE", "NSE:RELIANCE", 1_401, "NFO:RELIANCE26DEC291400CE"),
        ("NSE:RELIANCE", "NSE:RELIANCE", 1_401, "NFO:RELIANCE26DEC291400CE"),
        ("M&M", "NSE:M&M", 3_049, "NFO:M&M26DEC293050CE"),
        ("CRUDEOIL", "MCX:CRUDEOIL26DECFUT", 6_110, "MCX:CRUDEOIL26DEC166100CE"),
        ("USDINR", "CDS:USDINR26DECFUT", 83.4, "CDS:USDINR26DEC2483.5CE"),
        ("BCD:USDINR", "", 83.4, "BCD:USDINR26DEC2483.25CE"),
        ("LONELY", "", 14.9, "NCO:LONELY26DEC2910CE"),
    ],
)
def test_an_underlying_goes_by_its_name_or_by_that_of_its_instrument(
    config: Path, underlying: str, key: str, price: float, call: str
) -> None:
    pair = atm(underlying, price=price, config=config)
    assert (pair.underlying, pair.call) == (key, call)


@pytest.mark.parametrize(
    ("underlying", "expiry", "price", "says"),
    [
        ("NIFTTY", "nearest", 1, "no options on 'NIFTTY' in the list of 2026-11-30: did you mean "
                                 "NIFTY or BANKNIFTY"),
        ("XYZZY", "nearest", 1, "`kitefeed instruments find TEXT`"),
        ("", "nearest", 1, "no options on ''"),
        ("BFO:NIFTY", "nearest", 1, "no options on 'BFO:NIFTY'"),
        ("NIFTY", "2026-12-02", 1, "on NIFTY expire on 2026-12-02; the nearest are 2026-12-01, "),
        ("NIFTY", "2026-11-24", 1, "expire on 2026-11-24"),
        ("NIFTY", "next", 1, "expiry='next' is none of nearest, weekly, monthly, and no date"),
        ("NIFTY", None, 1, "expiry=None is none of"),
        ("BANKNIFTY", "weekly", 1, "BANKNIFTY has no weekly options: expiry='monthly'"),
        ("NIFTY", "nearest", 2_401_000, "At 2,401,000.00 no option on NIFTY is at the money: the "
                                        "strikes in the list of 2026-11-30 are 23,950.00 to"),
        ("NIFTY", "nearest", 23_000, "no option on NIFTY is at the money"),
        ("NIFTY", "nearest", -1, "price=-1 is no price"),
        ("NIFTY", "nearest", float("nan"), "price=nan is no price"),
        ("NIFTY", "nearest", True, "price=True is no price"),
        ("NIFTY", "nearest", "much", "price='much' is no price"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_refused_with_the_way_out(
    config: Path, underlying: str, expiry: str, price: float, says: str
) -> None:
    with pytest.raises(BadInput) as refused:
        atm(underlying, expiry, price=price, config=config)
    assert says in str(refused.value)


def test_where_nothing_has_the_price_it_is_to_be_given(config: Path) -> None:
    with pytest.raises(BadInput, match="has the price of LONELY: give it, price="):
        atm("LONELY", config=config)


def test_a_list_that_is_not_there_or_damaged_says_what_to_do(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "state" / "instruments.sqlite"
    path.write_bytes(path.read_bytes()[:5_000] + b"\0" * 9_000)
    with pytest.raises(Unavailable, match=r"is damaged \(.*\): `kitefeed instruments fetch`"):
        expiries("NIFTY", config=config)
    path.unlink()
    with pytest.raises(Unavailable, match=r"no instrument list at .*sqlite: `kitefeed up`"):
        strikes("NIFTY", config=config)


def test_without_a_daemon_there_is_no_price(config: Path) -> None:
    with pytest.raises(Unavailable, match="No kitefeed daemon answers"):
        atm("NIFTY", timeout_s=0.2, config=config)
