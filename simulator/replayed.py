"""A market that moves as a recorded day did. Pure: the recording is an iterator, times are given.

Its instruments have the values that were recorded, and no others: one that has none yet is silent,
as on Kite. All that stands on a market (orders, candles, faults) stands on this one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from kitefeed.protocol.kite.ticks import LTP, QUOTE, TickBody, unpack_depth
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.simulator.listings import Listing
from kitefeed.simulator.market import Market, PriceChange, Security

_NO_FULL = dict.fromkeys(TickBody.__struct_fields__[13:])  # what a quote lacks
PAUSE_NS_MAX = 3_000_000_000  # what was not recorded is passed over in so long


class TickBatch(NamedTuple):
    """Ticks that came together. at_ns: when, on the day's clock, UTC. are_old: they are values that
    were known then, from some time before."""

    at_ns: int
    ticks: Sequence[TickBody]
    are_old: bool = False


class RecordedSecurity(Security):
    """One instrument as it was recorded last."""

    def __init__(self, listing: Listing, first: TickBody, now_ns: int, day_ns: int) -> None:
        super().__init__(listing, 0, now_ns, day_ns // NS_PER_S, has_book=True)
        self._body = first
        self.take(first, now_ns, day_ns)

    def take(self, body: TickBody, now_ns: int, day_ns: int) -> None:
        """The next value; `day_ns`: when it came, on the day's clock."""
        self.revision += 1
        if body.last_price != self.price or self.price_revision == 0:
            self.price_revision += 1
            self.changed_ns = now_ns
            self.moves.append(PriceChange(now_ns, body.last_price))
        self._body = body
        self.price = body.last_price
        self.open, self.high = body.open or self.price, body.high or self.price
        self.low, self.close = body.low or self.price, body.close or self.price
        self.volume = body.volume_traded or 0
        self.turnover = self.volume * (body.average_traded_price or 0)
        self.last_quantity = body.last_traded_quantity or 0
        self.oi, self.oi_high = body.oi or 0, body.oi_day_high or 0
        self.oi_low = body.oi_day_low or 0
        self.exchange_s = body.exchange_timestamp or day_ns // NS_PER_S
        self.last_trade_s = body.last_trade_time or self.exchange_s
        if body.depth is not None:
            buy, sell = unpack_depth(body.depth)
            self.bids = [level.quantity for level in buy]
            self.asks = [level.quantity for level in sell]

    def body(self, mode: int) -> TickBody:
        """Return what was recorded, or as much of it as this mode has."""
        found = self._body
        if mode == LTP:
            return TickBody(found.instrument_token, LTP, found.divisor, found.last_price)
        return replace(found, mode=mode, **(_NO_FULL if mode == QUOTE else {}))


class RecordedMarket(Market):
    """messages: of the day, in order. speed: how many of its seconds pass in one; None for no
    waiting. begin_ns: what came before that is known when it begins (`begin`), and not played.
    `due_ns` says when the next is to be played, by whoever plays them."""

    def __init__(
        self, listings: Sequence[Listing], messages: Iterable[TickBatch], speed: float | None,
        begin_ns: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(listings, 0)
        self._messages: Iterator[TickBatch] = iter(messages)
        self._speed = speed
        self._begin_ns = begin_ns
        self._recorded: dict[int, RecordedSecurity] = {}
        self._next: TickBatch | None = None
        self._is_timed = False  # `_due_ns` is that of the next
        self._day_ns = 0
        self._due_ns = 0

    def begin(self, now_ns: int) -> None:
        """Called when all that stands on it does."""
        for message in self._messages:
            if message.at_ns >= self._begin_ns:
                self._next = message
                return
            for body in message.ticks:
                self._take(body, now_ns, message)

    def due_ns(self, now_ns: int) -> int | None:
        """Return when the next message is due, on the clock of `now_ns`; None when the day is
        over."""
        if not self._is_timed:
            self._next = self._next or next(self._messages, None)
            if self._next is None:
                return None
            self._is_timed = True
            at_ns = self._next.at_ns
            step_ns = max(0, at_ns - self._day_ns) if self._day_ns else 0
            self._day_ns = max(self._day_ns, at_ns)
            pause_ns = min(PAUSE_NS_MAX, int(step_ns / self._speed)) if self._speed else 0
            self._due_ns = (self._due_ns or now_ns) + pause_ns
        return self._due_ns if self._speed else now_ns

    def play(self, now_ns: int) -> Iterator[None]:
        """Plays the next message; yields where the sockets have to be served, because the next
        tick of an instrument would take the place of one that nobody was sent."""
        message, self._next, self._is_timed = self._next, None, False
        moved: set[int] = set()
        if message is None:
            return
        for body in message.ticks:
            token = body.instrument_token
            if token in moved:
                yield
                moved.clear()
            moved.add(token)
            self._take(body, now_ns, message)
        yield

    def _take(self, body: TickBody, now_ns: int, message: TickBatch) -> None:
        token = body.instrument_token
        security = self._recorded.get(token)
        if security is None:
            listing = self.by_token.get(token)
            if listing is None:
                return
            security = self._recorded[token] = RecordedSecurity(
                listing, body, now_ns, message.at_ns
            )
            self._securities[token] = security
        else:
            security.take(body, now_ns, message.at_ns)
        # Nothing tells when an old value was the price: it belongs to no candle.
        if body.exchange_timestamp is not None or not message.are_old:
            self._tell(security, now_ns)

    def read(self, token: int, now_ns: int) -> Security | None:
        """None also for what has no value yet."""
        return self._recorded.get(token)

    def advance(self, tokens: Iterable[int], now_ns: int) -> None:
        """It moves by `play` alone."""
