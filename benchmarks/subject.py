"""What of kitefeed is timed, in one place: change it here when the code's names change."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from kitefeed import Feed, Tick
from kitefeed.actors.runtime import locks
from kitefeed.actors.runtime.config import INSTRUMENTS_MAX
from kitefeed.protocol import topology
from kitefeed.protocol.feed import encode
from kitefeed.protocol.kite.repack import repack_frame
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.protocol.topology import Role

__all__ = ["INSTRUMENTS_MAX", "Feed", "Role", "Tick"]

_decode_bodies = msgspec.msgpack.Decoder(list[TickBody]).decode
HOT = (Role.TICKER, Role.BROADCASTER)


def recode(frame: bytes) -> bytes:
    """One frame of Kite to the bodies that travel: what the ticker does for each packet."""
    return encode(repack_frame(frame).rows)


def read(bodies: bytes) -> list[TickBody]:
    """What travels to objects: what a program does for each tick, its message left aside."""
    return _decode_bodies(bodies)


def wire_values(body: TickBody) -> tuple[Any, ...]:
    """All fields, in the order of docs/wire-format.md."""
    return tuple(getattr(body, name) for name in TickBody.__struct_fields__)


def pid_of(run_dir: Path, role: Role) -> int:
    holder = locks.live_holder(run_dir, role)
    if holder is None:
        raise RuntimeError(f"{role} does not run in {run_dir}")
    return holder.pid


def feed_endpoint(run_dir: Path) -> str:
    return topology.endpoint(run_dir, topology.FEED)


def open_feed(config: str | os.PathLike[str], keys: list[str], timeout_s: float = 30.0) -> "Feed":
    """No keys: everything that streams."""
    return Feed(*keys, config=config, timeout_s=timeout_s)


def official_dict(tick: Tick) -> dict[str, Any]:
    """Every field of a tick, as the official client's dict: what a program pays that reads all."""
    raw = tick.raw
    made: dict[str, Any] = {
        "tradable": raw.instrument_token & 0xFF != 9,
        "mode": tick.mode,
        "instrument_token": raw.instrument_token,
        "last_price": tick.last_price,
    }
    if raw.mode == 1:
        return made
    open_, high, low, close = tick.ohlc
    made["ohlc"] = {"open": open_, "high": high, "low": low, "close": close}
    made["change"] = tick.change
    if made["tradable"]:
        made["last_traded_quantity"] = tick.last_traded_quantity
        made["average_traded_price"] = tick.average_traded_price
        made["volume_traded"] = tick.volume_traded
        made["total_buy_quantity"] = tick.total_buy_quantity
        made["total_sell_quantity"] = tick.total_sell_quantity
    if raw.mode == 3:
        made["exchange_timestamp"] = tick.exchange_timestamp
    depth = tick.depth
    if depth is not None:
        made["last_trade_time"] = tick.last_trade_time
        made["oi"] = tick.oi
        made["oi_day_high"] = tick.oi_day_high
        made["oi_day_low"] = tick.oi_day_low
        made["depth"] = {
            side: [{"quantity": q, "price": p, "orders": o} for q, p, o in levels]
            for side, levels in (("buy", depth.buy), ("sell", depth.sell))
        }
    return made


def itself(tick: Tick) -> Tick:
    return tick


Materialise = Callable[[Tick], Any]


# Reader's kind -> what plain subscribers read beside it, and whether that is a message per tick.
FANOUT = {"each": ("tick/", True), "all": ("ticks/all\0", False)}
