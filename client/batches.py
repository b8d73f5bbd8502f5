"""Ticks as arrays of numbers, most of them without being decoded: for notebooks and recorders.
The arrays are numpy's where it is installed, else the standard library's.
"""

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter, truediv
from types import MappingProxyType
from typing import Any

from kitefeed.client.columns import numpy_module
from kitefeed.client.tick import Tick
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.protocol.tick_bodies import LAYOUTS, Layout

# By field: what stands where a tick has none.
_FIELDS: Mapping[str, int] = MappingProxyType(
    {
        "instrument_token": 0, "divisor": 1, "last_price": 0, "volume_traded": -1,
        "last_trade_time": 0, "exchange_timestamp": 0,
    }
)  # fmt: skip
_INT64_MAX = (1 << 63) - 1  # no number of Kite's is half as large; one that is ends no program
_WIDTH = 4  # bytes of a number on the wire

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Ticks that were taken together, in order: row n of each array is that of `ticks[n]`.

    instrument: names. last_price: rupees. volume_traded: -1 where the mode does not carry it.
    last_trade_time, exchange_timestamp: UTC, seconds since 1970; 0 where the mode does not carry
    them. t_rx_ns: when the daemon received it; UTC, nanoseconds. Integers of 64 bits, prices are
    floats: arrays of numpy, or `array.array` where numpy is not installed.
    """

    ticks: list[Tick]
    instrument: list[str]
    instrument_token: Any
    last_price: Any
    volume_traded: Any
    last_trade_time: Any
    exchange_timestamp: Any
    t_rx_ns: Any

    def __len__(self) -> int:
        return len(self.ticks)

    @property
    def is_fresh(self) -> Any:
        """Whether each tick is a current value now, as `tick.is_fresh` says. An array of bool, or a
        list where numpy is not installed."""
        fresh = [tick.is_fresh for tick in self.ticks]
        numpy = _numpy()
        return fresh if numpy is None else numpy.array(fresh, bool)


def batch_of(ticks: list[Tick]) -> Batch:
    made = _columns(ticks)
    divisor, last_price = made.pop("divisor"), made.pop("last_price")
    numpy = _numpy()
    return Batch(
        ticks=ticks,
        instrument=[tick.instrument for tick in ticks],
        last_price=(
            array("d", map(truediv, last_price, divisor)) if numpy is None else last_price / divisor
        ),
        t_rx_ns=_integers(map(attrgetter("arrival.t_rx_ns"), ticks)),
        **made,
    )


def _columns(ticks: list[Tick]) -> Columns:
    """Return all fields as columns. Ticks of one layout are read together, wherever they stand."""
    sizes = [len(held) if isinstance(held := tick._held, bytes) else 0 for tick in ticks]
    if len(set(sizes)) == 1:
        return _alike(ticks, LAYOUTS.get(sizes[0]))
    places: dict[int, list[int]] = {}
    for place, size in enumerate(sizes):
        places.setdefault(size if size in LAYOUTS else 0, []).append(place)
    found = {name: _repeated(0, len(ticks)) for name in _FIELDS}
    for size, rows in places.items():
        part = _alike([ticks[row] for row in rows], LAYOUTS.get(size))
        for name, values in part.items():
            _put(found[name], rows, values)
    return found


def _alike(ticks: list[Tick], layout: Layout | None) -> Columns:
    """Return the columns of ticks of one layout, or of any ticks that are to be decoded."""
    if layout is None:
        raws = [tick.raw for tick in ticks]
        return {name: _decoded(raws, name, missing) for name, missing in _FIELDS.items()}
    run = b"".join(map(attrgetter("_held"), ticks))
    return {
        name: _read(run, layout, name) if name in layout.places else _repeated(missing, len(ticks))
        for name, missing in _FIELDS.items()
    }


def _decoded(raws: list[TickBody], name: str, missing: int) -> Any:
    values = [*map(attrgetter(name), raws)]
    if None in values:
        values = [missing if value is None else value for value in values]
    try:
        return _integers(values)
    except OverflowError:
        return _integers(min(value, _INT64_MAX) for value in values)


def _read(run: bytes, layout: Layout, name: str) -> Any:
    """Read one number of each body, byte by byte of all of them at once."""
    at, is_signed = layout.places[name]
    column = bytearray(len(run) // layout.size * _WIDTH)
    for byte in range(_WIDTH):
        there = byte if sys.byteorder == "big" else _WIDTH - 1 - byte
        column[there::_WIDTH] = run[at + byte :: layout.size]
    numbers = array("i" if is_signed else "I", bytes(column))
    numpy = _numpy()
    return array("q", numbers) if numpy is None else numpy.asarray(numbers).astype(numpy.int64)


def _integers(values: Iterable[int]) -> Any:
    made = array("q", values)
    numpy = _numpy()
    return made if numpy is None else numpy.frombuffer(made, numpy.int64)


def _repeated(value: int, count: int) -> Any:
    return _integers(array("q", [value]) * count)


def _put(column: Any, rows: Sequence[int], values: Any) -> None:
    if _numpy() is not None:
        column[rows] = values
        return
    for row, value in zip(rows, values, strict=True):
        column[row] = value


@cache
def _numpy() -> Any:
    """The module, or None."""
    try:
        return numpy_module()
    except ImportError:
        return None
