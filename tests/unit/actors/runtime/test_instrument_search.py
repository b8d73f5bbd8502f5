from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime import instruments_db
from kitefeed.actors.runtime.instrument_search import find, near
from kitefeed.protocol.instrument_list import InstrumentsDb
from kitefeed.protocol.kite.instruments import DumpRow

MONTHS = (("2026-12-29", "26DEC"), ("2026-11-24", "26NOV"), ("2027-01-26", "27JAN"))


def row(
    token: int, exchange: str, symbol: str, name: str = "", expiry: str = "",
    strike: float = 0, kind: str = "EQ", segment: str = "",
) -> DumpRow:  # fmt: skip
    return DumpRow(
        token, token >> 8, symbol, name, 0.0, expiry, strike, 0.05, 1, kind,
        segment or exchange, exchange,
    )  # fmt: skip


def derivatives() -> Iterator[DumpRow]:
    token = 45_000
    for underlying, first in (("NIFTY", 23_950), ("BANKNIFTY", 51_000)):
        for expiry, code in MONTHS:
            token += 1
            yield row(
                token << 8 | 2, "NFO", f"{underlying}{code}FUT", underlying, expiry, 0, "FUT",
                "NFO-FUT",
            )  # fmt: skip
            for strike in range(first, first + 1_050, 50):
                for kind in ("CE", "PE"):
                    token += 1
                    symbol = f"{underlying}{code}{strike}{kind}"
                    yield row(
                        token << 8 | 2, "NFO", symbol, underlying, expiry, strike, kind, "NFO-OPT"
                    )


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> InstrumentsDb:
    path = tmp_path_factory.mktemp("state") / "instruments.sqlite"
    indices = [
        row(token, exchange, symbol, symbol, segment="INDICES")
        for token, exchange, symbol in (
            (256265, "NSE", "NIFTY 50"), (260105, "NSE", "NIFTY BANK"),
            (264969, "NSE", "INDIA VIX"), (270857, "NSE", "NIFTY NEXT 50"),
            (257801, "NSE", "NIFTY FIN SERVICE"),
            (288009, "NSE", "NIFTY MID SELECT"), (265, "BSE", "SENSEX"),
        )
    ]  # fmt: skip
    shares = [
        row(408065, "NSE", "INFY", "INFOSYS"),
        row(128053508, "BSE", "INFY", "INFOSYS"),
        row(738561, "NSE", "RELIANCE", "RELIANCE INDUSTRIES"),
        row(779521, "NSE", "SBIN", "STATE BANK OF INDIA"),
        row(2714625, "NSE", "NIFTYBEES", "NIPPON INDIA ETF NIFTY BEES"),
        row(99 << 8 | 1, "NSE", "BALADBANK", "BALAD BANK"),
        row(1 << 8 | 1, "NSE", "M&M", "MAHINDRA & MAHINDRA"),
        row(2 << 8 | 1, "NSE", "100%_X", "ODD"),
    ]
    instruments_db.write(path, [*derivatives(), *shares, *indices], "2026-11-23")
    return InstrumentsDb(path)


def found(database: InstrumentsDb, text: str) -> list[str]:
    return [instrument.key for instrument in find(database, text)]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("infy", ["NSE:INFY", "BSE:INFY"]),
        ("nse:infy", ["NSE:INFY"]),
        ("infosys", ["NSE:INFY", "BSE:INFY"]),
        ("nifty 50", ["NSE:NIFTY 50", "NSE:NIFTY NEXT 50"]),
        ("nifty50", ["NSE:NIFTY 50"]),
        ("nifty", ["NSE:NIFTY 50", "NSE:NIFTY BANK"]),
        ("nse:nifty", ["NSE:NIFTY 50", "NSE:NIFTY BANK"]),
        ("bank", ["NSE:NIFTY BANK", "NSE:SBIN", "NSE:BALADBANK"]),
        ("BANKNIFTY", ["NSE:NIFTY BANK", "NFO:BANKNIFTY26NOVFUT"]),
        ("bank nifty", ["NSE:NIFTY BANK"]),
        ("finnifty", ["NSE:NIFTY FIN SERVICE"]),
        ("midcpnifty", ["NSE:NIFTY MID SELECT"]),
        ("indiavix", ["NSE:INDIA VIX"]),
        ("vix", ["NSE:INDIA VIX"]),
        ("sensex", ["BSE:SENSEX"]),
        ("408065", ["NSE:INFY"]),
        ("256265", ["NSE:NIFTY 50"]),
        ("nifty fut", ["NFO:NIFTY26NOVFUT", "NFO:NIFTY26DECFUT", "NFO:NIFTY27JANFUT"]),
        ("NIFTY 24000 CE", ["NFO:NIFTY26NOV24000CE", "NFO:NIFTY26DEC24000CE"]),
        ("nifty 2026-12 24000 pe", ["NFO:NIFTY26DEC24000PE"]),
        ("NIFTY dec 24050 CE", ["NFO:NIFTY26DEC24050CE"]),
        ("m&m", ["NSE:M&M"]),
        ("100%_", ["NSE:100%_X"]),
        ("reliance", ["NSE:RELIANCE"]),
    ],
)
def test_what_people_mean_comes_first(database: InstrumentsDb, text: str, first: list[str]) -> None:
    assert found(database, text)[: len(first)] == first


def test_every_word_has_to_match(database: InstrumentsDb) -> None:
    assert found(database, "NIFTY 24000 CE")[:4] == [
        "NFO:NIFTY26NOV24000CE", "NFO:NIFTY26DEC24000CE", "NFO:NIFTY27JAN24000CE",
    ]  # fmt: skip
    assert found(database, "infy 24000") == []
    assert found(database, "%") == ["NSE:100%_X"]
    assert found(database, "  ") == []
    assert found(database, "99999999999999999999") == []


def test_a_month_is_found_by_its_name_where_the_symbol_has_only_digits(tmp_path: Path) -> None:
    weekly = row(9 << 8 | 2, "NFO", "NIFTY26N1024000CE", "NIFTY", "2026-11-10", 24_000, "CE")
    instruments_db.write(tmp_path / "list", [weekly], "2026-11-09")
    assert found(InstrumentsDb(tmp_path / "list"), "nifty nov 24000 ce") == [weekly.key]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("NSE:INFI", "NSE:INFY"),
        ("NSE:RELIANC", "NSE:RELIANCE"),
        ("NSE:NIFTY", "NSE:NIFTY 50"),
        ("NSE:NIFTY50", "NSE:NIFTY 50"),
        ("NSE:BANKNIFTY", "NSE:NIFTY BANK"),
        ("NSE:NIFTYBANK", "NSE:NIFTY BANK"),
        ("NFO:BANKNIFTY", "NSE:NIFTY BANK"),
        ("NSE:SENSEX", "BSE:SENSEX"),
        ("NFO:INFY", "NSE:INFY"),
        ("NSE:INFOSYS", "NSE:INFY"),
        ("NFO:NIFTY26NOV24000C", "NFO:NIFTY26NOV24000CE"),
        ("NFO:NIFTY26NVO24000PE", "NFO:NIFTY26NOV24000PE"),
        ("nse:infy", "NSE:INFY"),
        ("INFY", "NSE:INFY"),
        ("NES:INFY", "NSE:INFY"),
        ("NES:IFNY", "NSE:INFY"),
        ("NSE:MAHINDRA", "NSE:M&M"),
        ("NSE:IFNY", "NSE:INFY"),
        ("NSE:ERLIANCE", "NSE:RELIANCE"),
        ("NSE:RELIANCE.NS", "NSE:RELIANCE"),
    ],
)
def test_a_wrong_key_brings_suggestions(database: InstrumentsDb, key: str, meant: str) -> None:
    proposed = near(database, key)
    assert proposed[0] == meant
    assert len(proposed) <= 3


def test_what_was_hardly_meant_is_not_proposed(database: InstrumentsDb) -> None:
    assert near(database, "NSE:RELIANC") == ["NSE:RELIANCE"]
    assert near(database, "NSE:BANKNIFTY") == ["NSE:NIFTY BANK"]
    for nonsense in ("NSE:IQQQQQQQY", "NSE:ZZZZ", "NSE:", "", ":"):
        assert near(database, nonsense) == []
