"""The day's instrument list as a file, which the poller writes and everybody reads.

Readers open it for each question: a new list replaces the file, it is never changed in place. A
digest over keys, tokens and expiries finds damage on the disk: a token with one bit wrong would put
another instrument's prices under this one's name.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from kitefeed.protocol.errors import Unavailable
from kitefeed.protocol.kite.instruments import Listed

VERSION = 2  # SQLite's user_version; a file of another one is fetched anew
COLUMNS = "token, key, exchange, symbol, name, expiry, strike, kind, segment, lot_size, tick_size"
KEYS_PER_QUERY = 500  # below SQLite's limit of variables

# The market's own names of indices. A name that only lacks its spaces (NIFTY50) is found anyway.
ALIASES = {
    "NIFTY": "NSE:NIFTY 50",
    "BANKNIFTY": "NSE:NIFTY BANK",
    "FINNIFTY": "NSE:NIFTY FIN SERVICE",
    "MIDCPNIFTY": "NSE:NIFTY MID SELECT",
    "NIFTYNXT50": "NSE:NIFTY NEXT 50",
    "VIX": "NSE:INDIA VIX",
    "SENSEX30": "BSE:SENSEX",
}


class ListDamaged(Unavailable):
    """The file is there, but it cannot be read or trusted."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(f"the instrument list {path} is damaged ({detail})")


class Facts(msgspec.Struct, frozen=True):
    """The number of instruments in the file, the day they are of (ISO date, IST), and a digest that
    two files share whose keys, tokens and expiries are the same."""

    rows: int
    day_ist: str
    digest: str = ""


class InstrumentsDb:
    """Questions to the file at `path`. A missing one, or one of another version, answers like an
    empty one; a damaged one raises ListDamaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked: tuple[int, ...] = ()  # the file whose digest was found right

    def facts(self) -> Facts | None:
        """Return the facts of the file; None when there is no usable one."""
        rows = self.query("SELECT rows, day_ist, digest FROM facts")
        return Facts(*rows[0]) if rows else None

    def resolve(self, keys: Sequence[str]) -> dict[str, Listed]:
        """Return token and expiry of those of `keys` (`NSE:INFY`) that exist."""
        found: dict[str, Listed] = {}
        for part in _parts(keys):
            sql = f"SELECT key, token, expiry FROM instruments WHERE key IN ({_marks(part)})"  # noqa: S608
            found.update({key: Listed(token, at) for key, token, at in self.query(sql, part)})
        return found

    def described(self, keys: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """Name, expiry, strike, kind, lot size and tick size of those of `keys` that exist."""
        found: dict[str, tuple[Any, ...]] = {}
        for part in _parts(keys):
            sql = (
                "SELECT key, name, expiry, strike, kind, lot_size, tick_size FROM instruments"  # noqa: S608
                f" WHERE key IN ({_marks(part)})"
            )
            found.update({key: tuple(rest) for key, *rest in self.query(sql, part)})
        return found

    def owners(self, tokens: Sequence[int]) -> dict[int, str]:
        """Return token -> key of those of `tokens` that are in the list."""
        found: dict[int, str] = {}
        for part in _parts(tokens):
            sql = f"SELECT token, key FROM instruments WHERE token IN ({_marks(part)})"  # noqa: S608
            found.update(dict(self.query(sql, part)))
        return found

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows; [] where there is no file. Raises ListDamaged."""
        try:
            with self.opened() as db:
                return db.execute(sql, parameters).fetchall()
        except FileNotFoundError:
            return []

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Open a connection that only reads. Raises FileNotFoundError and ListDamaged."""
        try:
            facts = os.stat(self.path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ListDamaged(self.path, error.strerror or str(error)) from None
        identity = facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
        try:
            with closing(sqlite3.connect(list_uri(self.path), uri=True)) as db:
                if identity != self._checked:
                    self._check(db)
                    self._checked = identity
                yield db
        except sqlite3.Error as error:
            self._checked = ()
            raise ListDamaged(self.path, str(error)) from None

    def _check(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        is_older = _is_first_version(db) if version == 0 else version != VERSION
        if is_older:
            raise FileNotFoundError(f"{self.path} is of version {version or 1}")
        found = db.execute("SELECT digest FROM facts").fetchall()
        if [(digest(db),)] != found:
            raise sqlite3.DatabaseError("its digest is wrong")


def _is_first_version(db: sqlite3.Connection) -> bool:
    """Whether the file is of the first version, which had no version number and no digest."""
    columns = [name for _, name, *_ in db.execute("PRAGMA table_info(facts)")]
    return columns == ["rows", "day_ist"]


def list_uri(path: Path) -> str:
    # immutable: the file is only ever replaced, so no locks and no journal are looked for.
    return f"file:{quote(str(path))}?mode=ro&immutable=1"


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), KEYS_PER_QUERY):
        yield values[start : start + KEYS_PER_QUERY]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def digest(db: sqlite3.Connection) -> str:
    """Digest what `Facts` says; takes ~0.1 s for 90,000."""
    digest = hashlib.blake2b(digest_size=16)
    rows = db.execute("SELECT key || ' ' || token || ' ' || expiry FROM instruments ORDER BY key")
    while part := rows.fetchmany(10_000):
        digest.update("\n".join(text for (text,) in part).encode())
    return digest.hexdigest()
