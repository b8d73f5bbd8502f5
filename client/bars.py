"""Bars made of ticks. Pure: it is told the time, and given every tick once.

A tick belongs to the bar that holds its exchange timestamp, and where its mode has none, the time
at which the daemon received it. A bar's volume is what the day's volume grew by, so nothing that
was traded between two ticks is missing from it.
"""

import re
from collections import deque
from collections.abc import Iterator
from datetime import datetime, time
from typing import Literal, NamedTuple

from msgspec import Struct, structs

from kitefeed.client.tick import Tick
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.feed import Flag, Source
from kitefeed.protocol.kite.candles import DAY_S, IST_OFFSET_S, first_minute, span_of
from kitefeed.protocol.kite.units import IST, NS_PER_S

WAIT_S = 2.0  # a bar's last tick comes up to a second after its end, and hosts' clocks differ
AHEAD_NS = 60 * NS_PER_S  # an exchange timestamp further ahead of its arrival is damage
GAPS_MAX = 1_000

Quality = Literal[
    "complete",  # the reader was there from its begin to its end, and nothing is known to be lost
    "first",  # it began before the reader came: open, high, low and volume lack what was before
    "gap",  # ticks may be missing: the stream, the daemon or this program had a loss or stood still
    "rest",  # made of polled values, some seconds apart
    "replay",  # of a day that is played again
    "history",  # Kite's own candle
]
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": DAY_S}
_OLD = Flag.FIRST_PACKET | Flag.CACHED


def seconds_of(interval: str) -> int:
    """Return the seconds of `1s`, `5m`, `1h` or `1d`. BadInput for what is none, or longer than a
    day."""
    found = re.fullmatch(r"([1-9]\d{0,4})([smhd])", interval)
    length_s = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < length_s <= DAY_S:
        raise BadInput(f"{interval!r} is no interval of a bar: 1s to 1d, such as 30s, 5m or 1h")
    return length_s


def moment_ns(since: str | datetime, now_ns: int) -> int:
    """UTC nanoseconds of `09:15` (IST, of the day of `now_ns`), or of a datetime, which is IST when
    it has no time zone. BadInput for what is none."""
    if isinstance(since, str):
        try:
            clock = time.fromisoformat(since)
        except ValueError:
            raise BadInput(f"{since!r} is no time of the day, such as '09:15'") from None
        today = datetime.fromtimestamp(now_ns / NS_PER_S, IST).date()
        since = datetime.combine(today, clock)
    if since.tzinfo is None:
        since = since.replace(tzinfo=IST)
    return int(since.timestamp()) * NS_PER_S


class Bar(Struct, frozen=True, gc=False):
    """One interval of one instrument.

    start_ns, end_ns: UTC, nanoseconds since 1970; the end is not in it. Prices in rupees, of the
    last trades that ticks told. volume: traded in it; None where the mode or the instrument has
    none. oi: open interest at its end; None but in mode full. vwap: rupees, the prices of its ticks
    weighted by what was traded since the tick before; None where nothing was traded. ticks: how
    many it is made of. is_final: nothing changes it any more, but a correction that was asked for
    (`is_correction`) takes its place.
    """

    instrument: str
    interval: str
    start_ns: int
    end_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: int | None
    oi: int | None
    vwap: float | None
    ticks: int
    quality: Quality
    is_final: bool = True
    is_correction: bool = False

    @property
    def start(self) -> datetime:
        """Its begin, IST."""
        return datetime.fromtimestamp(self.start_ns / NS_PER_S, IST)

    @property
    def end(self) -> datetime:
        """Its end, IST: the first moment that is not in it."""
        return datetime.fromtimestamp(self.end_ns / NS_PER_S, IST)

    def to_dict(self) -> dict[str, object]:
        """The bar as a record, with `start` and `end` (IST)."""
        return {"start": self.start, "end": self.end, **structs.asdict(self)}


class _Growing:
    """A bar that ticks still come for. Prices are scaled; `at_ns` is the time of `close`."""

    __slots__ = (
        "at_ns", "close", "divisor", "end_ns", "has_gap", "has_rest", "high", "is_first", "low",
        "oi", "open", "shard", "start_ns", "ticks", "turnover", "volume",
    )  # fmt: skip

    def __init__(self, start_ns: int, end_ns: int, divisor: int, price: int) -> None:
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.divisor = divisor
        self.open = self.high = self.low = self.close = price
        self.at_ns = self.shard = self.ticks = self.turnover = 0
        self.volume: int | None = None
        self.oi: int | None = None
        self.is_first = self.has_gap = self.has_rest = False


class _Series:
    """One instrument. `volume`: the highest of the day, by its ticks; None before any had one.
    `carried`: what was traded in a bar that was final when it was told; it counts in the next."""

    __slots__ = (
        "carried", "current", "day", "final_ns", "first", "growing", "is_old_volume", "last",
        "seq", "since_ns", "source", "volume",
    )  # fmt: skip

    def __init__(self, exchange: str, now_ns: int) -> None:
        self.first = first_minute(exchange)
        self.since_ns = now_ns
        self.source: tuple[int, int] | None = None  # gen and epoch of the newest tick
        self.seq = 0  # and its number
        self.volume: int | None = None
        self.is_old_volume = False  # it may be of the day before
        self.day = 0
        self.carried = 0
        self.growing: dict[int, _Growing] = {}  # by begin; two while late ticks are waited for
        self.current: _Growing | None = None  # the newest of them
        self.last: _Growing | None = None  # the last final one
        self.final_ns = 0  # its end


class _Lost(NamedTuple):
    shard: int | None
    begin_ns: int
    end_ns: int

    def touches(self, bar: _Growing) -> bool:
        is_then = self.begin_ns < bar.end_ns and self.end_ns >= bar.start_ns
        return is_then and self.shard in (None, bar.shard)


class Bars:
    """Ticks in, bars out. Times are UTC nanoseconds.

    wait_s: how long after its end a bar becomes final. corrects: whether a tick that comes later
    still makes the last bar anew, as a correction; it is counted in `late` in any case.
    is_replay: whether the ticks are of a day that is played again.
    """

    def __init__(
        self, interval: str, *, wait_s: float = WAIT_S, corrects: bool = False,
        is_replay: bool = False,
    ) -> None:  # fmt: skip
        if not 0 <= wait_s <= DAY_S:
            raise BadInput(f"a bar cannot wait for {wait_s} s: 0 to {DAY_S}")
        self.interval = interval
        self.late = 0  # ticks that came after their bar was final
        self._length_s = seconds_of(interval)
        self.wait_ns = int(wait_s * NS_PER_S)
        self._corrects = corrects
        self.is_replay = is_replay
        self._series: dict[str, _Series] = {}
        self._due: dict[int, list[tuple[str, _Series, _Growing]]] = {}  # by their ends
        self._gaps: deque[_Lost] = deque(maxlen=GAPS_MAX)

    # --- in -----------------------------------------------------------------------------------

    def take(self, tick: Tick, now_ns: int) -> Bar | None:
        """Adds a tick that the program got at `now_ns`. Returns a correction, if it makes one."""
        body = tick.raw
        series = self._series.get(tick.instrument)
        if series is None:
            series = self._series[tick.instrument] = _Series(tick.exchange, now_ns)
        at_ns = tick.t_rx_ns
        if body.exchange_timestamp is not None:
            at_ns = min(body.exchange_timestamp * NS_PER_S, at_ns + AHEAD_NS)
        elif tick.flags & _OLD:  # nothing tells when this was the price
            self._begin_volume(series, body.volume_traded, at_ns)
            return None
        bar = series.current
        if bar is None or not bar.start_ns <= at_ns < bar.end_ns:
            bar = self._bar_at(series, tick, at_ns, now_ns)
        if bar is None:
            series.carried += self._traded(series, body.volume_traded, at_ns)
            return None
        self._add(bar, series, tick, at_ns)
        if bar is series.last:
            return structs.replace(self._made(tick.instrument, bar), is_correction=True)
        return None

    def lost(self, shard: int | None, begin_ns: int, end_ns: int) -> None:
        """Note that ticks of that time may be missing, of any instrument of this shard; None: of
        any."""
        last = self._gaps[-1] if self._gaps else None
        if last is not None and last.shard == shard and last.end_ns >= begin_ns:
            begin_ns = min(last.begin_ns, begin_ns)
            self._gaps.pop()
        self._gaps.append(_Lost(shard, begin_ns, end_ns))

    def _bar_at(self, series: _Series, tick: Tick, at_ns: int, now_ns: int) -> _Growing | None:
        """Return the bar of this moment; None when it is final, and is not to be corrected."""
        start_s, end_s = span_of(at_ns // NS_PER_S, self._length_s, series.first)
        start_ns, end_ns = start_s * NS_PER_S, end_s * NS_PER_S
        if (growing := series.growing.get(start_ns)) is not None:
            return growing
        if start_ns < series.final_ns:
            self.late += 1
            last = series.last
            is_last = last is not None and last.start_ns == start_ns
            return last if self._corrects and is_last else None
        if series.since_ns == now_ns and end_ns + self.wait_ns <= now_ns:
            return None  # the last value, from long before the program came
        made = _Growing(start_ns, end_ns, tick.raw.divisor, tick.raw.last_price)
        made.is_first = series.since_ns > start_ns
        series.growing[start_ns] = made
        if series.current is None or series.current.start_ns < start_ns:
            series.current = made
        self._due.setdefault(end_ns, []).append((tick.instrument, series, made))
        return made

    def _add(self, bar: _Growing, series: _Series, tick: Tick, at_ns: int) -> None:
        body, price = tick.raw, tick.raw.last_price
        if self._is_after_gap(series, tick):
            bar.has_gap = True
            for each in series.growing.values():
                each.has_gap = True
        bar.shard = tick.shard
        if tick.source_code == Source.REST:
            bar.has_rest = True
        if price > bar.high:
            bar.high = price
        elif price < bar.low:
            bar.low = price
        bar.ticks += 1
        if at_ns >= bar.at_ns:
            bar.at_ns, bar.close = at_ns, price
            if body.oi is not None:
                bar.oi = body.oi
        if body.volume_traded is not None:
            traded = self._traded(series, body.volume_traded, at_ns) + series.carried
            series.carried = 0
            bar.volume = (bar.volume or 0) + traded
            bar.turnover += traded * price

    def _is_after_gap(self, series: _Series, tick: Tick) -> bool:
        """Whether ticks may be missing between this one and the one before: those between two
        connections, or two lives of the broadcaster, or numbers that were left out."""
        before, seq = series.source, series.seq
        series.source, series.seq = (tick.gen, tick.epoch), tick.seq
        if before is None:
            return False
        return before != series.source or tick.seq > seq + 1

    def _traded(self, series: _Series, volume: int | None, at_ns: int) -> int:
        """Return the volume traded since the tick before, from the day's volume of this one."""
        if volume is None:
            return 0
        if series.volume is None:
            self._begin_volume(series, volume, at_ns)
            return 0
        day = (at_ns // NS_PER_S + IST_OFFSET_S) // DAY_S
        if day > series.day or (series.is_old_volume and volume < series.volume):
            series.day, series.volume = max(day, series.day), volume
            series.is_old_volume = False
            return volume
        if day < series.day or volume <= series.volume:
            return 0
        traded = volume - series.volume
        series.volume, series.is_old_volume = volume, False
        return traded

    def _begin_volume(self, series: _Series, volume: int | None, at_ns: int) -> None:
        if series.volume is None and volume is not None:
            series.volume, series.is_old_volume = volume, True
            series.day = (at_ns // NS_PER_S + IST_OFFSET_S) // DAY_S

    # --- out ----------------------------------------------------------------------------------

    @property
    def due_ns(self) -> int | None:
        """The time at which the next bar becomes final; None while there is none."""
        return min(self._due) + self.wait_ns if self._due else None

    def final(self, now_ns: int) -> Iterator[Bar]:
        """Return the bars that have become final by now, in order of their ends."""
        for end_ns in sorted(self._due):
            if end_ns + self.wait_ns > now_ns:
                return
            for instrument, series, bar in self._due.pop(end_ns):
                del series.growing[bar.start_ns]
                if series.current is bar:
                    series.current = None
                series.last, series.final_ns = bar, bar.end_ns
                yield self._made(instrument, bar)

    def under_way(self) -> Iterator[Bar]:
        """Return the newest bar of each instrument, as it is now, that is not final yet."""
        for instrument, series in self._series.items():
            if series.current is not None:
                yield structs.replace(self._made(instrument, series.current), is_final=False)

    def _made(self, instrument: str, bar: _Growing) -> Bar:
        divisor = bar.divisor
        return Bar(
            instrument, self.interval, bar.start_ns, bar.end_ns,
            bar.open / divisor, bar.high / divisor, bar.low / divisor, bar.close / divisor,
            bar.volume, bar.oi, bar.turnover / bar.volume / divisor if bar.volume else None,
            bar.ticks, self._quality(bar),
        )  # fmt: skip

    def _quality(self, bar: _Growing) -> Quality:
        """Return the worst word that holds; a polled bar lacks more than one with a gap."""
        if bar.has_rest:
            return "rest"
        if bar.has_gap or any(each.touches(bar) for each in self._gaps):
            return "gap"
        if bar.is_first:
            return "first"
        return "replay" if self.is_replay else "complete"
