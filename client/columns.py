"""Ticks as columns of numbers, for data frames and Parquet. Pure; needs numpy.

Names are those of `Tick` and, for depth, those that market-data files have: `bid_px_00` is the best
bid's price, `ask_sz_04` the fifth offer's quantity, `bid_ct_00` its number of orders.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import chain, islice
from operator import attrgetter
from typing import Any, NamedTuple

from kitefeed.client.tick import Tick
from kitefeed.protocol.kite.ticks import DEPTH_BYTES, DEPTH_LEVELS, TickBody

BATCH_TICKS = 100_000  # 60 MB
PART_TICKS = 2_000  # at a time, while they are in the processor's caches: a third of the CPU less
PRICES = ("last_price", "average_traded_price", "open", "high", "low", "close")
TIMES_S = ("exchange_timestamp", "last_trade_time")  # UTC, since 1970
TIMES_NS = ("t_rx_ns", "t_pub_ns")
_BODY = TickBody.__struct_fields__
_NO_NUMBERS = ("mode", "depth")
_SAME_WORDS = (("instrument", "instrument"), ("why_stale", "why_stale"))
_NULL = -(1 << 63)
_LEVEL = [("sz", ">u4"), ("px", ">i4"), ("ct", ">u2"), ("zero", ">u2")]
DEPTH = tuple(
    f"{side}_{what}_{level:02d}"
    for level in range(DEPTH_LEVELS)
    for side in ("bid", "ask")
    for what in ("px", "sz", "ct")
)
NAMES = (
    "instrument", "instrument_token", *TIMES_NS, "exchange_timestamp", "last_trade_time", "mode",
    "divisor", "last_price", "last_traded_quantity", "average_traded_price", "volume_traded",
    "total_buy_quantity", "total_sell_quantity", "open", "high", "low", "close", "oi",
    "oi_day_high", "oi_day_low", *DEPTH, "source", "is_fresh", "why_stale", "gen", "shard", "epoch",
    "seq", "flags",
)  # fmt: skip
WORDS = ("instrument", "mode", "source", "why_stale")


class Column(NamedTuple):
    """values: a numpy array, or a list of words. is_null: where there is no value; None for
    nowhere."""

    values: Any
    is_null: Any = None


def batches(ticks: Iterable[Tick], size: int = BATCH_TICKS) -> Iterator[dict[str, Column]]:
    """The columns of so many ticks at a time, by their `NAMES`; prices are whole numbers, to be
    divided by `divisor`. Raises ImportError without numpy."""
    source = iter(ticks)
    while parts := list(_parts(source, size)):
        yield {name: _joined([part[name] for part in parts]) for name in NAMES}


def _parts(source: Iterator[Tick], size: int) -> Iterator[dict[str, Column]]:
    while part := list(islice(source, min(size, PART_TICKS))):
        size -= len(part)
        yield columns(part)


def _joined(parts: list[Column]) -> Column:
    numpy = numpy_module()
    if isinstance(parts[0].values, list):
        return Column(list(chain.from_iterable(part.values for part in parts)))
    values = numpy.concatenate([part.values for part in parts])
    if all(part.is_null is None for part in parts):
        return Column(values)
    nulls = (numpy.zeros(len(p.values), bool) if p.is_null is None else p.is_null for p in parts)
    return Column(values, numpy.concatenate(list(nulls)))


def columns(ticks: Sequence[Tick]) -> dict[str, Column]:
    numpy = numpy_module()
    bodies = [tick.raw for tick in ticks]
    arrivals = [tick.arrival for tick in ticks]
    made = {name: _numbers(numpy, bodies, name) for name in _BODY if name not in _NO_NUMBERS}
    made |= _depth(numpy, [body.depth for body in bodies])
    for name in ("t_rx_ns", "gen", "shard", "epoch"):
        made[name] = _numbers(numpy, arrivals, name)
    made["t_pub_ns"] = Column(made["t_rx_ns"].values + _numbers(numpy, arrivals, "age_ns").values)
    made["seq"], made["flags"] = _numbers(numpy, ticks, "seq"), _numbers(numpy, ticks, "flags")
    for name, source in (("mode", "mode"), ("source", "origin"), *_SAME_WORDS):
        made[name] = Column(list(map(attrgetter(source), ticks)))
    made["is_fresh"] = Column(numpy.array([not word for word in made["why_stale"].values], bool))
    return {name: made[name] for name in NAMES}


def in_rupees(exact: dict[str, Column]) -> dict[str, Column]:
    """Return the columns with prices as floats, and without the divisor."""
    numpy = numpy_module()
    divisor = exact["divisor"].values
    made = dict(exact)
    del made["divisor"]
    for name, column in exact.items():
        if name in PRICES or "_px_" in name:
            rupees = column.values / divisor
            if column.is_null is not None:
                rupees = numpy.where(column.is_null, numpy.nan, rupees)
            made[name] = Column(rupees)
    return made


def numpy_module() -> Any:
    return needed("numpy")


def needed(name: str) -> Any:
    """Import a package that not everybody has. Raises ImportError, with a sentence."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        ours = name in ("numpy", "duckdb")
        install = "'kitefeed[record]'" if ours else f"'kitefeed[record]' {name}"
        raise ImportError(
            f"this needs {error.name}, which is not installed: pip install {install}"
        ) from None


def _numbers(numpy: Any, objects: Sequence[object], name: str) -> Column:
    """Read one attribute of each straight into an array: a list between costs twice the time."""
    count, get = len(objects), attrgetter(name)
    try:
        return Column(numpy.fromiter(map(get, objects), numpy.int64, count))
    except TypeError:  # one of them is None
        values = (_NULL if each is None else each for each in map(get, objects))
        made = numpy.fromiter(values, numpy.int64, count)
        is_null = made == _NULL
        made[is_null] = 0
        return Column(made, is_null)


def _depth(numpy: Any, depths: Sequence[bytes | None]) -> dict[str, Column]:
    nothing = bytes(DEPTH_BYTES)
    levels = numpy.frombuffer(b"".join(each or nothing for each in depths), _LEVEL)
    levels = levels.reshape(len(depths), 2, DEPTH_LEVELS)
    is_null = None
    if None in depths:
        is_null = numpy.array([each is None for each in depths], bool)
    found = {}
    for name in DEPTH:
        side, what, level = name.split("_")
        values = levels[:, int(side == "ask"), int(level)][what]
        found[name] = Column(values.astype(numpy.int64), is_null)
    return found
