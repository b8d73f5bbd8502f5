"""The instrument dump, `/instruments`: CSV (kite.trade/docs/connect/v3/market-quotes)."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple

import msgspec


class DumpRow(msgspec.Struct, frozen=True, gc=False):
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


class Listed(NamedTuple):
    """The token and expiry of a key in a list. `expiry` is an ISO date or ""."""

    token: int
    expiry: str = ""

    def is_expired(self, day_ist: str) -> bool:
        return bool(self.expiry) and self.expiry < day_ist


class Loss(msgspec.Struct, frozen=True):
    """The number of instruments of an exchange and segment in a list that should still be there,
    and the number of them that a newer list lacks or has with another token."""

    exchange: str
    segment: str
    had: int
    lost: int


COLUMNS = DumpRow.__struct_fields__
NEEDED = ("instrument_token", "tradingsymbol", "exchange")  # all else may be missing or odd
TOKEN_MAX = 0xFFFF_FFFF

_WHOLE = re.compile(r"\d{1,12}(\.0*)?", re.ASCII)  # a spreadsheet in between writes 408065.0
_EXCHANGE = re.compile(r"[A-Z0-9_-]{1,16}", re.ASCII)


class BadRow(ValueError):
    """A row that names no instrument; its text is the reason, the same for all of a kind."""


class DumpRows(Iterator[DumpRow]):
    """The good rows of a dump, one at a time.

    `given` counts them so far, `left_out` the others, by reason. A row needs its token, symbol and
    exchange; every other column is empty or 0 where it is missing or cannot be read.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.given = 0
        self.left_out: Counter[str] = Counter()
        header = next(self._lines, "").removeprefix("\ufeff").rstrip("\r\n")
        try:
            names = [name.strip().lower() for name in _fields(header)]
        except BadRow:
            names = []
        if any(names.count(name) != 1 for name in NEEDED):
            raise ValueError(
                f"this is no instrument dump: its header is {header[:200]!r}, and it has to name "
                f"{', '.join(NEEDED)}, each once"
            )
        self._width = len(names)
        # -1 is the empty field that `_row` appends.
        self._places = [names.index(name) if name in names else -1 for name in COLUMNS]

    def __next__(self) -> DumpRow:
        for line in self._lines:
            line = line.rstrip("\r\n")
            if not line:
                continue
            try:
                row = self._row(_fields(line))
            except BadRow as reason:
                self.left_out[str(reason)] += 1
            else:
                self.given += 1
                return row
        raise StopIteration

    def _row(self, fields: list[str]) -> DumpRow:
        # With one comma too many it is a guess which column a field belongs to.
        if any(field.strip() for field in fields[self._width :]):
            raise BadRow("more columns than the header names")
        fields = fields[: self._width] + [""] * (self._width - len(fields) + 1)
        (
            token_text, exchange_token, symbol, name, last, expiry, strike, tick, lot, kind,
            segment, exchange,
        ) = [fields[place] for place in self._places]  # fmt: skip
        token = _whole(token_text, 0)
        if not token:
            raise BadRow("no usable token")
        return DumpRow(
            token,
            _whole(exchange_token, token >> 8),
            _symbol(symbol),
            _text(name),
            _number(last),
            _expiry(expiry),
            _number(strike),
            _number(tick),
            _whole(lot, 0),
            _text(kind),
            _text(segment),
            _exchange(exchange),
        )


def parse_dump(text_or_lines: str | Iterable[str]) -> DumpRows:
    """Iterate over the instruments of a dump. A row that names none is left out and counted.

    Columns are found by name: others may come, go, and change places. ValueError at once when the
    header does not name those that are needed (an error page, another file).
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
        raise BadRow("quotes that do not close") from error


def _symbol(text: str) -> str:
    # Symbols become topics: one with a control character or nothing in it cannot be one.
    text = text.strip()
    if not text or not text.isprintable():
        raise BadRow("no usable symbol")
    return text


def _exchange(text: str) -> str:
    text = text.strip()
    if not _EXCHANGE.fullmatch(text):
        raise BadRow("no usable exchange")
    return text


def _whole(text: str, otherwise: int) -> int:
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        return otherwise
    value = int(text.partition(".")[0])
    return value if value <= TOKEN_MAX else otherwise


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _text(text: str) -> str:
    text = text.strip()
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())


def _expiry(text: str) -> str:
    text = text.strip()
    try:
        return text and date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        return ""


def format_dump(instruments: Iterable[DumpRow]) -> str:
    """Write the dump of these instruments, as `/instruments` serves it: the inverse of
    `parse_dump`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for instrument in instruments:
        writer.writerow([_cell(value) for value in msgspec.structs.astuple(instrument)])
    return out.getvalue()


def _cell(value: object) -> object:
    """Write a whole float without its `.0`, as in Kite's file."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
