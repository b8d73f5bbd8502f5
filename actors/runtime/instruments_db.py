"""The instrument file: the dump of the day as SQLite, written by the poller, read by everybody.

Readers open it for each question: a new dump replaces the file, it is never changed in place.
"""

import difflib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from kitefeed.actors.runtime.whole_file import clear_leftovers, temporary_beside
from kitefeed.protocol.kite.instruments import Instrument

_SCHEMA = """
CREATE TABLE instruments (
    token INTEGER NOT NULL, key TEXT PRIMARY KEY, exchange TEXT NOT NULL, symbol TEXT NOT NULL,
    name TEXT NOT NULL, expiry TEXT NOT NULL, strike REAL NOT NULL, kind TEXT NOT NULL,
    segment TEXT NOT NULL, lot_size INTEGER NOT NULL, tick_size REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_symbol ON instruments (symbol);
CREATE TABLE facts (rows INTEGER NOT NULL, day_ist TEXT NOT NULL);
"""
_COLUMNS = "token, key, exchange, symbol, name, expiry, strike, kind, segment, lot_size, tick_size"
WORDS_MAX = 8  # of a search
KEYS_PER_QUERY = 500  # below SQLite's limit of variables
NEAR_CANDIDATES_MAX = 2_000  # compared letter by letter: ~20 ms
TAIL_FROM = 5  # letters: half of a shorter name ends too many others
LIKENESS_MIN = 0.5  # below it, what is proposed was hardly meant
LIKENESS_BELOW_BEST_MAX = 0.25  # what is so much less likely than the best is not worth reading


class Found(msgspec.Struct, frozen=True):
    """One instrument of the file. `expiry` is an ISO date or "", `strike` 0 where there is none."""

    token: int
    key: str
    exchange: str
    symbol: str
    name: str
    expiry: str
    strike: float
    kind: str
    segment: str
    lot_size: int
    tick_size: float


class Facts(msgspec.Struct, frozen=True):
    """How many instruments the file holds, and of which day (ISO date, IST) they are."""

    rows: int
    day_ist: str


def write(path: Path, instruments: Iterable[Instrument], day_ist: str) -> Facts:
    """Replaces the file at `path` atomically, mode 0600. ValueError for a dump without rows."""
    clear_leftovers(path)  # 20 MB each
    temporary = temporary_beside(path)
    try:
        facts = _fill(temporary, instruments, day_ist)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return facts


def _fill(file: Path, instruments: Iterable[Instrument], day_ist: str) -> Facts:
    with closing(sqlite3.connect(file)) as db:
        # No journal beside a file that nobody can see yet; the rename makes it whole.
        db.execute("PRAGMA journal_mode = OFF")
        db.executescript(_SCHEMA)
        db.executemany(
            f"INSERT OR REPLACE INTO instruments ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
            (_row(instrument) for instrument in instruments),
        )
        (rows,) = db.execute("SELECT count(*) FROM instruments").fetchone()
        if not rows:
            raise ValueError("the dump holds no instruments")
        db.execute("INSERT INTO facts VALUES (?, ?)", (rows, day_ist))
        db.commit()
    return Facts(rows, day_ist)


def _row(i: Instrument) -> tuple[object, ...]:
    return (
        i.instrument_token, i.key, i.exchange, i.tradingsymbol, i.name, i.expiry, i.strike,
        i.instrument_type, i.segment, i.lot_size, i.tick_size,
    )  # fmt: skip


class InstrumentsDb:
    """Questions to the file at `path`. A missing or damaged file answers like an empty one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def facts(self) -> Facts | None:
        """None when there is no usable file."""
        rows = self._query("SELECT rows, day_ist FROM facts")
        return Facts(*rows[0]) if rows else None

    def resolve(self, keys: Sequence[str]) -> dict[str, int]:
        """Token by key (`NSE:INFY`) of those that exist."""
        found: dict[str, int] = {}
        for start in range(0, len(keys), KEYS_PER_QUERY):
            part = keys[start : start + KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            sql = f"SELECT key, token FROM instruments WHERE key IN ({marks})"  # noqa: S608
            found.update(dict(self._query(sql, part)))
        return found

    def find(self, text: str, limit: int = 20) -> list[Found]:
        """Instruments that match every word of `text`, the likeliest first.

        A word is part of the symbol or name, a strike, CE, PE or FUT, or the beginning of an expiry
        (2026-12): `NIFTY 24000 CE`. `NSE:` in front names the exchange. Sooner expiries come first.
        """
        exchange, words = _words(text)
        if not words:
            return []
        clauses = " AND ".join([_WORD] * len(words))
        parameters: list[object] = [value for word in words for value in _values(word)]
        sql = f"SELECT {_COLUMNS} FROM instruments WHERE {clauses}"  # noqa: S608
        if exchange:
            sql, parameters = f"{sql} AND exchange = ?", [*parameters, exchange]
        first, joined = words[0], " ".join(words)
        sql += _ORDER
        return [
            Found(*row)
            for row in self._query(
                sql, [*parameters, joined, "".join(words), first, first, f"{_like(first)}%", limit]
            )
        ]

    def near(self, key: str, limit: int = 3) -> list[str]:
        """Keys that somebody may have meant who wrote `key`, the likeliest first."""
        exchange, _, symbol = key.upper().rpartition(":")
        symbol = symbol.strip()
        half = (len(symbol) + 1) // 2
        start, ends = _like(symbol[:2]), f"{_like(symbol[:1])}%{_like(symbol[-1:])}"
        tail = f"%{_like(symbol[half:])}" if len(symbol) >= TAIL_FROM else ends
        rows = self._query(
            _NEAR,
            [symbol, exchange, f"{start}%", ends, tail, f"{_like(symbol)}%",
             f"{_like(symbol)}%", f"{_like(symbol[:-half // 2])}%", f"{_like(symbol[:half])}%",
             NEAR_CANDIDATES_MAX],
        )  # fmt: skip
        closest = _closest(exchange, symbol, rows, limit)
        return closest or [found.key for found in self.find(symbol, limit)]

    def _query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._open() as db:
                return db.execute(sql, parameters).fetchall()
        except sqlite3.Error:
            return []

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # immutable: the file is only ever replaced, so no locks and no journal are looked for.
        uri = f"file:{quote(str(self.path))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            yield db


# The symbol elsewhere, or one of the exchange that starts alike, has its first and last letter,
# ends alike, or whose name starts so. The more of the beginning is shared, the sooner: an index has
# more options than are compared.
_NEAR = (
    "SELECT key, symbol FROM instruments WHERE symbol = ? OR (exchange = ? AND "
    "(symbol LIKE ? ESCAPE '\\' OR symbol LIKE ? ESCAPE '\\' OR symbol LIKE ? ESCAPE '\\'"
    " OR name LIKE ? ESCAPE '\\')) ORDER BY symbol LIKE ? ESCAPE '\\' DESC,"
    " symbol LIKE ? ESCAPE '\\' DESC, symbol LIKE ? ESCAPE '\\' DESC LIMIT ?"
)
# One word of a search: five ways to match, each with its own parameter (see _values).
_WORD = (
    "(symbol LIKE ? ESCAPE '\\' OR name LIKE ? ESCAPE '\\' OR strike = ? OR kind = ? "
    "OR expiry LIKE ? ESCAPE '\\')"
)
# Exact symbol, exact name, prefix; then what trades before what expires, and sooner before later.
_ORDER = (
    " ORDER BY symbol = ? OR symbol = ? DESC, symbol = ? DESC, name = ? DESC,"
    " symbol LIKE ? ESCAPE '\\' DESC, expiry, strike, length(symbol), symbol, exchange LIMIT ?"
)


def _words(text: str) -> tuple[str, list[str]]:
    """The exchange, "" when none is named, and the words of a search, in capitals."""
    exchange, colon, rest = text.upper().partition(":")
    if not colon or " " in exchange.strip():
        exchange, rest = "", text.upper().replace(":", " ")
    return exchange.strip(), rest.split()[:WORDS_MAX]


def _values(word: str) -> list[object]:
    try:
        strike: float | None = float(word)
    except ValueError:
        strike = None
    part = f"%{_like(word)}%"
    return [part, part, strike, word, f"{_like(word)}%"]


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _closest(exchange: str, symbol: str, rows: list[tuple[Any, ...]], limit: int) -> list[str]:
    if not rows:
        return []
    likeness = {str(key): _likeness(exchange, symbol, str(key), str(other)) for key, other in rows}
    ranked = sorted(likeness, key=lambda key: (-likeness[key], key))
    least = max(LIKENESS_MIN, likeness[ranked[0]] - LIKENESS_BELOW_BEST_MAX)
    return [key for key in ranked[:limit] if likeness[key] >= least]


def _likeness(exchange: str, symbol: str, key: str, other: str) -> float:
    ratio = difflib.SequenceMatcher(None, symbol, other).ratio()
    is_start = other.startswith(symbol) or symbol.startswith(other)
    is_here = key.startswith(f"{exchange}:")
    return ratio + 0.3 * is_start + 0.1 * is_here
