"""Whether a reader got what was sent: every packet once, in order, with the very values sent.

What a packet means is read here by slices from Kite's documentation, in two forms: kitefeed's wire
integers, and the official client's dict.
"""

import struct
from collections.abc import Callable, Iterable
from datetime import datetime
from math import isclose
from typing import Any, NamedTuple

import msgspec

from benchmarks import frames
from benchmarks.frames import INDEX_SEGMENT, Plan, divisor_of, packets_of, price_of, token_of

DEPTH_START, LEVEL_BYTES = 64, 12
_MODES = {8: 1, 28: 2, 32: 3, 44: 2, 184: 3}
_MODE_WORDS = {1: "ltp", 2: "quote", 3: "full"}

Received = tuple[int, int, Any]
"""Token, last price as on the wire, and the decoded tick."""


class LossesTold(NamedTuple):
    """The losses that a reader itself tells: messages to it, and `upstream` batches that the
    broadcaster never had, of whatever instruments."""

    here: int
    upstream: int


class Verdict(msgspec.Struct):
    """`altered`: other values than were sent; `strange`: never sent in this run; `holes`: lost, and
    a later tick of the same instrument came; `misreported`: losses that the reader did not say, or
    said without having any."""

    sent: int
    received: int = 0
    lost: int = 0
    repeated: int = 0
    disordered: int = 0
    altered: int = 0
    strange: int = 0
    holes: int = 0
    misreported: int = 0
    first_fault: str = ""

    @property
    def is_right(self) -> bool:
        """Whether what came is true; losses are told apart."""
        faults = (self.repeated, self.disordered, self.altered, self.strange, self.misreported)
        return not any(faults)

    @property
    def is_complete(self) -> bool:
        return self.is_right and not self.lost

    def hear_losses(self, told: LossesTold) -> None:
        """The last ticks of all a reader cannot know of; and a batch that was lost upstream may
        have been none of this run's."""
        if self.holes and not any(told):
            self.misreported = self.holes
            self.fault(f"{self.holes} were lost and the reader says that none was")
        elif told.here and not self.lost:
            self.misreported = told.here
            self.fault(f"all came and the reader says that {told.here} were lost")

    def fault(self, what: str) -> None:
        self.first_fault = self.first_fault or what


def check(
    plan: Plan, received: Iterable[Received], is_same: Callable[[bytes, Any], bool]
) -> Verdict:
    """Compares tick by tick. `is_same` is given the packet and what the reader made of it."""
    sent = {
        (token_of(packet), price_of(packet)): packet
        for frame in plan.frames
        for packet in packets_of(frame)
    }
    verdict = Verdict(plan.ticks)
    if len(sent) != verdict.sent:
        raise ValueError("two packets of this plan cannot be told apart")
    last: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for token, price, decoded in received:
        _judge(verdict, sent.get((token, price)), decoded, is_same)
        if (token, price) in seen:
            verdict.repeated += 1
            verdict.fault(f"token {token} price {price} came twice")
        if price < last.get(token, 0):
            verdict.disordered += 1
            verdict.fault(f"token {token} price {price} came after {last[token]}")
        seen.add((token, price))
        last[token] = price
        verdict.received += 1
    lost = sent.keys() - seen
    verdict.lost = len(lost)
    verdict.holes = sum(price < last.get(token, 0) for token, price in lost)
    return verdict


def _judge(
    verdict: Verdict, packet: bytes | None, decoded: Any, is_same: Callable[[bytes, Any], bool]
) -> None:
    if packet is None:
        verdict.strange += 1
        verdict.fault(f"never sent: {decoded!r}")
    elif not is_same(packet, decoded):
        verdict.altered += 1
        verdict.fault(f"sent {packet.hex()}, decoded as {decoded!r}")


# --- kitefeed's integers ------------------------------------------------------------------------


def wire_values(packet: bytes) -> tuple[Any, ...]:
    """The fields of docs/wire-format.md's TickBody, in its order; None where the packet has none,
    and for a time of zero."""
    token, mode = token_of(packet), _MODES[len(packet)]
    head = (token, mode, divisor_of(token), price_of(packet))
    if mode == 1:
        return (*head, *(None,) * 15)
    if token & 0xFF == INDEX_SEGMENT:
        high, low, open_, close = struct.unpack_from(">4I", packet, 8)
        time = int.from_bytes(packet[28:32], "big") or None
        return (*head, *(None,) * 5, open_, high, low, close, *(None,) * 4, time, None)
    quote = struct.unpack_from(">9I", packet, 8)
    if mode == 2:
        return (*head, *quote, *(None,) * 6)
    traded, oi, oi_high, oi_low, time = struct.unpack_from(">5I", packet, 44)
    return (*head, *quote, traded or None, oi, oi_high, oi_low, time or None, packet[64:184])


def is_wire(packet: bytes, values: tuple[Any, ...]) -> bool:
    return values == wire_values(packet)


# --- the official client's dict -----------------------------------------------------------------


def official_tick(packet: bytes) -> dict[str, Any]:
    """Return what pykiteconnect 5.2.2 makes of a packet, without `change`."""
    values = wire_values(packet)
    token, mode, divisor, last, quantity, average, volume, buy, sell = values[:9]
    open_, high, low, close, traded, oi, oi_high, oi_low, time, depth = values[9:]
    is_index = token & 0xFF == INDEX_SEGMENT
    tick: dict[str, Any] = {
        "tradable": not is_index,
        "mode": _MODE_WORDS[mode],
        "instrument_token": token,
        "last_price": last / divisor,
    }
    if mode == 1:
        return tick
    prices = {"open": open_, "high": high, "low": low, "close": close}
    tick["ohlc"] = {name: price / divisor for name, price in prices.items()}
    if not is_index:
        tick |= {
            "last_traded_quantity": quantity,
            "average_traded_price": average / divisor,
            "volume_traded": volume,
            "total_buy_quantity": buy,
            "total_sell_quantity": sell,
        }
    if mode == 3:
        tick["exchange_timestamp"] = time
    if depth is not None:
        tick |= {"last_trade_time": traded, "oi": oi, "oi_day_high": oi_high}
        tick |= {"oi_day_low": oi_low, "depth": _depth(depth, divisor)}
    return tick


def _depth(depth: bytes, divisor: int) -> dict[str, list[dict[str, Any]]]:
    levels = [
        {"quantity": quantity, "price": price / divisor, "orders": orders}
        for quantity, price, orders in struct.iter_unpack(">IIH2x", depth)
    ]
    return {"buy": levels[:5], "sell": levels[5:]}


def is_official(packet: bytes, tick: dict[str, Any]) -> bool:
    """Whether this is the official client's dict: all fields exactly, `change` as a float."""
    given = dict(tick)
    change = given.pop("change", None)
    for name in ("exchange_timestamp", "last_trade_time"):
        if isinstance(given.get(name), datetime):
            given[name] = int(given[name].timestamp())
    expected = official_tick(packet)
    if given != expected:
        return False
    if "ohlc" not in expected:
        return change is None
    close = expected["ohlc"]["close"]
    wanted = (expected["last_price"] - close) * 100 / close
    return isinstance(change, (float, int)) and isclose(change, wanted, rel_tol=1e-9, abs_tol=1e-9)


def received_officially(
    ticks: Iterable[dict[str, Any]], plan: Plan
) -> Iterable[tuple[int, int, dict[str, Any]]]:
    """The official client's ticks that belong to this run."""
    for tick in ticks:
        price = official_price(tick)
        if plan.first_price <= price < plan.first_price + frames.FRAMES_MAX:
            yield tick["instrument_token"], price, tick


def official_price(tick: dict[str, Any]) -> int:
    price: float = tick["last_price"]
    return round(price * divisor_of(tick["instrument_token"]))
