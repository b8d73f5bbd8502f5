"""One tick as a strategy reads it. What is constant is stored; what can change after it arrived
(its age, its source, whether it is fresh) is computed each time it is read. Its body is decoded
when one of its fields is first read.

A tick may be read, copied, pickled and printed in any thread, and after its feed was closed.
"""

from copy import copy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol

import msgspec
from msgspec.structs import force_setattr

from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.feed import Flag, ReceivedBody, Source, decode_body
from kitefeed.protocol.kite.ticks import DEPTH_LEVELS, FULL, LTP, QUOTE, TickBody, iter_depth
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.tick_bodies import Held, token_of, unpack_last_price

ModeWord = Literal["ltp", "quote", "full", "unknown"]  # unknown: of a newer daemon
SourceWord = Literal["websocket", "rest", "cache", "replay"]
Origin = Literal["websocket", "rest", "none", "replay"]
Staleness = Literal[
    "",  # it is fresh
    "replaced",  # a newer value of the instrument has come
    "lost",  # no heartbeat: the daemon has gone, or hangs
    "gap",  # a newer one may have been lost on the way to this program; it is asked for
    "cached",  # its source feeds no more, or it came from disk
    "unproven",  # no fresh tick has proven its stream yet (first packets), or its stream is doubted
    "old",  # its source lives, but vouches for later values only: polled long ago, or before a loss
    "closed",  # its market is closed
    "first_packet",  # its market is closed, and this is the last price before that, sent again
    "paused", "login_required", "no_entitlement", "misconfigured",  # as the headline says
    "no_feed",  # the feed it came from was closed, or it was pickled
]  # fmt: skip
_MODES: dict[int, ModeWord] = {LTP: "ltp", QUOTE: "quote", FULL: "full"}
_ORIGINS: dict[int, Origin] = {
    Source.WEBSOCKET: "websocket", Source.REST: "rest", Source.REPLAY: "replay"
}  # fmt: skip
# The words for sources that still feed; a newer daemon may have others, unknown here.
_SOURCES: dict[int, SourceWord] = {
    Source.WEBSOCKET: "websocket", Source.REST: "rest", Source.REPLAY: "replay"
}  # fmt: skip


class Level(NamedTuple):
    """One level of market depth; all zero means empty. `price` in rupees."""

    quantity: int
    price: float
    orders: int


class Depth(NamedTuple):
    """Five levels each, best first."""

    buy: list[Level]
    sell: list[Level]


class Ohlc(NamedTuple):
    """Of the day, in rupees; None where the mode does not carry it. `close` is yesterday's."""

    open: float | None
    high: float | None
    low: float | None
    close: float | None


_RECORD = (
    "instrument", "instrument_token", "mode", "last_price", "change", "last_traded_quantity",
    "average_traded_price", "volume_traded", "total_buy_quantity", "total_sell_quantity", "ohlc",
    "oi", "oi_day_high", "oi_day_low", "depth", "last_trade_time", "exchange_timestamp",
    "received_at", "age_s", "source", "origin", "is_fresh", "why_stale",
    "gen", "shard", "epoch", "seq", "flags",
)  # fmt: skip


class Judge(Protocol):
    """The feed itself, which knows whether a tick is current now. Any thread may ask it."""

    def why_stale(self, tick: "Tick") -> Staleness: ...

    def has_source(self, tick: "Tick") -> bool: ...


class _Nobody:
    """Judges a tick without a feed: one that was pickled. Nothing is known of it."""

    def why_stale(self, tick: "Tick") -> Staleness:
        return "no_feed"

    def has_source(self, tick: "Tick") -> bool:
        return False


NOBODY: Judge = _Nobody()


class Verdict(NamedTuple):
    """Judges ticks once and for all: what was known of those of a recording when they were sent."""

    why: Staleness
    has: bool

    def why_stale(self, tick: "Tick") -> Staleness:
        return self.why

    def has_source(self, tick: "Tick") -> bool:
        return self.has


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """The facts that all ticks of one message share. `gen`, `shard`, `epoch`, `source_code`: as on
    the wire. `t_rx_ns`: when the daemon received them, UTC. `judge` is not pickled, unless it is a
    `Verdict`."""

    gen: int
    shard: int
    epoch: int
    source_code: int
    t_rx_ns: int
    age_ns: int  # on arrival
    boot_ns: int  # of the arrival
    judge: Judge
    losses: int  # that the reader had noticed by then

    def __reduce__(self) -> tuple[object, ...]:
        if isinstance(self.judge, Verdict):
            return Arrival, msgspec.structs.astuple(self)
        since_ns = boot_ns() - self.boot_ns
        known = (self.gen, self.shard, self.epoch, self.source_code, self.t_rx_ns, self.age_ns)
        return _unpickled, (*known, utc_ns() - since_ns)


def _unpickled(
    gen: int, shard: int, epoch: int, source_code: int, t_rx_ns: int, age_ns: int, utc_then_ns: int
) -> Arrival:
    """Build an arrival by the wall clock: boot times of two hosts, or of two boots, have nothing in
    common."""
    then_ns = boot_ns() - (utc_ns() - utc_then_ns)
    return Arrival(gen, shard, epoch, source_code, t_rx_ns, age_ns, then_ns, NOBODY, 0)


class Tick(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One value of one instrument. Prices are floats in rupees; `raw` holds the exact integers.

    Fields that the tick's mode does not carry are None. `seq`, `flags`: as on the wire.

    It may be read in any thread. A copy is judged by the same feed. One that was pickled has none:
    it stays a value with an age (by the wall clock), and is never fresh; nor is any tick whose feed
    was closed.
    """

    instrument: str
    _held: Held  # read by `raw`
    seq: int
    flags: int
    arrival: Arrival

    @property
    def raw(self) -> TickBody:
        """Its fields as exact integers, as on the wire (docs/wire-format.md)."""
        held = self._held
        if type(held) is not ReceivedBody and not isinstance(held, TickBody):
            # Two threads may do it at once: both make the same, and the later one stays.
            held = decode_body(held)
            force_setattr(self, "_held", held)
        return held

    # --- where it came from -------------------------------------------------------------------

    @property
    def gen(self) -> int:
        """The life of the broadcaster that sent it: another number after it was restarted."""
        return self.arrival.gen

    @property
    def shard(self) -> int:
        """The number of the socket, of up to three, that carries its instrument."""
        return self.arrival.shard

    @property
    def epoch(self) -> int:
        """The number of the connection, or polling run, that it came by; strictly rising."""
        return self.arrival.epoch

    @property
    def source_code(self) -> int:
        """`origin` as a number: 1 websocket, 2 rest, 3 replay, 0 none."""
        return self.arrival.source_code

    @property
    def t_rx_ns(self) -> int:
        """The time at which the daemon received it: UTC, nanoseconds since 1970."""
        return self.arrival.t_rx_ns

    # --- quality: judged when read ------------------------------------------------------------

    @property
    def is_fresh(self) -> bool:
        """Whether this is the current value: the newest received, from the source that feeds now,
        and that source is alive. When in doubt, False; `why_stale` says in which."""
        return not self.arrival.judge.why_stale(self)

    @property
    def why_stale(self) -> Staleness:
        """The reason why it is not fresh, in one word of `Staleness`; empty while it is."""
        return self.arrival.judge.why_stale(self)

    @property
    def source(self) -> SourceWord:
        """The source where the value stands now: "cache" once its source no longer feeds."""
        if not self.arrival.judge.has_source(self):
            return "cache"
        return _SOURCES.get(self.source_code, "cache")

    @property
    def origin(self) -> Origin:
        """The source that the value once came from."""
        return _ORIGINS.get(self.source_code, "none")

    @property
    def age_s(self) -> float:
        """Seconds since the daemon received it."""
        return self.age_ns(boot_ns()) / 1e9

    def age_ns(self, now_ns: int) -> int:
        """Nanoseconds since it was received, at boot time `now_ns`."""
        return self.arrival.age_ns + max(0, now_ns - self.arrival.boot_ns)

    # --- identity -----------------------------------------------------------------------------

    @property
    def exchange(self) -> str:
        """The part of its name before the colon: NSE, NFO, MCX, ..."""
        return self.instrument.partition(":")[0]

    @property
    def symbol(self) -> str:
        """Kite's trading symbol: what stands behind the colon of its name."""
        return self.instrument.partition(":")[2]

    @property
    def instrument_token(self) -> int:
        """Kite's number of the instrument. Those of derivatives are used again after expiry."""
        held = self._held
        return token_of(held) if isinstance(held, bytes) else self.raw.instrument_token

    @property
    def mode(self) -> ModeWord:
        """The mode it came in: the highest that anybody asks for."""
        return _MODES.get(self.raw.mode, "unknown")

    # --- prices -------------------------------------------------------------------------------

    @property
    def last_price(self) -> float:
        """Rupees, of the last trade."""
        held = self._held
        if isinstance(held, bytes):  # all that many programs read: not worth decoding the rest
            divisor, last_price = unpack_last_price(held)
            return last_price / divisor  # type: ignore[no-any-return]
        raw = self.raw
        return raw.last_price / raw.divisor

    @property
    def last_price_decimal(self) -> Decimal:
        """The exact last price."""
        raw = self.raw
        return Decimal(raw.last_price) / raw.divisor

    @property
    def average_traded_price(self) -> float | None:
        """Rupees, of the day's trades; None in mode ltp, and for an index."""
        raw = self.raw
        return _rupees(raw.average_traded_price, raw)

    @property
    def open(self) -> float | None:
        """Rupees, of the day; None in mode ltp."""
        raw = self.raw
        return _rupees(raw.open, raw)

    @property
    def high(self) -> float | None:
        """Rupees, of the day; None in mode ltp."""
        raw = self.raw
        return _rupees(raw.high, raw)

    @property
    def low(self) -> float | None:
        """Rupees, of the day; None in mode ltp."""
        raw = self.raw
        return _rupees(raw.low, raw)

    @property
    def close(self) -> float | None:
        """Rupees, yesterday's; None in mode ltp."""
        raw = self.raw
        return _rupees(raw.close, raw)

    @property
    def ohlc(self) -> Ohlc:
        """Open, high, low of the day and the close of yesterday, rupees; None in mode ltp."""
        raw = self.raw
        return Ohlc(*(_rupees(each, raw) for each in (raw.open, raw.high, raw.low, raw.close)))

    @property
    def change(self) -> float | None:
        """Percent against yesterday's close; None without one."""
        raw = self.raw
        close = raw.close
        return (raw.last_price - close) * 100 / close if close else None

    # --- quantities ---------------------------------------------------------------------------

    @property
    def last_traded_quantity(self) -> int | None:
        """Quantity of the last trade; None in mode ltp, and for an index."""
        return self.raw.last_traded_quantity

    @property
    def volume_traded(self) -> int | None:
        """Volume of the day; None in mode ltp, and for an index."""
        return self.raw.volume_traded

    @property
    def total_buy_quantity(self) -> int | None:
        """Quantity of all bids; None in mode ltp, and for an index."""
        return self.raw.total_buy_quantity

    @property
    def total_sell_quantity(self) -> int | None:
        """Quantity of all offers; None in mode ltp, and for an index."""
        return self.raw.total_sell_quantity

    @property
    def oi(self) -> int | None:
        """Open interest; None but in mode full."""
        return self.raw.oi

    @property
    def oi_day_high(self) -> int | None:
        """Highest open interest of the day; None but in mode full."""
        return self.raw.oi_day_high

    @property
    def oi_day_low(self) -> int | None:
        """Lowest open interest of the day; None but in mode full."""
        return self.raw.oi_day_low

    # --- all of it ----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, object]:
        """The tick as a record: its names are those of the properties, also inside `ohlc` and
        `depth`. What can change (`is_fresh`, `source`, `age_s`) is as of now."""
        record = {name: getattr(self, name) for name in _RECORD}
        record["ohlc"] = record["ohlc"]._asdict()
        if record["depth"] is not None:
            sides = record["depth"]._asdict().items()
            record["depth"] = {
                side: [level._asdict() for level in levels] for side, levels in sides
            }
        return record

    # --- times and depth ----------------------------------------------------------------------

    @property
    def last_trade_time(self) -> datetime | None:
        """IST; None but in mode full, and before the first trade."""
        return _ist(self.raw.last_trade_time)

    @property
    def exchange_timestamp(self) -> datetime | None:
        """The time at which the exchange sent it, IST; None but in mode full."""
        return _ist(self.raw.exchange_timestamp)

    @property
    def received_at(self) -> datetime:
        """The time at which the daemon received it, IST."""
        return datetime.fromtimestamp(self.t_rx_ns / 1e9, UTC).astimezone(IST)

    @property
    def depth(self) -> Depth | None:
        """Five levels of either side, best first, unpacked when read; None but in mode full."""
        raw = self.raw
        if raw.depth is None:
            return None
        divisor, make = raw.divisor, tuple.__new__  # half the time of `Level(...)`
        levels = [
            make(Level, (quantity, price / divisor, orders))
            for quantity, price, orders in iter_depth(raw.depth)
        ]
        return Depth(levels[:DEPTH_LEVELS], levels[DEPTH_LEVELS:])

    def __reduce__(self) -> tuple[object, ...]:
        return Tick, (self.instrument, self.raw, self.seq, self.flags, self.arrival)

    def __copy__(self) -> "Tick":
        return Tick(self.instrument, self.raw, self.seq, self.flags, self.arrival)

    def __deepcopy__(self, memo: dict[int, object]) -> "Tick":
        return Tick(self.instrument, copy(self.raw), self.seq, self.flags, self.arrival)

    def __repr__(self) -> str:
        names = [flag.name for flag in Flag if self.flags & flag]
        return (
            f"Tick({self.instrument} {self.last_price:.2f} {self.origin} epoch={self.epoch} "
            f"seq={self.seq}{' ' if names else ''}{','.join(filter(None, names))})"
        )


def _rupees(scaled: int | None, raw: TickBody) -> float | None:
    return None if scaled is None else scaled / raw.divisor


def _ist(utc_s: int | None) -> datetime | None:
    return None if utc_s is None else datetime.fromtimestamp(utc_s, IST)
