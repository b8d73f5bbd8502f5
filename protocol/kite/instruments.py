"""The instrument dump, `/instruments`: CSV (kite.trade/docs/connect/v3/market-quotes)."""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from datetime import date

import msgspec


class Instrument(msgspec.Struct, frozen=True, gc=False):
    """One row, its columns in the dump's order.

    Derivative tokens are used again after expiry: remember instruments by `key`, and look the
    token up in the dump of the day. `last_price` is not live. `expiry` is an ISO date or "".
    Indices have segment INDICES, exchange NSE or BSE, and zero tick and lot sizes.
    """

    instrument_token: int
    exchange_token: int
    tradingsymbol: str
    name: str
    last_price: float
    expiry: str
    strike: float
    tick_size: float
    lot_size: int
    instrument_type: str
    segment: str
    exchange: str

    @property
    def key(self) -> str:
        """Kite's own name of an instrument, such as `NSE:INFY` or `NSE:NIFTY 50`."""
        return f"{self.exchange}:{self.tradingsymbol}"


COLUMNS = Instrument.__struct_fields__
TOKEN_MAX = 0xFFFF_FFFF


class DumpRows(Iterator[Instrument]):
    """The good rows of a dump, one at a time; `rows_bad` counts those left out so far."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.rows_bad = 0
        header = next(self._lines, "").removeprefix("\ufeff").rstrip("\r\n")
        if tuple(header.split(",")) != COLUMNS:
            raise ValueError(f"this is no instrument dump: its header is {header[:200]!r}")

    def __next__(self) -> Instrument:
        for line in self._lines:
            line = line.rstrip("\r\n")
            if not line:
                continue
            try:
                return _instrument(_fields(line))
            except ValueError:
                self.rows_bad += 1
        raise StopIteration


def parse_dump(text_or_lines: str | Iterable[str]) -> DumpRows:
    """Iterates over the instruments of a dump. A malformed row is left out and counted.

    ValueError at once when the header is not that of a dump (an error page, another version).
    """
    if isinstance(text_or_lines, str):
        return DumpRows(io.StringIO(text_or_lines))
    return DumpRows(text_or_lines)


def _fields(line: str) -> list[str]:
    # Line by line, so that an unclosed quote costs its own row and not the rest of the file.
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _instrument(fields: list[str]) -> Instrument:
    if len(fields) != len(COLUMNS):
        raise ValueError(f"{len(fields)} columns")
    token, exchange_token, symbol, name, last, expiry, strike, tick, lot, kind, segment, exch = (
        fields
    )
    return Instrument(
        _integer(token, 1, TOKEN_MAX),
        _integer(exchange_token, 0, TOKEN_MAX),
        _symbol(symbol),
        name,
        _number(last),
        _expiry(expiry),
        _number(strike),
        _number(tick),
        _integer(lot, 0, TOKEN_MAX),
        kind,
        segment,
        _symbol(exch),
    )


def _integer(text: str, low: int, high: int) -> int:
    value = int(text)
    if not low <= value <= high:
        raise ValueError(text)
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _symbol(text: str) -> str:
    # Symbols become topics: one with a control character or nothing in it cannot be one.
    if not text or not text.isprintable():
        raise ValueError(text)
    return text


def _expiry(text: str) -> str:
    return text and date.fromisoformat(text).isoformat()


def format_dump(instruments: Iterable[Instrument]) -> str:
    """The dump of these instruments, as `/instruments` serves it: the inverse of `parse_dump`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for instrument in instruments:
        writer.writerow([_cell(value) for value in msgspec.structs.astuple(instrument)])
    return out.getvalue()


def _cell(value: object) -> object:
    """Whole floats without their `.0`, as in Kite's file."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
