import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kitefeed.actors.runtime import instruments_db
from kitefeed.actors.runtime.instruments_db import losses
from kitefeed.protocol.instrument_list import InstrumentsDb, ListDamaged
from kitefeed.protocol.kite.instruments import DumpRow, Listed, Loss

DAY = "2026-11-23"


def row(
    token: int, exchange: str, symbol: str, name: str = "", expiry: str = "",
    strike: float = 0, kind: str = "EQ", segment: str = "",
) -> DumpRow:  # fmt: skip
    return DumpRow(
        token, token >> 8, symbol, name, 0.0, expiry, strike, 0.05, 1, kind,
        segment or exchange, exchange,
    )  # fmt: skip


def options() -> Iterator[DumpRow]:
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


def test_the_file_says_what_it_holds_and_is_ours_alone(database: InstrumentsDb) -> None:
    facts = database.facts()
    assert facts is not None
    assert (facts.rows, facts.day_ist) == (19, DAY)
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600
    assert [path.name for path in database.path.parent.iterdir()] == ["instruments.sqlite"]


def test_keys_become_tokens_and_unknown_ones_are_left_out(database: InstrumentsDb) -> None:
    keys = ["NSE:INFY", "NFO:NIFTY26NOVFUT", "NSE:NONE", *(f"NSE:X{n}" for n in range(1_200))]
    assert database.resolve(keys) == {
        "NSE:INFY": Listed(408065),
        "NFO:NIFTY26NOVFUT": Listed(3 << 8 | 2, "2026-11-24"),
    }
    assert database.owners([408065, 7]) == {408065: "NSE:INFY"}


def test_two_files_have_one_digest_when_they_name_the_same(tmp_path: Path) -> None:
    infy, nifty = row(408065, "NSE", "INFY"), row(256265, "NSE", "NIFTY 50")
    infy_renamed = row(408065, "NSE", "INFY", "INFOSYS LTD")
    one, same, other = (
        instruments_db.write(tmp_path / name, rows, day).digest
        for name, rows, day in (
            ("one", [infy, nifty], DAY),
            ("same", [nifty, infy_renamed], "2026-11-24"),
            ("other", [infy, row(256266, "NSE", "NIFTY 50")], DAY),
        )
    )
    assert one == same != other


def test_a_loss_is_what_should_still_be_there_or_has_another_token(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    infy, sbin = row(408065, "NSE", "INFY"), row(779521, "NSE", "SBIN")
    instruments_db.write(old, [infy, sbin, row(1, "MCX", "GOLD"), *options()], DAY)
    kept = [option for option in options() if option.expiry == "2026-12-29"]
    instruments_db.write(new, [row(5, "NSE", "INFY"), sbin, *kept], DAY)
    assert losses(old, new, "2026-11-25") == [
        Loss("MCX", "MCX", 1, 1), Loss("NFO", "NFO-OPT", 6, 0), Loss("NSE", "NSE", 2, 1),
    ]  # fmt: skip
    assert losses(old, new, DAY)[1] == Loss("NFO", "NFO-OPT", 12, 6)


def questions(database: InstrumentsDb) -> list[Callable[[], object]]:
    return [
        database.facts,
        lambda: database.resolve(["NSE:INFY"]),
        lambda: database.owners([408065]),
        lambda: losses(database.path, database.path, DAY),
    ]


def test_a_missing_file_answers_like_an_empty_one(tmp_path: Path) -> None:
    database = InstrumentsDb(tmp_path / "no #1?.sqlite")
    assert database.facts() is None
    assert database.resolve(["NSE:INFY"]) == {}
    assert database.owners([408065]) == {}


@pytest.mark.parametrize("data", [b"", b"not a database" * 100, b"SQLite format 3\0" + bytes(99)])
def test_a_damaged_file_is_never_taken_for_an_empty_one(tmp_path: Path, data: bytes) -> None:
    database = InstrumentsDb(tmp_path / "no #1?.sqlite")
    database.path.write_bytes(data)
    for ask in questions(database):
        with pytest.raises(ListDamaged, match="is damaged"):
            ask()


def test_a_file_that_cannot_even_be_looked_at_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory belongs")
    with pytest.raises(ListDamaged, match="Not a directory"):
        InstrumentsDb(tmp_path / "state" / "instruments.sqlite").facts()


def test_damage_is_found_wherever_it_changes_what_a_name_stands_for(
    database: InstrumentsDb,
) -> None:
    whole = database.path.read_bytes()
    assert database.resolve(["NSE:INFY"])
    good = {"NSE:INFY": Listed(408065)}
    found_out = 0
    for at in range(100, len(whole), 101):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        database.path.write_bytes(damaged)
        os.utime(database.path, ns=(at, at))  # the clock of a file system may be coarse
        try:
            assert database.resolve(["NSE:INFY"]) == good
        except ListDamaged:
            found_out += 1
    assert found_out > 5
    database.path.write_bytes(whole)
    assert database.resolve(["NSE:INFY"]) == good


def test_a_file_cut_short_is_damaged(database: InstrumentsDb) -> None:
    whole = database.path.read_bytes()
    database.path.write_bytes(whole[: len(whole) // 2])
    for ask in questions(database):
        with pytest.raises(ListDamaged):
            ask()


def test_the_file_of_the_first_version_is_no_list_and_not_damaged(tmp_path: Path) -> None:
    database = InstrumentsDb(tmp_path / "instruments.sqlite")
    with closing(sqlite3.connect(database.path)) as db:
        db.execute("CREATE TABLE facts (rows INTEGER NOT NULL, day_ist TEXT NOT NULL)")
        db.execute("INSERT INTO facts VALUES (5, '2026-11-22')")
        db.commit()
    assert database.facts() is None


def test_a_dump_that_breaks_leaves_the_old_file_alone(database: InstrumentsDb) -> None:
    def broken() -> Iterator[DumpRow]:
        yield row(5, "NSE", "NEW")
        raise sqlite3.DataError("torn")

    before = database.facts()
    with pytest.raises(sqlite3.DataError):
        instruments_db.write(database.path, broken(), "2026-11-24")
    with pytest.raises(ValueError, match="no instruments"):
        instruments_db.write(database.path, [], "2026-11-24")
    assert database.facts() == before
    assert len(list(database.path.parent.iterdir())) == 1
