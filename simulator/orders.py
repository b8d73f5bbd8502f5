"""An order as Kite reports it: the postback object, pushed on every socket of the app.

Nothing is matched: a market order is complete at the last price, any other one stays open.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from kitefeed.protocol.kite.rest import IST
from kitefeed.simulator.accounts import App
from kitefeed.simulator.market import Security

NS_PER_S = 1_000_000_000
QUANTITY_MAX = 10_000_000


class OrderError(ValueError):
    """The order lacks a field or has a bad one; the sentence names it."""


def new_order(
    app: App, variety: str, form: Mapping[str, str], security: Security, number: int, now_ns: int
) -> dict[str, object]:
    """The order object. OrderError for a form that Kite would refuse."""
    quantity = _quantity(form)
    if form.get("transaction_type") not in ("BUY", "SELL"):
        raise OrderError("`transaction_type` must be BUY or SELL.")
    is_complete = form.get("order_type", "MARKET") == "MARKET"
    filled = quantity if is_complete else 0
    now = datetime.fromtimestamp(now_ns // NS_PER_S, IST)
    stamp = now.strftime("%Y-%m-%d %H:%M:%S")
    order_id = f"{now:%y%m%d}{number:09d}"
    price = security.price / security.listing.divisor
    return {
        "user_id": app.user_id,
        "unfilled_quantity": 0,
        "app_id": 1000 + app.number,
        "checksum": _checksum(order_id, stamp, app),
        "placed_by": app.user_id,
        "order_id": order_id,
        "exchange_order_id": f"1{number:015d}",
        "parent_order_id": None,
        "status": "COMPLETE" if is_complete else "OPEN",
        "status_message": None,
        "status_message_raw": None,
        "order_timestamp": stamp,
        "exchange_update_timestamp": stamp,
        "exchange_timestamp": stamp,
        "variety": variety,
        "exchange": security.listing.exchange,
        "tradingsymbol": security.listing.symbol,
        "instrument_token": security.listing.token,
        "order_type": form.get("order_type", "MARKET"),
        "transaction_type": form["transaction_type"],
        "validity": form.get("validity", "DAY"),
        "product": form.get("product", "CNC"),
        "quantity": quantity,
        "disclosed_quantity": 0,
        "price": _price(form),
        "trigger_price": 0,
        "average_price": price if is_complete else 0,
        "filled_quantity": filled,
        "pending_quantity": quantity - filled,
        "cancelled_quantity": 0,
        "market_protection": 0,
        "meta": {},
        "tag": form.get("tag"),
        "guid": f"{number:08x}",
    }


def _quantity(form: Mapping[str, str]) -> int:
    text = form.get("quantity", "")
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= QUANTITY_MAX):
        raise OrderError("`quantity` must be a whole number above zero.")
    return int(text)


def _price(form: Mapping[str, str]) -> float:
    try:
        return float(form.get("price") or 0)
    except ValueError:
        raise OrderError("`price` must be a number.") from None


def _checksum(order_id: str, stamp: str, app: App) -> str:
    return hashlib.sha256((order_id + stamp + app.api_secret).encode()).hexdigest()
