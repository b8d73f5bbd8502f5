"""Reads what a client wants of an order, and refuses what Kite refuses. Pure.

Every refusal is an OrderError with Kite's error type and, where it is known, Kite's own sentence
(kite.trade/docs/connect/v3/orders, its forum, support.zerodha.com).
"""

import re
from collections.abc import Mapping

import msgspec

from kitefeed.protocol.kite.ticks import is_index
from kitefeed.simulator.listings import Listing
from kitefeed.simulator.market import Security

VARIETIES = ("regular", "amo", "iceberg")
OTHER_VARIETIES = ("co", "auction")  # of Kite, not of the simulator
SIDES = ("BUY", "SELL")
ORDER_TYPES = ("MARKET", "LIMIT", "SL", "SL-M")
VALIDITIES = ("DAY", "IOC", "TTL")
PRODUCTS = ("CNC", "MIS", "NRML", "MTF")
_OF_SHARES = ("CNC", "MIS", "MTF")
_OF_DERIVATIVES = ("MIS", "NRML")
SHARES_MAX = 100_000  # in one order of a share
FREEZE = {"NIFTY": 1_800, "BANKNIFTY": 900, "SENSEX": 1_000}  # in one order, by name of the index
LEGS = range(2, 11)  # of an iceberg order
TTL_MINUTES = range(1, 61)
_TAG = re.compile(r"[A-Za-z0-9 ]{1,20}")
_DIGITS_MAX = 12


class OrderError(ValueError):
    """A request that Kite refuses; `error_type` is the class of its exception."""

    def __init__(self, message: str, error_type: str = "InputException") -> None:
        super().__init__(message)
        self.error_type = error_type


class OrderForm(msgspec.Struct, frozen=True):
    """One order as it was asked for, checked. Prices in rupees, as given; 0 is none."""

    variety: str
    transaction_type: str
    order_type: str
    product: str
    validity: str
    quantity: int
    price: float = 0
    trigger_price: float = 0
    disclosed_quantity: int = 0
    validity_ttl: int = 0  # minutes
    market_protection: float = 0
    tag: str | None = None
    iceberg_legs: int = 0
    iceberg_quantity: int = 0

    @property
    def is_buy(self) -> bool:
        return self.transaction_type == "BUY"

    @property
    def is_stop(self) -> bool:
        return self.order_type in ("SL", "SL-M")

    @property
    def has_limit(self) -> bool:
        return self.order_type in ("LIMIT", "SL")


def parse_form(
    variety: str, form: Mapping[str, str], security: Security, *, is_leg: bool = False
) -> OrderForm:
    """The form, checked by itself and against the instrument. OrderError for what Kite refuses.
    `is_leg`: of an iceberg order, which is smaller than the whole."""
    if variety in OTHER_VARIETIES:
        raise OrderError(
            f"The simulator takes no orders of variety `{variety}`, only {', '.join(VARIETIES)}."
        )
    if variety not in VARIETIES:
        raise OrderError("Invalid `variety`.")
    order_type = _word(form, "order_type", ORDER_TYPES)
    parsed = OrderForm(
        variety,
        _word(form, "transaction_type", SIDES),
        order_type,
        _word(form, "product", PRODUCTS),
        _word(form, "validity", VALIDITIES, "DAY"),
        _whole(form, "quantity", 1, needed=True),
        # A price that the type has no use for is dropped, as Kite does.
        price=_number(form, "price") if order_type in ("LIMIT", "SL") else 0,
        trigger_price=_number(form, "trigger_price") if order_type in ("SL", "SL-M") else 0,
        disclosed_quantity=_whole(form, "disclosed_quantity", 0),
        validity_ttl=_whole(form, "validity_ttl", 0),
        market_protection=_protection(form),
        tag=form.get("tag") or None,
        iceberg_legs=_whole(form, "iceberg_legs", 0),
        iceberg_quantity=_whole(form, "iceberg_quantity", 0),
    )
    _check_words(parsed, security.listing)
    _check_prices(parsed, security)
    _check_quantity(parsed, security.listing)
    if variety == "iceberg" and not is_leg:
        _check_legs(parsed, max(1, security.listing.lot_size))
    return parsed


def _word(form: Mapping[str, str], name: str, words: tuple[str, ...], default: str = "") -> str:
    value = form.get(name) or default
    if not value:
        raise OrderError(f"Missing or empty field `{name}`")
    if value not in words:
        raise OrderError(f"Invalid `{name}`.")
    return value


def _whole(form: Mapping[str, str], name: str, low: int, *, needed: bool = False) -> int:
    text = form.get(name, "")
    if not text:
        if needed:
            raise OrderError(f"Missing or empty field `{name}`")
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and int(text) >= low):
        raise OrderError(f"Invalid `{name}`.")
    return int(text)


def _number(form: Mapping[str, str], name: str) -> float:
    text = form.get(name) or "0"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10**_DIGITS_MAX:  # NaN is not, either
        raise OrderError(f"Invalid `{name}`.")
    return value


def _protection(form: Mapping[str, str]) -> float:
    """-1 is Kite's own choice, up to 100 a percentage."""
    if form.get("market_protection") in ("-1", "-1.0"):
        return -1
    value = _number(form, "market_protection")
    if value > 100:
        raise OrderError("Invalid `market_protection`.")
    return value


def _check_words(form: OrderForm, listing: Listing) -> None:
    products = _OF_SHARES if listing.is_share else _OF_DERIVATIVES
    if form.product not in products:
        raise OrderError(
            f"Invalid `product`. {listing.exchange}:{listing.symbol} takes {', '.join(products)}."
        )
    if form.tag is not None and not _TAG.fullmatch(form.tag):
        raise OrderError("Invalid `tag`. It should be alphanumeric, 20 characters at most.")
    if form.validity == "TTL" and form.validity_ttl not in TTL_MINUTES:
        raise OrderError("Invalid `validity_ttl`. It should be from 1 to 60 minutes.")


def _check_prices(form: OrderForm, security: Security) -> None:
    if form.has_limit and not form.price:
        raise OrderError("Missing or empty field `price`")
    if form.is_stop and not form.trigger_price:
        raise OrderError("Missing or empty field `trigger_price`")
    for name, value in (("price", form.price), ("trigger price", form.trigger_price)):
        ticks = value * security.listing.divisor / security.tick
        if abs(ticks - round(ticks)) >= 1e-4:  # a client computes in floats
            tick_size = security.tick / security.listing.divisor
            raise OrderError(
                f"Tick size for this script is {tick_size:g}. Kindly enter {name} in the multiple "
                "of tick size for this script"
            )
    if form.order_type == "SL" and form.is_buy and form.trigger_price > form.price:
        raise OrderError("Trigger price can't be higher than price")
    if form.order_type == "SL" and not form.is_buy and form.trigger_price < form.price:
        raise OrderError("Trigger price can't be lesser than price")
    if form.has_limit:
        _check_circuits(form.price, security)


def _check_circuits(price: float, security: Security) -> None:
    low, high = (limit / security.listing.divisor for limit in security.circuits())
    if price < low:
        raise OrderError(
            f"Your order price is lower than the current lower circuit limit of {low:g}. "
            "You can place an order within the daily range."
        )
    if price > high:
        raise OrderError(
            f"Your order price is higher than the current upper circuit limit of {high:g}. "
            "You can place an order within the daily range."
        )


def _check_quantity(form: OrderForm, listing: Listing) -> None:
    lot = max(1, listing.lot_size)
    if form.quantity % lot:
        raise OrderError(f"Invalid `quantity`. It should be a multiple of the lot size, {lot}.")
    if form.disclosed_quantity > form.quantity:
        raise OrderError("Invalid `disclosed_quantity`. It is higher than the quantity.")


def _check_legs(form: OrderForm, lot: int) -> None:
    if form.iceberg_legs not in LEGS:
        raise OrderError(f"Invalid `iceberg_legs`. It should be from {LEGS[0]} to {LEGS[-1]}.")
    size = form.iceberg_quantity
    if not size or size % lot or -(-form.quantity // size) != form.iceberg_legs:
        raise OrderError("Invalid `iceberg_quantity`. It should be quantity/iceberg_legs.")


def check_freeze(quantity: int, listing: Listing) -> None:
    """OrderError for more than one order may have."""
    frozen_above = freeze_quantity(listing)
    if frozen_above is None or quantity <= frozen_above:
        return
    lot = max(1, listing.lot_size)
    raise OrderError(
        f"The order quantity {quantity} ({quantity // lot} lots) is higher than the maximum "
        f"quantity of {frozen_above} ({frozen_above // lot} lots) allowed by the exchanges. "
        "Please reduce the order quantity or use iceberg orders."
    )


def freeze_quantity(listing: Listing) -> int | None:
    """The most of one order, in whole lots; None where no limit is known."""
    if listing.is_share:
        return SHARES_MAX
    most = FREEZE.get(listing.name)
    return None if most is None else most - most % max(1, listing.lot_size)


def tradable(listing: Listing | None) -> Listing:
    """OrderError for what is not listed, and for an index."""
    if listing is None or is_index(listing.token):
        raise OrderError(
            "The instrument you are placing an order for has either expired or does not exist."
        )
    return listing
