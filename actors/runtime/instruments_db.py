"""Writes the instrument file: the dump of the day as SQLite. `protocol.instrument_list` reads
it."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from kitefeed.actors.runtime.whole_file import clear_leftovers, temporary_beside
from kitefeed.protocol.instrument_list import (
    COLUMNS,
    VERSION,
    Facts,
    InstrumentsDb,
    digest,
    list_uri,
)
from kitefeed.protocol.kite.instruments import DumpRow, Loss

_SCHEMA = f"""
PRAGMA user_version = {VERSION};
CREATE TABLE instruments (
    token INTEGER NOT NULL, key TEXT PRIMARY KEY, exchange TEXT NOT NULL, symbol TEXT NOT NULL,
    name TEXT NOT NULL, expiry TEXT NOT NULL, strike REAL NOT NULL, kind TEXT NOT NULL,
    segment TEXT NOT NULL, lot_size INTEGER NOT NULL, tick_size REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_symbol ON instruments (symbol);
CREATE INDEX by_token ON instruments (token);
CREATE TABLE facts (rows INTEGER NOT NULL, day_ist TEXT NOT NULL, digest TEXT NOT NULL);
"""


def offered_path(path: Path) -> Path:
    """Return the path of a new list until it is believed, beside the one at `path`."""
    return path.with_name(f"{path.stem}.offered{path.suffix}")


def write(path: Path, instruments: Iterable[DumpRow], day_ist: str) -> Facts:
    """Replace the file at `path` atomically, mode 0600. ValueError for a dump without rows."""
    clear_leftovers(path)  # 20 MB each
    temporary = temporary_beside(path)
    try:
        facts = _fill(temporary, instruments, day_ist)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return facts


def _fill(file: Path, instruments: Iterable[DumpRow], day_ist: str) -> Facts:
    with closing(sqlite3.connect(file)) as db:
        # No journal beside a file that nobody can see yet; the rename makes it whole.
        db.execute("PRAGMA journal_mode = OFF")
        db.executescript(_SCHEMA)
        db.executemany(
            f"INSERT OR REPLACE INTO instruments ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
            (_row(instrument) for instrument in instruments),
        )
        (rows,) = db.execute("SELECT count(*) FROM instruments").fetchone()
        if not rows:
            raise ValueError("the dump holds no instruments")
        facts = Facts(rows, day_ist, digest(db))
        db.execute("INSERT INTO facts VALUES (?, ?, ?)", msgspec.structs.astuple(facts))
        db.commit()
    return facts


def _row(i: DumpRow) -> tuple[object, ...]:
    return (
        i.instrument_token, i.key, i.exchange, i.tradingsymbol, i.name, i.expiry, i.strike,
        i.instrument_type, i.segment, i.lot_size, i.tick_size,
    )  # fmt: skip


def losses(old: Path, new: Path, day_ist: str) -> list[Loss]:
    """Return the losses of the list at `new` against the one at `old`. An instrument that has
    expired by `day_ist` is no loss. Raises ListDamaged for the old one."""
    with InstrumentsDb(old).opened() as db:
        db.execute("ATTACH ? AS new", [list_uri(new)])
        rows = db.execute(
            "SELECT was.exchange, was.segment, count(*), count(*) - count(now.token)"
            " FROM main.instruments was LEFT JOIN new.instruments now"
            " ON now.key = was.key AND now.token = was.token"
            " WHERE was.expiry = '' OR was.expiry >= ? GROUP BY 1, 2 ORDER BY 1, 2",
            [day_ist],
        ).fetchall()
    return [Loss(*row) for row in rows]
