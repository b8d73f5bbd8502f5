import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime import instruments_db
from kitefeed.actors.runtime.instruments_db import Facts, InstrumentsDb
from kitefeed.protocol.kite.instruments import Instrument

DAY = "2026-11-23"


def row(
    token: int, exchange: str, symbol: str, name: str = "", expiry: str = "",
    strike: float = 0, kind: str = "EQ", segment: str = "",
) -> Instrument:  # fmt: skip
    return Instrument(
        token, token >> 8, symbol, name, 0.0, expiry, strike, 0.05, 1, kind,
        segment or exchange, exchange,
    )  # fmt: skip


def options() -> Iterator[Instrument]:
    token = 45_000
    for expiry, code in (("2026-12-29", "26DEC"), ("2026-11-24", "26NOV")):
        for strike in (23_950, 24_000, 24_050):
            for kind in ("CE", "PE"):
                token += 1
                symbol = f"NIFTY{code}{strike}{kind}"
                yield row(token << 8 | 2, "NFO", symbol, "NIFTY", expiry, strike, kind, "NFO-OPT")


@pytest.fixture
def database(tmp_path: Path) -> InstrumentsDb:
    path = tmp_path / "state" / "instruments.sqlite"
    instruments = [
        row(256265, "NSE", "NIFTY 50", "NIFTY 50", segment="INDICES"),
        row(408065, "NSE", "INFY", "INFOSYS"),
        row(128053508, "BSE", "INFY", "INFOSYS"),
        row(738561, "NSE", "RELIANCE", "RELIANCE INDUSTRIES"),
        row(1 << 8 | 1, "NSE", "M&M", "MAHINDRA"),
        row(2 << 8 | 1, "NSE", "100%_X", "ODD"),
        row(3 << 8 | 2, "NFO", "NIFTY26NOVFUT", "NIFTY", "2026-11-24", 0, "FUT", "NFO-FUT"),
        *options(),
    ]
    instruments_db.write(path, instruments, DAY)
    return InstrumentsDb(path)


def found(database: InstrumentsDb, text: str) -> list[str]:
    return [instrument.key for instrument in database.find(text)]


def test_the_file_says_what_it_holds_and_is_ours_alone(database: InstrumentsDb) -> None:
    assert database.facts() == Facts(19, DAY)
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600
    assert [path.name for path in database.path.parent.iterdir()] == ["instruments.sqlite"]


def test_keys_become_tokens_and_unknown_ones_are_left_out(database: InstrumentsDb) -> None:
    keys = ["NSE:INFY", "NSE:NIFTY 50", "NSE:NONE", *(f"NSE:X{n}" for n in range(1_200))]
    assert database.resolve(keys) == {"NSE:INFY": 408065, "NSE:NIFTY 50": 256265}


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("infy", "BSE:INFY"),
        ("NSE:INFY", "NSE:INFY"),
        ("nse:infy", "NSE:INFY"),
        ("infosys", "BSE:INFY"),
        ("nifty 50", "NSE:NIFTY 50"),
        ("NIFTY 24000 CE", "NFO:NIFTY26NOV24000CE"),
        ("nifty 2026-12 24000 pe", "NFO:NIFTY26DEC24000PE"),
        ("NIFTY DEC 24050 CE", "NFO:NIFTY26DEC24050CE"),
        ("nifty fut", "NFO:NIFTY26NOVFUT"),
        ("m&m", "NSE:M&M"),
        ("100%_", "NSE:100%_X"),
    ],
)
def test_words_find_what_was_meant_first(database: InstrumentsDb, text: str, first: str) -> None:
    assert found(database, text)[0] == first


def test_every_word_has_to_match_and_the_sooner_expiry_comes_first(
    database: InstrumentsDb,
) -> None:
    assert found(database, "NIFTY 24000 CE") == ["NFO:NIFTY26NOV24000CE", "NFO:NIFTY26DEC24000CE"]
    assert found(database, "infy 24000") == []
    assert found(database, "%") == ["NSE:100%_X"]
    assert found(database, "  ") == []
    assert len(database.find("NIFTY", limit=4)) == 4


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("NSE:INFI", "NSE:INFY"),
        ("NSE:RELIANC", "NSE:RELIANCE"),
        ("NSE:NIFTY", "NSE:NIFTY 50"),
        ("NFO:INFY", "BSE:INFY"),
        ("NSE:INFOSYS", "NSE:INFY"),
        ("NFO:NIFTY26NOV24000C", "NFO:NIFTY26NOV24000CE"),
        ("NFO:NIFTY26NVO24000PE", "NFO:NIFTY26NOV24000PE"),
        ("nse:infy", "NSE:INFY"),
        ("INFY", "BSE:INFY"),
        ("NSE:MAHINDRA", "NSE:M&M"),
        ("NSE:IFNY", "NSE:INFY"),
        ("NSE:ERLIANCE", "NSE:RELIANCE"),
        ("NSE:RELIANCE.NS", "NSE:RELIANCE"),
    ],
)
def test_a_wrong_key_brings_suggestions(database: InstrumentsDb, key: str, meant: str) -> None:
    near = database.near(key)
    assert near[0] == meant
    assert len(near) <= 3


def test_what_was_hardly_meant_is_not_proposed(database: InstrumentsDb) -> None:
    assert database.near("NSE:RELIANC") == ["NSE:RELIANCE"]
    assert database.near("NFO:NIFTY26NOV24000C") == ["NFO:NIFTY26NOV24000CE"]
    for nonsense in ("NSE:IQQQQQQQY", "NSE:ZZZZ", "NSE:", "", ":"):
        assert database.near(nonsense) == []


def test_the_meant_one_is_found_among_more_options_than_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "instruments.sqlite"
    strikes = range(10_000, 10_000 + instruments_db.NEAR_CANDIDATES_MAX)
    chain = [
        row(strike << 8 | 2, "NFO", f"NIFTY{month}{strike}CE", "NIFTY", "2026-11-24", strike, "CE")
        for month in ("26DEC", "26NOV")
        for strike in strikes
    ]
    instruments_db.write(path, chain, DAY)
    assert InstrumentsDb(path).near("NFO:NIFTY26NOV10500C")[0] == "NFO:NIFTY26NOV10500CE"


def test_a_missing_or_damaged_file_answers_like_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "no #1?.sqlite"
    database = InstrumentsDb(path)
    for _ in range(2):
        assert database.facts() is None
        assert database.resolve(["NSE:INFY"]) == {}
        assert database.find("infy") == []
        assert database.near("NSE:INFY") == []
        path.write_bytes(b"not a database" * 100)


def test_a_dump_that_breaks_leaves_the_old_file_alone(database: InstrumentsDb) -> None:
    def broken() -> Iterator[Instrument]:
        yield row(5, "NSE", "NEW")
        raise sqlite3.DataError("torn")

    with pytest.raises(sqlite3.DataError):
        instruments_db.write(database.path, broken(), "2026-11-24")
    with pytest.raises(ValueError, match="no instruments"):
        instruments_db.write(database.path, [], "2026-11-24")
    assert database.facts() == Facts(19, DAY)
    assert len(list(database.path.parent.iterdir())) == 1
