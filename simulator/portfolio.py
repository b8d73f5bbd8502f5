"""Reckons what an account holds, owes and has left: holdings, positions and margins. Pure.

The rules of margin are simple ones, not the exchanges': the whole value of shares for delivery, a
fifth of it for the day, the premium of a bought option, and 15 % of the value of anything else.
"""

from collections.abc import Mapping
from typing import NamedTuple

from kitefeed.simulator.listings import Listing
from kitefeed.simulator.market import Security
from kitefeed.simulator.order_form import OrderForm
from kitefeed.simulator.orders import Trade

CASH = {"equity": 1_000_000.0, "commodity": 1_000_000.0}  # rupees at the start, by segment
HOLDINGS = {"NSE:INFY": 20, "NSE:SBIN": 50}  # shares that every account starts with
_INTRADAY = 0.2
_DERIVATIVE = 0.15
_COMMODITIES = ("MCX", "NCO")


class Key(NamedTuple):
    """Positions are kept apart by product."""

    token: int
    product: str


class Position:
    """Everything that was bought and sold of one instrument with one product. Rupees."""

    def __init__(self, security: Security, product: str) -> None:
        self.security = security
        self.product = product
        self.bought = self.sold = 0
        self.buy_value = self.sell_value = 0.0

    def add(self, trade: Trade) -> None:
        if trade.order.form.is_buy:
            self.bought += trade.quantity
            self.buy_value += trade.quantity * trade.price
        else:
            self.sold += trade.quantity
            self.sell_value += trade.quantity * trade.price

    @property
    def quantity(self) -> int:
        """Below zero for what was sold."""
        return self.bought - self.sold

    @property
    def buy_price(self) -> float:
        return self.buy_value / self.bought if self.bought else 0.0

    @property
    def sell_price(self) -> float:
        return self.sell_value / self.sold if self.sold else 0.0

    @property
    def average(self) -> float:
        if self.quantity == 0:
            return 0.0
        return self.buy_price if self.quantity > 0 else self.sell_price

    @property
    def realised(self) -> float:
        return min(self.bought, self.sold) * (self.sell_price - self.buy_price)

    def report(self) -> dict[str, object]:
        listing = self.security.listing
        last = self.security.price / listing.divisor
        value = self.sell_value - self.buy_value
        pnl = value + self.quantity * last
        return {
            "tradingsymbol": listing.symbol,
            "exchange": listing.exchange,
            "instrument_token": listing.token,
            "product": self.product,
            "quantity": self.quantity,
            "overnight_quantity": 0,
            "multiplier": 1,
            "average_price": self.average,
            "close_price": self.security.close / listing.divisor,
            "last_price": last,
            "value": value,
            "pnl": pnl,
            "m2m": pnl,
            "unrealised": pnl - self.realised,
            "realised": self.realised,
            "buy_quantity": self.bought,
            "buy_price": self.buy_price,
            "buy_value": self.buy_value,
            "buy_m2m": self.buy_value,
            "sell_quantity": self.sold,
            "sell_price": self.sell_price,
            "sell_value": self.sell_value,
            "sell_m2m": self.sell_value,
            "day_buy_quantity": self.bought,
            "day_buy_price": self.buy_price,
            "day_buy_value": self.buy_value,
            "day_sell_quantity": self.sold,
            "day_sell_price": self.sell_price,
            "day_sell_value": self.sell_value,
        }


def holding(security: Security, opening: int, sold: int) -> dict[str, object]:
    """One row of the holdings: `sold` of the `opening` shares were sold today."""
    listing = security.listing
    last, close = (price / listing.divisor for price in (security.price, security.close))
    average = round(close * 0.9, 2)
    return {
        "tradingsymbol": listing.symbol,
        "exchange": listing.exchange,
        "instrument_token": listing.token,
        "isin": f"INE{listing.token:06d}01",
        "product": "CNC",
        "price": 0,
        "quantity": opening - sold,
        "used_quantity": sold,
        "t1_quantity": 0,
        "realised_quantity": opening - sold,
        "authorised_quantity": 0,
        "authorised_date": "",
        "opening_quantity": opening,
        "collateral_quantity": 0,
        "collateral_type": "",
        "discrepancy": False,
        "average_price": average,
        "last_price": last,
        "close_price": close,
        "pnl": (last - average) * (opening - sold),
        "day_change": last - close,
        "day_change_percentage": (last - close) / close * 100 if close else 0,
    }


def segment_of(listing: Listing) -> str:
    """Of the two accounts of money, the one that pays."""
    return "commodity" if listing.exchange in _COMMODITIES else "equity"


def margin(listing: Listing, product: str, quantity: int, price: float, *, is_buy: bool) -> float:
    """Rupees that are blocked for so many at this price."""
    value = quantity * price
    if listing.is_share:
        if product == "CNC":
            return value if is_buy else 0.0  # what is sold is in the holdings
        return value * _INTRADAY
    if listing.kind in ("CE", "PE"):
        return value if is_buy else value + _DERIVATIVE * quantity * listing.strike
    return value * _DERIVATIVE


def required(form: OrderForm, listing: Listing, price: float, position: int) -> float:
    """For one order at this price; what closes a `position` needs nothing."""
    closing = max(0, -position if form.is_buy else position)
    opening = max(0, form.quantity - closing)
    return margin(listing, form.product, opening, price, is_buy=form.is_buy)


def _used(segment: str, held: Mapping[Key, Position]) -> float:
    """Rupees that the positions of this segment block."""
    return sum(
        margin(p.security.listing, p.product, abs(p.quantity), p.average, is_buy=p.quantity > 0)
        for p in held.values()
        if segment_of(p.security.listing) == segment
    )


def _realised(segment: str, held: Mapping[Key, Position]) -> float:
    mine = (p for p in held.values() if segment_of(p.security.listing) == segment)
    return sum(position.realised for position in mine)


def net(segment: str, held: Mapping[Key, Position], blocked: Mapping[str, float]) -> float:
    """Rupees that are left. `blocked` by waiting orders, by segment."""
    spent = _used(segment, held) + blocked.get(segment, 0.0)
    return CASH[segment] + _realised(segment, held) - spent


def margins(
    held: Mapping[Key, Position], blocked: Mapping[str, float]
) -> dict[str, dict[str, object]]:
    """The answer of `/user/margins`."""
    return {segment: _margins(segment, held, blocked) for segment in CASH}


def _margins(
    segment: str, held: Mapping[Key, Position], blocked: Mapping[str, float]
) -> dict[str, object]:
    used, left = _used(segment, held), net(segment, held, blocked)
    return {
        "enabled": True,
        "net": left,
        "available": {
            "adhoc_margin": 0,
            "cash": CASH[segment],
            "opening_balance": CASH[segment],
            "live_balance": left,
            "collateral": 0,
            "intraday_payin": 0,
        },
        "utilised": {
            "debits": used + blocked.get(segment, 0.0),
            "exposure": used,
            "m2m_realised": _realised(segment, held),
            "m2m_unrealised": 0,
            "option_premium": 0,
            "payout": 0,
            "span": 0,
            "holding_sales": 0,
            "turnover": 0,
            "liquid_collateral": 0,
            "stock_collateral": 0,
            "delivery": 0,
        },
    }
