"""One order and its life, as Kite reports it. Pure: times are arguments.

    PUT ORDER REQ RECEIVED, VALIDATION PENDING, OPEN PENDING
      -> REJECTED
      -> OPEN            -> COMPLETE | CANCELLED
      -> TRIGGER PENDING -> OPEN | CANCELLED
    AMO REQ RECEIVED (variety amo), until the market opens

Every step is kept in the history; those of the second part are told on the socket, too.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from kitefeed.protocol.kite.units import IST, NS_PER_S
from kitefeed.simulator.accounts import App
from kitefeed.simulator.market import Security
from kitefeed.simulator.order_form import OrderForm

MODIFICATIONS_MAX = 25


class Status(StrEnum):
    RECEIVED = "PUT ORDER REQ RECEIVED"
    VALIDATION = "VALIDATION PENDING"
    OPEN_PENDING = "OPEN PENDING"
    AMO = "AMO REQ RECEIVED"
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER PENDING"
    MODIFY_VALIDATION = "MODIFY VALIDATION PENDING"
    MODIFY_PENDING = "MODIFY PENDING"
    MODIFIED = "MODIFIED"
    CANCEL_PENDING = "CANCEL PENDING"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


WAITING = frozenset({Status.OPEN, Status.TRIGGER_PENDING, Status.AMO})
_TOLD = frozenset(
    {Status.OPEN, Status.TRIGGER_PENDING, Status.COMPLETE, Status.CANCELLED, Status.REJECTED}
)
Tell = Callable[[dict[str, object]], None]


class Leg(NamedTuple):
    """One of the orders into which an iceberg order is cut, numbered from 1."""

    whole: OrderForm
    number: int

    @property
    def quantity(self) -> int:
        return min(self.whole.iceberg_quantity, self.whole.quantity - self._before)

    @property
    def _before(self) -> int:
        return (self.number - 1) * self.whole.iceberg_quantity

    @property
    def has_next(self) -> bool:
        return self.number < self.whole.iceberg_legs

    def next(self) -> "Leg":
        return self._replace(number=self.number + 1)

    def report(self) -> dict[str, object]:
        return {
            "leg": self.number,
            "legs": self.whole.iceberg_legs,
            "leg_quantity": self.whole.iceberg_quantity,
            "total_quantity": self.whole.quantity,
            "remaining_quantity": self.whole.quantity - self._before - self.quantity,
        }


class Order:
    """`tell` is given what the sockets are to be told."""

    def __init__(
        self,
        app: App,
        form: OrderForm,
        security: Security,
        number: int,
        now_ns: int,
        tell: Tell,
        leg: Leg | None = None,
    ) -> None:
        self.app = app
        self.form = form
        self.security = security
        self.number = number
        self.status = Status.RECEIVED
        self.message: str | None = None
        self.filled = 0
        self.cancelled = 0
        self.average = 0.0  # rupees
        self.modifications = 0
        self.is_triggered = False
        self.leg = leg
        self.placed_ns = self.changed_ns = now_ns
        self.exchange_ns: int | None = None  # when the exchange first had it
        self.order_id = f"{_moment(now_ns):%y%m%d}{number:09d}"
        self.history: list[dict[str, object]] = []
        self.is_made_up = False
        self._overruled: dict[str, object] = {}
        self._tell = tell
        for status in (Status.RECEIVED, Status.VALIDATION):
            self._note(status)

    @property
    def is_waiting(self) -> bool:
        """Whether it can still be modified, cancelled or filled."""
        return self.status in WAITING

    @property
    def pending(self) -> int:
        return self.form.quantity - self.filled

    def move(self, status: Status, now_ns: int, message: str | None = None) -> None:
        self.status = status
        self.changed_ns = now_ns
        self.message = message
        if status in (Status.OPEN, Status.TRIGGER_PENDING) and self.exchange_ns is None:
            self.exchange_ns = now_ns
        self._note(status)
        if status in _TOLD:
            self._tell(self.postback())

    def fill(self, price: float, now_ns: int) -> None:
        """All of it at once, at so many rupees."""
        self.filled = self.form.quantity
        self.average = price
        self.move(Status.COMPLETE, now_ns)

    def cancel(self, now_ns: int, message: str | None = None) -> None:
        self._note(Status.CANCEL_PENDING)
        self.cancelled = self.pending
        self.move(Status.CANCELLED, now_ns, message)

    def modify(self, form: OrderForm, now_ns: int) -> None:
        """The new form; whether it is open or waits for a trigger follows from it."""
        for status in (Status.MODIFY_VALIDATION, Status.MODIFY_PENDING):
            self._note(status)
        self.form = form
        self.modifications += 1
        self.changed_ns = now_ns
        self._note(Status.MODIFIED)
        self._tell(self.postback() | {"status": "UPDATE"})
        if self.status is not Status.AMO:
            waits = form.is_stop and not self.is_triggered
            self.status = Status.TRIGGER_PENDING if waits else Status.OPEN
        self._note(self.status)

    def overrule(self, fields: Mapping[str, object], now_ns: int) -> None:
        """From now on Kite says this of it, whatever it is."""
        self.is_made_up = True
        self.changed_ns = now_ns
        self._overruled |= fields
        self.history.append(self.report())

    def _note(self, status: Status) -> None:
        self.history.append(self.report() | {"status": status.value})

    def report(self) -> dict[str, object]:
        """As in the list of orders; there `UPDATE`, a word of the socket, is an open order."""
        overruled = self._overruled
        if overruled.get("status") == "UPDATE":
            overruled = overruled | {"status": Status.OPEN.value}
        return self._report() | overruled

    def _report(self) -> dict[str, object]:
        form, listing = self.form, self.security.listing
        stamp, exchange = _text(self.changed_ns), _text(self.exchange_ns)
        return {
            "placed_by": self.app.user_id,
            "order_id": self.order_id,
            "exchange_order_id": None if exchange is None else f"1{self.number:015d}",
            "parent_order_id": None,
            "status": self.status.value,
            "status_message": self.message,
            "status_message_raw": self.message,
            "order_timestamp": stamp,
            "exchange_update_timestamp": None if exchange is None else stamp,
            "exchange_timestamp": exchange,
            "variety": form.variety,
            "modified": bool(self.modifications),
            "exchange": listing.exchange,
            "tradingsymbol": listing.symbol,
            "instrument_token": listing.token,
            "order_type": form.order_type,
            "transaction_type": form.transaction_type,
            "validity": form.validity,
            **({"validity_ttl": form.validity_ttl} if form.validity_ttl else {}),
            "product": form.product,
            "quantity": form.quantity,
            "disclosed_quantity": form.disclosed_quantity,
            "price": form.price,
            "trigger_price": form.trigger_price,
            "average_price": self.average,
            "filled_quantity": self.filled,
            "pending_quantity": self.pending if self.status is not Status.REJECTED else 0,
            "cancelled_quantity": self.cancelled,
            "market_protection": form.market_protection,
            "meta": {"iceberg": self.leg.report()} if self.leg else {},
            "tag": form.tag,
            **({"tags": [form.tag]} if form.tag else {}),
            "guid": f"{self.number:08x}",
        }

    def postback(self) -> dict[str, object]:
        """As pushed on the socket: with the user, and a checksum for who knows the secret."""
        report = {name: value for name, value in self.report().items() if name != "modified"}
        text = f"{self.order_id}{_text(self.changed_ns)}{self.app.api_secret}"
        return {
            "user_id": self.app.user_id,
            "unfilled_quantity": 0,
            "app_id": 1000 + self.app.number,
            "checksum": hashlib.sha256(text.encode()).hexdigest(),
            **report,
            **self._overruled,
        }


class Trade:
    """One fill."""

    def __init__(self, order: Order, number: int, now_ns: int) -> None:
        self.order = order
        self.quantity = order.filled
        self.price = order.average  # rupees
        self.number = number
        self.at_ns = now_ns

    def report(self) -> dict[str, object]:
        listing, form = self.order.security.listing, self.order.form
        stamp = _text(self.at_ns)
        return {
            "trade_id": str(self.number),
            "order_id": self.order.order_id,
            "exchange": listing.exchange,
            "tradingsymbol": listing.symbol,
            "instrument_token": listing.token,
            "product": form.product,
            "average_price": self.price,
            "quantity": self.quantity,
            "exchange_order_id": f"1{self.order.number:015d}",
            "transaction_type": form.transaction_type,
            "fill_timestamp": stamp,
            "order_timestamp": f"{_moment(self.order.placed_ns):%H:%M:%S}",
            "exchange_timestamp": stamp,
        }


def _moment(utc_ns: int) -> datetime:
    return datetime.fromtimestamp(utc_ns // NS_PER_S, IST)


def _text(utc_ns: int | None) -> str | None:
    return None if utc_ns is None else f"{_moment(utc_ns):%Y-%m-%d %H:%M:%S}"
