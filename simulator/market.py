"""A seeded market: every instrument walks by itself, only as far as somebody looks at it.

Pure: times are arguments, randomness comes from the seed. An instrument takes shape when it is
first read, so a dump of 90 000 rows costs nothing until it is subscribed to.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from kitefeed.protocol.kite.ticks import (
    DEPTH_LEVELS,
    LTP,
    QUOTE,
    DepthLevel,
    TickBody,
    is_index,
    pack_depth,
)
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.simulator.listings import Listing

_INDEX_PERIOD_NS = NS_PER_S  # an index is computed every second
_QUIET_FACTOR = 20.0  # a far strike moves once in ten seconds or more
_REVERSION = 0.002  # share of the way home per step: keeps a walk of days inside a few per cent
_VOLATILITY = 0.00008  # of the price, per step
_VOLUME_MAX = 4_000_000_000  # the wire's volume is an u32
_CLOSE_OF_DAY_S = 10 * 3600  # 15:30 IST, in seconds of the UTC day
_DAY_S = 86_400
_TOKEN_DIGITS_MAX = 10  # of an u32


CIRCUIT = 10  # price bands, in per cent of the previous close
MOVES_MAX = 120  # kept per instrument, a minute or two of a liquid one


class PriceChange(NamedTuple):
    """A price as on the wire, and since when it was the market's (wall clock)."""

    since_utc_ns: int
    last_price: int


class Price(NamedTuple):
    """The current price, and the latest ones before it, oldest first, itself included."""

    last_price: int
    divisor: int
    changed_utc_ns: int
    moves: tuple[PriceChange, ...]


class Security:
    """One instrument's state. Prices are integers scaled by the instrument's divisor.

    `revision` moves with any field, `price_revision` with the last price alone: mode ltp sends
    only when the price moved, the others when anything did. Without a book (the market is closed)
    all depth is zero, as on Kite.
    """

    def __init__(
        self, listing: Listing, seed: int, now_ns: int, last_trade_s: int, *, has_book: bool
    ) -> None:
        rng = random.Random(f"{seed}:{listing.token}")
        self.listing = listing
        self.tick = max(1, round(listing.tick_size * listing.divisor))
        self.lot = max(1, listing.lot_size)
        self.home = round(listing.price * listing.divisor / self.tick) * self.tick
        self.close = self._shifted(self.home, rng.uniform(-0.01, 0.01))
        self.open = self._shifted(self.close, rng.uniform(-0.004, 0.004))
        self.price = self.home
        self.high = self._shifted(max(self.price, self.open), rng.uniform(0, 0.005))
        self.low = self._shifted(min(self.price, self.open), -rng.uniform(0, 0.005))
        self.volume = rng.randrange(10_000, 2_000_000) * self.lot // 10 + self.lot
        self.turnover = self.volume * ((self.high + self.low) // 2)
        self.last_quantity = rng.randrange(1, 20) * self.lot
        self.oi = rng.randrange(1_000, 60_000) * self.lot if listing.expiry else 0
        self.oi_high = self.oi_low = self.oi
        self.last_trade_s = self.exchange_s = self.first_exchange_s = last_trade_s
        self.bids = [rng.randrange(1, 400) * self.lot for _ in range(DEPTH_LEVELS)]
        self.asks = [rng.randrange(1, 400) * self.lot for _ in range(DEPTH_LEVELS)]
        self.buy_beyond = rng.randrange(100, 5_000) * self.lot  # orders deeper than five levels
        self.sell_beyond = rng.randrange(100, 5_000) * self.lot
        self.has_book = has_book and not is_index(listing.token)
        self.revision = 0
        self.price_revision = 0
        self.changed_ns = now_ns
        self.moves = deque([PriceChange(now_ns, self.price)], maxlen=MOVES_MAX)
        self.due_ns = now_ns

    def on_tick(self, price: float) -> int:
        """The nearest price that an order may have, above zero."""
        return max(self.tick, round(price / self.tick) * self.tick)

    def _shifted(self, price: int, share: float) -> int:
        return self.on_tick(price * (1 + share))

    def step(self, rng: random.Random, now_ns: int) -> None:
        """A trade or a change of the book. An index always gets a new value."""
        self.revision += 1
        self.exchange_s = now_ns // NS_PER_S
        if is_index(self.listing.token):
            self._move_price(rng, now_ns, must_move=True)
            return
        self._change_book(rng)
        if rng.random() < 0.7:
            self._trade(rng, now_ns)

    def _trade(self, rng: random.Random, now_ns: int) -> None:
        self._move_price(rng, now_ns, must_move=False)
        self.last_quantity = rng.randrange(1, 20) * self.lot
        if self.volume + self.last_quantity < _VOLUME_MAX:
            self.volume += self.last_quantity
            self.turnover += self.last_quantity * self.price
        self.last_trade_s = self.exchange_s
        if self.oi:
            self.oi = max(self.lot, self.oi + rng.randrange(-3, 4) * self.lot)
            self.oi_high = max(self.oi_high, self.oi)
            self.oi_low = min(self.oi_low, self.oi)

    def _move_price(self, rng: random.Random, now_ns: int, *, must_move: bool) -> None:
        sigma = max(self.tick, self.price * _VOLATILITY)
        drift = (self.home - self.price) * _REVERSION
        steps = round(rng.gauss(drift, sigma) / self.tick)
        if steps == 0 and must_move:
            steps = rng.choice((-1, 1))
        price = max(self.tick, self.price + steps * self.tick)
        if price == self.price:
            return
        self.price = price
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.price_revision += 1
        self.changed_ns = now_ns
        self.moves.append(PriceChange(now_ns, price))

    def _change_book(self, rng: random.Random) -> None:
        level = rng.randrange(DEPTH_LEVELS)
        self.bids[level] = rng.randrange(1, 400) * self.lot
        self.asks[DEPTH_LEVELS - 1 - level] = rng.randrange(1, 400) * self.lot

    def levels(self) -> tuple[list[DepthLevel], list[DepthLevel]]:
        """Five buy and five sell levels around the last price, best first."""
        buy = [
            DepthLevel(quantity, max(self.tick, self.price - n * self.tick), 1 + quantity % 37)
            for n, quantity in enumerate(self.bids)
        ]
        sell = [
            DepthLevel(quantity, self.price + n * self.tick, 1 + quantity % 41)
            for n, quantity in enumerate(self.asks, 1)
        ]
        return buy, sell

    def circuits(self) -> tuple[int, int]:
        """The lowest and the highest price of an order today, scaled and on the tick."""
        ticks = self.close * CIRCUIT // 100 // self.tick
        return max(self.tick, self.close - ticks * self.tick), self.close + ticks * self.tick

    def show_book(self, is_shown: bool) -> None:
        """Show the book or hide it; an index has none. What was sent of the book before is
        outdated."""
        if is_shown != self.has_book and not is_index(self.listing.token):
            self.has_book = is_shown
            self.revision += 1

    def body(self, mode: int) -> TickBody:
        """The tick of this mode."""
        token, divisor = self.listing.token, self.listing.divisor
        if mode == LTP:
            return TickBody(token, mode, divisor, self.price)
        ohlc = (self.open, self.high, self.low, self.close)
        exchange_s = None if mode == QUOTE else self.exchange_s
        if is_index(token):
            empty = (None,) * 5
            return TickBody(
                token, mode, divisor, self.price, *empty, *ohlc, exchange_timestamp=exchange_s
            )
        buy_total = sum(self.bids) + self.buy_beyond if self.has_book else 0
        sell_total = sum(self.asks) + self.sell_beyond if self.has_book else 0
        traded = (self.last_quantity, self.turnover // self.volume, self.volume)
        common = (token, mode, divisor, self.price, *traded, buy_total, sell_total, *ohlc)
        if mode == QUOTE:
            return TickBody(*common)
        book = self.levels() if self.has_book else ([], [])
        depth = pack_depth(*book)
        oi = (self.oi, self.oi_high, self.oi_low)
        return TickBody(*common, self.last_trade_s, *oi, exchange_s, depth)


Listener = Callable[[Security, int], None]


class Market:
    """Every listed instrument, by token and by `EXCHANGE:SYMBOL`.

    `tick_hz` bounds how often a liquid instrument moves: at the default 2, once in 0.5 to 1 s, so
    never more than two packets in a second. Indices move once per second whatever it is.
    `listeners` are told of the first value of every instrument and of each later one.
    """

    def __init__(
        self, listings: Sequence[Listing], seed: int, *, tick_hz: float = 2.0, is_open: bool = True
    ) -> None:
        self.listings = listings
        self.by_key = {listing.key: listing for listing in listings}
        self.by_token = {listing.token: listing for listing in listings}
        self._is_open = is_open
        self.seed = seed
        self._rng = random.Random(seed)
        self.listeners: list[Listener] = []
        self._period_ns = round(NS_PER_S / tick_hz)
        self._securities: dict[int, Security] = {}

    @property
    def is_open(self) -> bool:
        return self._is_open

    def open(self, is_open: bool) -> None:
        """Let prices move, or rest; everybody is shown the same book, or none."""
        self._is_open = is_open
        for security in self._securities.values():
            security.show_book(is_open)

    def read(self, token: int, now_ns: int) -> Security | None:
        """The instrument as it stands now; None when no such token is listed."""
        security = self._securities.get(token)
        if security is None:
            listing = self.by_token.get(token)
            if listing is None:
                return None
            last_trade_s = self._first_trade_s(now_ns)
            security = Security(listing, self.seed, now_ns, last_trade_s, has_book=self._is_open)
            self._securities[token] = security
            self._tell(security, now_ns)
            security.due_ns = now_ns + self._wait_ns(security)
        self._step_when_due(security, now_ns)
        return security

    def seen(self, token: int) -> Security | None:
        """The instrument as it was left; None when it was never read."""
        return self._securities.get(token)

    def find(self, key: str, now_ns: int) -> Security | None:
        """By `NSE:INFY` or by the digits of a token."""
        listing = self.by_key.get(key)
        if listing is not None:
            return self.read(listing.token, now_ns)
        is_token = key.isascii() and key.isdigit() and len(key) <= _TOKEN_DIGITS_MAX
        return self.read(int(key), now_ns) if is_token else None

    def advance(self, tokens: Iterable[int], now_ns: int) -> None:
        """Move those of the tokens that are due. Does nothing while the market is closed."""
        if not self._is_open:
            return
        for token in tokens:
            security = self._securities.get(token)
            if security is not None and security.due_ns <= now_ns:
                self._step_when_due(security, now_ns)

    def prices(self, now_ns: int) -> dict[int, Price]:
        """The price at `now_ns` of every instrument that was read at least once: the market moves
        on also while nobody is connected."""
        self.advance(self._securities, now_ns)
        return {
            token: Price(
                security.price, security.listing.divisor, security.changed_ns, tuple(security.moves)
            )
            for token, security in self._securities.items()
        }

    def _step_when_due(self, security: Security, now_ns: int) -> None:
        if self._is_open and security.due_ns <= now_ns:
            security.step(self._rng, now_ns)
            security.due_ns = self._next_due_ns(security, now_ns)
            self._tell(security, now_ns)

    def _tell(self, security: Security, now_ns: int) -> None:
        if self._is_open:
            for listener in self.listeners:
                listener(security, now_ns)

    def _next_due_ns(self, security: Security, now_ns: int) -> int:
        if not is_index(security.listing.token):
            return now_ns + self._wait_ns(security)
        # From the due time, not from now, so that no second is skipped; unless nobody looked.
        return max(security.due_ns + _INDEX_PERIOD_NS, now_ns + _INDEX_PERIOD_NS // 2)

    def _wait_ns(self, security: Security) -> int:
        if is_index(security.listing.token):
            return _INDEX_PERIOD_NS
        wait = self._period_ns * self._rng.uniform(1.0, 2.0)
        return round(wait * (_QUIET_FACTOR if security.listing.is_quiet else 1.0))

    def _first_trade_s(self, now_ns: int) -> int:
        """Now while the market is open, else the last 15:30 IST gone by."""
        now_s = now_ns // NS_PER_S
        if self._is_open:
            return now_s
        close_s = now_s - now_s % _DAY_S + _CLOSE_OF_DAY_S
        return close_s if close_s <= now_s else close_s - _DAY_S
