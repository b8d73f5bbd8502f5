"""Finds the instruments that people mean: `kitefeed instruments find`, and `did you mean`."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from kitefeed.protocol.instrument_list import ALIASES, COLUMNS, InstrumentsDb
from kitefeed.protocol.kite.instruments import TOKEN_MAX

WORDS_MAX = 8  # of a search
LIKENESS_MIN = 0.6  # a proposal below it was hardly meant
LIKENESS_BELOW_BEST_MAX = 0.15  # a proposal so much less likely than the best is left out
NOT_TYPED_TO_THE_END = 0.2  # added where one is the beginning of the other: it is more likely meant
CANDIDATES_MAX = 50
NAMED = 0.9  # the likeness of a share whose name begins so
_EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "MCX", "CDS", "BCD", "NCO")  # as most people mean them
_MONTHS = {
    "JAN": 1, "FEB": 2, "MAR": 3, "APR": 4, "MAY": 5, "JUN": 6,
    "JUL": 7, "AUG": 8, "SEP": 9, "OCT": 10, "NOV": 11, "DEC": 12,
}  # fmt: skip
_WORD = re.compile(r"[^\W_]+")


class ListedInstrument(msgspec.Struct, frozen=True):
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


def find(db: InstrumentsDb, text: str) -> list[ListedInstrument]:
    """Return instruments that match every word of `text`, the likeliest first. Raises ListDamaged.

    A word is part of the symbol or name, a strike, CE, PE or FUT, a month (DEC), or the beginning
    of an expiry (2026-12): `NIFTY 24000 CE`. `NSE:` in front names the exchange. A token finds its
    instrument, and what the market calls an index (BANKNIFTY) the index.
    """
    exchange, words = _words(text)
    if not words:
        return []
    alias = ALIASES.get("".join(words), "")
    token = _token(words)
    clauses = " AND ".join([_MATCH] * len(words))
    parameters: list[object] = [value for word in words for value in _values(word)]
    sql = (
        f"SELECT {COLUMNS} FROM instruments WHERE (({clauses}) OR key = ? OR token = ? OR {_INDEX})"  # noqa: S608
    )
    parameters += [alias, token, "".join(words)]
    if exchange:
        sql, parameters = f"{sql} AND exchange = ?", [*parameters, exchange]
    found = [ListedInstrument(*row) for row in db.query(sql, parameters)]
    return sorted(found, key=_rank(words, alias, token))


def _rank(
    words: list[str], alias: str, token: int
) -> Callable[[ListedInstrument], tuple[Any, ...]]:
    """Rank exact matches first, then indices, whole words before parts of words, instruments
    without expiry before those with one, and near months before far ones."""
    joined = "".join(words)

    def rank(found: ListedInstrument) -> tuple[Any, ...]:
        own = {*_WORD.findall(found.symbol), *_WORD.findall(found.name.upper())}
        own |= {found.symbol, found.name.upper()}
        whole = sum(word in own for word in words)
        is_exact = found.token == token or found.key == alias or _squeezed(found.symbol) == joined
        return (
            not is_exact,
            found.key != alias,
            found.segment != "INDICES",
            -whole,
            not found.symbol.startswith(words[0]),
            found.expiry,
            found.strike,
            len(found.symbol),
            found.symbol,
            _place(found.exchange),
        )

    return rank


def near(db: InstrumentsDb, key: str, limit: int = 3) -> list[str]:
    """Return keys that somebody may have meant by `key`, the likeliest first. Raises ListDamaged.
    Some 10 ms for the shares of an exchange, 50 for its options."""
    exchange, _, symbol = key.upper().rpartition(":")
    symbol = symbol.strip()
    if not symbol:
        return []
    squeezed = _squeezed(symbol)
    exact = db.query(
        f"SELECT key, exchange FROM instruments WHERE symbol = ? OR key = ? OR {_INDEX}",  # noqa: S608
        [symbol, ALIASES.get(squeezed, ""), squeezed],
    )
    found = [key for key, _ in sorted(exact, key=lambda row: _place(row[1]))]
    if not found:
        found = _alike(db, exchange, symbol)
    return found[:limit]


def _alike(db: InstrumentsDb, exchange: str, symbol: str) -> list[str]:
    """Return keys of the exchange (of all, where it has none) whose symbol is much alike, or whose
    name begins so."""
    from rapidfuzz import process  # here: the supervisor may never need it
    from rapidfuzz.distance import OSA

    where, own = " WHERE exchange = ?", [exchange]
    rows = db.query(f"SELECT symbol, key FROM instruments{where}", own)  # noqa: S608
    if not rows:
        where, own = " WHERE exchange <> ?", [exchange]
        rows = db.query("SELECT symbol, key FROM instruments")
    near = process.extract(
        symbol, [row[0] for row in rows], scorer=OSA.normalized_similarity, limit=CANDIDATES_MAX,
        score_cutoff=LIKENESS_MIN - NOT_TYPED_TO_THE_END,
    )  # fmt: skip
    scored = {
        rows[at][1]: likeness
        + NOT_TYPED_TO_THE_END * (other.startswith(symbol) or symbol.startswith(other))
        for other, likeness, at in near
    }
    named = (
        f"SELECT key FROM instruments{where} AND kind = 'EQ' AND name LIKE ? ESCAPE '\\' LIMIT ?"  # noqa: S608
    )
    for (key,) in db.query(named, [*own, f"{_like(symbol)}%", CANDIDATES_MAX]):
        scored[key] = max(NAMED, scored.get(key, 0.0))
    best = max(scored.values(), default=0.0)
    least = max(LIKENESS_MIN, best - LIKENESS_BELOW_BEST_MAX)
    ranked = sorted(scored, key=lambda key: (-scored[key], len(key), _place(key[:3]), key))
    return [key for key in ranked if scored[key] >= least]


def _words(text: str) -> tuple[str, list[str]]:
    """Return the exchange, "" when none is named, and the words of a search, in capitals."""
    exchange, colon, rest = text.upper().partition(":")
    if not colon or " " in exchange.strip():
        exchange, rest = "", text.upper().replace(":", " ")
    return exchange.strip(), rest.split()[:WORDS_MAX]


def _token(words: list[str]) -> int:
    """Return the token that is searched for; 0 when the search is none."""
    is_number = len(words) == 1 and words[0].isascii() and words[0].isdecimal()
    return int(words[0]) if is_number and int(words[0]) <= TOKEN_MAX else 0


_INDEX = "(segment = 'INDICES' AND replace(symbol, ' ', '') = ?)"
# One word of a search: six ways to match, each with its own parameter (see _values).
_MATCH = (
    "(symbol LIKE ? ESCAPE '\\' OR name LIKE ? ESCAPE '\\' OR strike = ? OR kind = ? "
    "OR expiry LIKE ? ESCAPE '\\' OR expiry LIKE ?)"
)


def _values(word: str) -> list[object]:
    try:
        strike: float | None = float(word)
    except ValueError:
        strike = None
    part = f"%{_like(word)}%"
    month = f"%-{_MONTHS[word]:02}-%" if word in _MONTHS else None
    return [part, part, strike, word, f"{_like(word)}%", month]


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _squeezed(text: str) -> str:
    return text.replace(" ", "")


def _place(exchange: str) -> int:
    return _EXCHANGES.index(exchange) if exchange in _EXCHANGES else len(_EXCHANGES)
