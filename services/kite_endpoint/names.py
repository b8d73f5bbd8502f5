"""The day's instrument list: names by token, and Kite's own CSV of it."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from kitefeed.actors.runtime.instrument_search import ListedInstrument
from kitefeed.kite_server.market_data import zipped_dump
from kitefeed.protocol.instrument_list import COLUMNS, InstrumentsDb
from kitefeed.protocol.kite.instruments import DumpRow
from kitefeed.protocol.kite.text import InstrumentsMeta


class DayNames:
    """Reads the file at `path` when it changes: a new list replaces it. Raises ListDamaged."""

    def __init__(self, path: Path) -> None:
        self._db = InstrumentsDb(path)
        self._seen: tuple[int, int] | None = None
        self._meta = InstrumentsMeta(0, "")
        self._dumps: dict[str, bytes] = {}

    def keys_of(self, tokens: Sequence[int]) -> dict[int, str]:
        """Return names (`NSE:INFY`) by token, for those that exist."""
        return self._db.owners(tokens) if tokens else {}

    def tokens_of(self, keys: Sequence[str]) -> dict[str, int]:
        """Return the token of each of `keys` that exists."""
        return {key: listed.token for key, listed in self._db.resolve(keys).items()} if keys else {}

    def meta(self) -> InstrumentsMeta:
        self._look()
        return self._meta

    def dump(self, exchange: str) -> bytes:
        """Return the list as gzipped CSV, of one exchange or ("") all. Takes a second: not in the
        loop."""
        self._look()
        if exchange not in self._dumps:
            sql = f"SELECT {COLUMNS} FROM instruments WHERE ? IN ('', exchange) ORDER BY key"  # noqa: S608
            rows = self._db.query(sql, [exchange])
            self._dumps[exchange] = zipped_dump(_instrument(ListedInstrument(*row)) for row in rows)
        return self._dumps[exchange]

    def _look(self) -> None:
        seen = _facts(self._db.path)
        if seen != self._seen:
            self._seen, self._dumps = seen, {}
            facts = self._db.facts()
            etag = hashlib.sha256(repr(seen).encode()).hexdigest()[:26].upper()
            self._meta = InstrumentsMeta(facts.rows if facts else 0, etag)


def _facts(path: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ino


def _instrument(found: ListedInstrument) -> DumpRow:
    """Make a row. `exchange_token` is the token without its segment, as in Kite's own rows. The
    list's last price is not live, and not kept."""
    return DumpRow(
        instrument_token=found.token,
        exchange_token=found.token >> 8,
        tradingsymbol=found.symbol,
        name=found.name,
        last_price=0.0,
        expiry=found.expiry,
        strike=found.strike,
        tick_size=found.tick_size,
        lot_size=found.lot_size,
        instrument_type=found.kind,
        segment=found.segment,
        exchange=found.exchange,
    )
