"""Lists what the simulated exchanges trade: real tokens where known, plausible ones beyond."""

import datetime as dt
from collections.abc import Iterator
from itertools import count, islice, product
from typing import NamedTuple

from kitefeed.protocol.kite.ticks import divisor_of

# Low byte of an instrument token, by the exchange name of the dump. An index
# has a segment of its own, 9.
_SEGMENTS = {"NSE": 1, "NFO": 2, "CDS": 3, "BSE": 4, "BFO": 5, "BCD": 6, "MCX": 7, "NCO": 12}
_TUESDAY = 1  # NIFTY contracts expire on the last Tuesday of the month
_SYLLABLES = ("AD", "BAL", "CHA", "DEV", "GAN", "HIN", "IND", "JAI", "KAL", "LAK", "MAH", "NAV")
_ENDINGS = ("BANK", "TECH", "PHARMA", "POWER", "STEEL", "FIN", "AUTO", "CEM")
_GENERATED_EQUITY_FIRST = 20_000  # exchange tokens above those of the named equities
_OPTION_FIRST = 45_000


class Listing(NamedTuple):
    """One row of the instrument dump, and where its price walk starts."""

    token: int
    exchange: str
    symbol: str
    name: str
    kind: str  # EQ, FUT, CE, PE, as the dump's instrument_type
    segment: str
    price: float  # rupees
    tick_size: float = 0.05
    lot_size: int = 1
    expiry: dt.date | None = None
    strike: float = 0.0
    is_quiet: bool = False  # trades seldom, like a far strike

    @property
    def key(self) -> str:
        return f"{self.exchange}:{self.symbol}"

    @property
    def is_share(self) -> bool:
        return self.kind == "EQ" and self.segment != "INDICES"

    @property
    def divisor(self) -> int:
        return divisor_of(self.token)


def list_instruments(count_wanted: int, today: dt.date) -> list[Listing]:
    """The named instruments, then generated ones until there are `count_wanted`.

    The named ones are always all there, so that the list never depends on the size asked for.
    """
    named = [*_indices(), *_equities(), *_contracts(today)]
    return [*named, *islice(_generated(today), max(0, count_wanted - len(named)))]


def monthly_expiry(today: dt.date) -> dt.date:
    """The last Tuesday of this month, or of the next one when it has passed."""
    for month in (_month_start(today, 0), _month_start(today, 1)):
        last_day = _month_start(month, 1) - dt.timedelta(days=1)
        expiry = last_day - dt.timedelta(days=(last_day.weekday() - _TUESDAY) % 7)
        if expiry >= today:
            return expiry
    raise AssertionError("next month's last Tuesday lies in the future")


def _month_start(day: dt.date, months_later: int) -> dt.date:
    years, month_index = divmod(day.month - 1 + months_later, 12)
    return dt.date(day.year + years, month_index + 1, 1)


def _token(exchange: str, exchange_token: int) -> int:
    return exchange_token << 8 | _SEGMENTS[exchange]


def _indices() -> Iterator[Listing]:
    for token, exchange, name, price in (
        (256265, "NSE", "NIFTY 50", 24_010.60),
        (260105, "NSE", "NIFTY BANK", 51_480.25),
        (265, "BSE", "SENSEX", 78_553.20),
        (264969, "NSE", "INDIA VIX", 13.42),
    ):
        yield Listing(token, exchange, name, name, "EQ", "INDICES", price, 0.0, 0)


def _equities() -> Iterator[Listing]:
    for token, exchange, symbol, name, price in (
        (408065, "NSE", "INFY", "INFOSYS", 1_580.25),
        (738561, "NSE", "RELIANCE", "RELIANCE INDUSTRIES", 2_940.70),
        (779521, "NSE", "SBIN", "STATE BANK OF INDIA", 812.35),
        (2953217, "NSE", "TCS", "TATA CONSULTANCY SERV LT", 4_120.00),
        (341249, "NSE", "HDFCBANK", "HDFC BANK", 1_745.10),
        (884737, "NSE", "TATAMOTORS", "TATA MOTORS", 958.45),
        (128053508, "BSE", "INFY", "INFOSYS", 1_580.40),
    ):
        yield Listing(token, exchange, symbol, name, "EQ", exchange, price)


def _contracts(today: dt.date) -> Iterator[Listing]:
    """Futures on every derivatives segment, and a ladder of NIFTY strikes."""
    expiry = monthly_expiry(today)
    for exchange, exchange_token, name, price, tick_size, lot_size in (
        ("NFO", 44_601, "NIFTY", 24_062.30, 0.05, 75),
        ("NFO", 44_602, "BANKNIFTY", 51_590.00, 0.05, 35),
        ("NFO", 44_603, "INFY", 1_584.90, 0.05, 400),
        ("BFO", 3_301, "SENSEX", 78_690.50, 0.05, 20),
        ("CDS", 1_176, "USDINR", 83.5025, 0.0025, 1),
        ("BCD", 1_234, "USDINR", 83.5050, 0.0025, 1),
        ("MCX", 436_953, "CRUDEOIL", 6_120.00, 1.00, 100),
        ("NCO", 77, "CRUDEOIL", 6_120.50, 0.5, 100),
    ):
        yield Listing(
            _token(exchange, exchange_token),
            exchange,
            f"{name}{_month_code(expiry)}FUT",
            name,
            "FUT",
            f"{exchange}-FUT",
            price,
            tick_size,
            lot_size,
            expiry,
        )
    ladder = product(range(23_500, 24_501, 50), ("CE", "PE"))
    for exchange_token, (strike, kind) in enumerate(ladder, _OPTION_FIRST):
        yield _nifty_option(exchange_token, strike, kind, expiry, is_quiet=False)


def _month_code(expiry: dt.date) -> str:
    return f"{expiry:%y%b}".upper()


def _nifty_option(
    exchange_token: int, strike: int, kind: str, expiry: dt.date, *, is_quiet: bool
) -> Listing:
    intrinsic = 24_010 - strike if kind == "CE" else strike - 24_010
    time_value = 180 / (1 + abs(intrinsic) / 200)
    price = round((max(intrinsic, 0) + max(time_value, 2.0)) / 0.05) * 0.05
    symbol = f"NIFTY{_month_code(expiry)}{strike}{kind}"
    return Listing(
        _token("NFO", exchange_token),
        "NFO",
        symbol,
        "NIFTY",
        kind,
        "NFO-OPT",
        price,
        0.05,
        75,
        expiry,
        float(strike),
        is_quiet,
    )


def _generated(today: dt.date) -> Iterator[Listing]:
    """Equities and option strikes in turn, without end; every fourth one is a quiet option."""
    equities, options = _generated_equities(), _generated_options(today)
    while True:
        yield next(equities)
        yield next(equities)
        yield next(options)
        yield next(equities)


def _generated_equities() -> Iterator[Listing]:
    for number in count():
        rest, ending = divmod(number, len(_ENDINGS))
        rest, second = divmod(rest, len(_SYLLABLES))
        rest, first = divmod(rest, len(_SYLLABLES))
        suffix = str(rest) if rest else ""
        symbol = f"{_SYLLABLES[first]}{_SYLLABLES[second]}{_ENDINGS[ending]}{suffix}"
        token = _token("NSE", _GENERATED_EQUITY_FIRST + number)
        price = 50 + (number * 7919 % 4_000) + 0.05 * (number % 20)
        yield Listing(token, "NSE", symbol, f"{symbol} LTD", "EQ", "NSE", round(price, 2))


def _generated_options(today: dt.date) -> Iterator[Listing]:
    """Strikes of later months, outward without end."""
    exchange_token = count(_OPTION_FIRST + 1_000)
    for months_later in count(1):
        expiry = monthly_expiry(_month_start(today, months_later))
        for strike, kind in product(range(20_000, 28_001, 50), ("CE", "PE")):
            yield _nifty_option(next(exchange_token), strike, kind, expiry, is_quiet=True)
