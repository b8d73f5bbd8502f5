"""Ticks as data frames of pandas and polars, which are imported when they are asked for."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kitefeed.client import columns as c
from kitefeed.client.columns import Column
from kitefeed.client.tick import Tick
from kitefeed.protocol.kite.units import IST

if TYPE_CHECKING:
    import pandas
    import polars

# The names of times in data frames, where they are times of India's clock.
_TIMES = {"t_rx_ns": "received_at", "t_pub_ns": "published_at"}


class Snapshot(dict[str, Tick]):
    """The latest tick of every instrument, by its name."""

    def to_pandas(self, *, exact: bool = False) -> "pandas.DataFrame":
        """One row for each; see `to_pandas`."""
        return to_pandas(self.values(), exact=exact)

    def to_polars(self, *, exact: bool = False) -> "polars.DataFrame":
        """One row for each; see `to_polars`."""
        return to_polars(self.values(), exact=exact)


def to_pandas(ticks: Iterable[Tick], *, exact: bool = False) -> "pandas.DataFrame":
    """One row for each tick. Prices are in rupees; with `exact` whole numbers, and `divisor` beside
    them. Times are those of India. Raises ImportError without pandas or numpy."""
    pandas = c.needed("pandas")
    numpy = c.numpy_module()
    parts = [
        pandas.DataFrame(
            {_TIMES.get(name, name): _series(pandas, numpy, name, column)
             for name, column in _chosen(batch, exact).items()}
        )
        for batch in _batches(ticks)
    ]  # fmt: skip
    return pandas.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]


def _series(pandas: Any, numpy: Any, name: str, column: Column) -> Any:
    values, is_null = column
    if name in c.TIMES_NS or name in c.TIMES_S:
        unit = "ns" if name in c.TIMES_NS else "s"
        times = values.astype(f"datetime64[{unit}]")
        if is_null is not None:
            times[is_null] = numpy.datetime64("NaT")
        return pandas.Series(times).dt.tz_localize("UTC").dt.tz_convert(IST)
    if name in c.WORDS:
        return pandas.Categorical(values) if name != "instrument" else pandas.array(values, "str")
    return values if is_null is None else pandas.arrays.IntegerArray(values, is_null)


def to_polars(ticks: Iterable[Tick], *, exact: bool = False) -> "polars.DataFrame":
    """As `to_pandas`, for polars."""
    polars = c.needed("polars")
    parts = [
        polars.DataFrame(
            [_polars_series(polars, name, column) for name, column in _chosen(batch, exact).items()]
        )
        for batch in _batches(ticks)
    ]
    return polars.concat(parts)


def _polars_series(polars: Any, name: str, column: Column) -> Any:
    values, is_null = column
    series = polars.Series(_TIMES.get(name, name), values)
    if name in c.WORDS:
        return series.cast(polars.String)
    if is_null is not None:
        series = polars.select(
            polars.when(polars.Series(is_null)).then(None).otherwise(series).alias(series.name)
        ).to_series()
    if name in c.TIMES_S:
        series = (series * 1_000).cast(polars.Datetime("ms"))
    elif name in c.TIMES_NS:
        series = series.cast(polars.Datetime("ns"))
    else:
        return series.fill_nan(None) if series.dtype.is_float() else series
    return series.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Kolkata")


def _batches(ticks: Iterable[Tick]) -> list[dict[str, Column]]:
    """Return the columns in batches, at least one, so that a frame without rows has its columns."""
    return list(c.batches(ticks)) or [c.columns([])]


def _chosen(batch: dict[str, Column], exact: bool) -> dict[str, Column]:
    return batch if exact else c.in_rupees(batch)
