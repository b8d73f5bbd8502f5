"""The orders of one account, and how the simulated market fills them. Pure: times are arguments.

A market order is complete at the last price. A limit order is filled at its limit when the last
price reaches it, or at the last price when it is there already; a stop order is triggered by the
last price. Each is filled whole, and the market does not feel it.
"""

from collections.abc import Iterator, Mapping
from itertools import count

import msgspec

from kitefeed.simulator import portfolio
from kitefeed.simulator.accounts import App
from kitefeed.simulator.market import Market, Security
from kitefeed.simulator.order_form import (
    OrderError,
    OrderForm,
    check_freeze,
    freeze_quantity,
    parse_form,
    tradable,
)
from kitefeed.simulator.orders import MODIFICATIONS_MAX, Leg, Order, Status, Trade

NS_PER_MINUTE = 60_000_000_000
_CHANGEABLE = (
    "quantity", "price", "order_type", "trigger_price", "validity", "validity_ttl",
    "disclosed_quantity", "market_protection",
)  # fmt: skip
_NOT_FOUND = "Couldn't find that `order_id`."


class OrderBook:
    """`outbox` holds what the sockets of the app are to be told, until somebody takes it;
    `waiting`, by token, the orders that are neither filled nor over."""

    def __init__(self, app: App, market: Market, numbers: Iterator[int]) -> None:
        self.outbox: list[dict[str, object]] = []
        self.orders: dict[str, Order] = {}
        self.trades: list[Trade] = []
        self._app = app
        self._market = market
        self._numbers = numbers
        self._trade_numbers = count(10_000_000)
        self.waiting: dict[int, list[Order]] = {}
        self._held: dict[portfolio.Key, portfolio.Position] = {}

    # --- requests ---------------------------------------------------------------------------------

    def place(
        self, variety: str, form: Mapping[str, str], now_ns: int
    ) -> tuple[Order, list[Order]]:
        """The order; and when it was to be sliced, all slices. OrderError for what Kite refuses;
        what its risk system or the exchange refuses is a rejected order."""
        security = self._security(form, now_ns)
        parsed = parse_form(variety, form, security)
        if not self._market.is_open and variety != "amo":
            raise OrderError(
                "Markets are closed right now. Use GTT for placing long standing orders instead."
            )
        if variety == "iceberg":
            return self._place_leg(Leg(parsed, 1), security, now_ns), []
        if form.get("autoslice") == "true":
            slices = list(self._slices(parsed, security, now_ns))
            return slices[0], slices
        check_freeze(parsed.quantity, security.listing)
        return self._enter(parsed, security, now_ns), []

    def _security(self, form: Mapping[str, str], now_ns: int) -> Security:
        for name in ("exchange", "tradingsymbol"):
            if not form.get(name):
                raise OrderError(f"Missing or empty field `{name}`")
        listing = tradable(self._market.by_key.get(f"{form['exchange']}:{form['tradingsymbol']}"))
        security = self._market.read(listing.token, now_ns)
        assert security is not None, "it is listed"  # noqa: S101
        return security

    def make_up(
        self,
        variety: str,
        form: Mapping[str, str],
        changes: Mapping[str, object],
        now_ns: int,
    ) -> Order:
        """An order of which Kite says what `changes` say, complete where they say nothing; or other
        changes of one that was made up before, by its `order_id`. It moves neither money nor
        shares. OrderError for a bad form, and for an order that was placed."""
        order = self.orders.get(str(changes.get("order_id")))
        if order is None:
            security = self._security(form, now_ns)
            parsed = parse_form(variety, form, security)
            order = Order(self._app, parsed, security, next(self._numbers), now_ns, lambda _: None)
            order.exchange_ns = now_ns
            order.fill(security.price / security.listing.divisor, now_ns)
        elif not order.is_made_up:
            raise OrderError(f"{order.order_id} was placed: modify or cancel it")
        order.overrule(changes, now_ns)
        self.orders[str(order.report()["order_id"])] = order
        return order

    def modify(self, variety: str, order_id: str, form: Mapping[str, str], now_ns: int) -> Order:
        order = self._waiting_order(variety, order_id, "modified")
        if order.modifications >= MODIFICATIONS_MAX:
            raise OrderError("Maximum allowed order modifications exceeded.", "OrderException")
        was = order.form
        wanted = {name: str(getattr(was, name) or "") for name in OrderForm.__struct_fields__}
        wanted |= {name: form[name] for name in _CHANGEABLE if form.get(name)}
        parsed = parse_form(variety, wanted, order.security, is_leg=True)
        check_freeze(parsed.quantity, order.security.listing)
        lacks = self._lack(parsed, order.security, but=order)
        if lacks:
            raise OrderError(lacks, "MarginException")
        order.modify(parsed, now_ns)
        if order.status is not Status.AMO:
            self._match(order, now_ns, is_new=True)
        return order

    def cancel(self, variety: str, order_id: str, now_ns: int) -> Order:
        order = self._waiting_order(variety, order_id, "cancelled")
        self._end(order)
        order.cancel(now_ns)
        return order

    def find(self, order_id: str) -> Order:
        """OrderError when there is no such order."""
        order = self.orders.get(order_id)
        if order is None:
            raise OrderError(_NOT_FOUND, "OrderException")
        return order

    def _waiting_order(self, variety: str, order_id: str, what: str) -> Order:
        order = self.find(order_id)
        if order.form.variety != variety:
            raise OrderError(_NOT_FOUND, "OrderException")
        if not order.is_waiting:
            raise OrderError(
                f"Order cannot be {what} as it is being processed. Try later.", "OrderException"
            )
        return order

    # --- the life of an order ---------------------------------------------------------------------

    def _slices(self, form: OrderForm, security: Security, now_ns: int) -> Iterator[Order]:
        most = freeze_quantity(security.listing) or form.quantity
        left = form.quantity
        while left:
            size = min(left, most)
            yield self._enter(msgspec.structs.replace(form, quantity=size), security, now_ns)
            left -= size

    def _place_leg(self, leg: Leg, security: Security, now_ns: int) -> Order:
        """One leg of an iceberg order; the next one follows when it is complete."""
        check_freeze(leg.quantity, security.listing)
        form = msgspec.structs.replace(leg.whole, quantity=leg.quantity)
        return self._enter(form, security, now_ns, leg)

    def _enter(
        self,
        form: OrderForm,
        security: Security,
        now_ns: int,
        leg: Leg | None = None,
    ) -> Order:
        number = next(self._numbers)
        order = Order(self._app, form, security, number, now_ns, self.outbox.append, leg)
        self.orders[order.order_id] = order
        reason = self._lack(form, security) or _wrong_side(form, security)
        if reason:
            order.move(Status.REJECTED, now_ns, reason)
        elif form.variety == "amo":
            self._wait(order)
            order.move(Status.AMO, now_ns)
        else:
            self._send(order, now_ns)
        return order

    def _send(self, order: Order, now_ns: int) -> None:
        """To the exchange."""
        self._wait(order)
        order.move(Status.OPEN_PENDING, now_ns)
        order.move(Status.TRIGGER_PENDING if order.form.is_stop else Status.OPEN, now_ns)
        self._match(order, now_ns, is_new=True)
        if order.form.validity == "IOC" and order.status is Status.OPEN:
            self._end(order)
            order.cancel(now_ns)

    def _wait(self, order: Order) -> None:
        waiting = self.waiting.setdefault(order.security.listing.token, [])
        if order not in waiting:
            waiting.append(order)

    def _end(self, order: Order) -> None:
        token = order.security.listing.token
        self.waiting[token].remove(order)
        if not self.waiting[token]:
            del self.waiting[token]

    def _all_waiting(self) -> list[Order]:
        return [order for orders in self.waiting.values() for order in orders]

    def on_value(self, security: Security, now_ns: int) -> None:
        """The market has a new value of an instrument that somebody waits for."""
        for order in list(self.waiting[security.listing.token]):
            if order.status is not Status.AMO:
                self._match(order, now_ns, is_new=False)

    def on_time(self, now_ns: int) -> None:
        """Ends what was good for some minutes only."""
        for order in self._all_waiting():
            minutes = order.form.validity_ttl if order.form.validity == "TTL" else 0
            if minutes and now_ns >= order.placed_ns + minutes * NS_PER_MINUTE:
                self._end(order)
                order.cancel(now_ns)

    def on_open(self, now_ns: int) -> None:
        """The market opens: what was placed after the last one is sent."""
        for order in self._all_waiting():
            if order.status is Status.AMO:
                self._send(order, now_ns)

    def _match(self, order: Order, now_ns: int, *, is_new: bool) -> None:
        form, security = order.form, order.security
        last = security.price / security.listing.divisor
        if order.status is Status.TRIGGER_PENDING:
            is_hit = last >= form.trigger_price if form.is_buy else last <= form.trigger_price
            if not is_hit:
                return
            order.is_triggered = True
            order.move(Status.OPEN, now_ns)
            is_new = True
        if not form.has_limit:
            self._fill(order, last, now_ns)
        elif last <= form.price if form.is_buy else last >= form.price:
            self._fill(order, last if is_new else form.price, now_ns)

    def _fill(self, order: Order, price: float, now_ns: int) -> None:
        self._end(order)
        order.fill(price, now_ns)
        trade = Trade(order, next(self._trade_numbers), now_ns)
        self.trades.append(trade)
        key = portfolio.Key(order.security.listing.token, order.form.product)
        self._held.setdefault(key, portfolio.Position(order.security, key.product)).add(trade)
        if order.leg is not None and order.leg.has_next:
            self._place_leg(order.leg.next(), order.security, now_ns)

    # --- money and shares -------------------------------------------------------------------------

    def _lack(self, form: OrderForm, security: Security, but: Order | None = None) -> str:
        """Say what the account lacks for this order, in Kite's words; "" when nothing."""
        listing = security.listing
        if form.product == "CNC" and not form.is_buy:
            if form.quantity > self._sellable(security, but):
                return (
                    "Insufficient stock holding or there are pending sell orders for this stock. "
                    "Check the orderbook for open orders."
                )
            return ""
        need = self._required(form, security)
        net = portfolio.net(portfolio.segment_of(listing), self._held, self._blocked(but))
        if need <= net:
            return ""
        return (
            f"Insufficient funds. Required margin is {need:.2f} but available margin is {net:.2f}. "
            "Check the orderbook for open orders."
        )

    def _required(self, form: OrderForm, security: Security) -> float:
        """Rupees that this order would block."""
        price = form.price or security.price / security.listing.divisor
        position = self._quantity(security, form.product)
        return portfolio.required(form, security.listing, price, position)

    def _quantity(self, security: Security, product: str) -> int:
        """Of today's position; below zero for what was sold."""
        position = self._held.get(portfolio.Key(security.listing.token, product))
        return position.quantity if position else 0

    def _sellable(self, security: Security, but: Order | None) -> int:
        """Shares that may be sold for delivery: held, or bought today, and not yet on offer."""
        token = security.listing.token
        on_offer = sum(
            order.pending
            for order in self.waiting.get(token, ())
            if order is not but and order.form.product == "CNC" and not order.form.is_buy
        )
        held = portfolio.HOLDINGS.get(security.listing.key, 0)
        return held + self._quantity(security, "CNC") - on_offer

    def _blocked(self, but: Order | None = None) -> dict[str, float]:
        """Rupees blocked for waiting orders, by segment."""
        blocked: dict[str, float] = {}
        for order in self._all_waiting():
            segment = portfolio.segment_of(order.security.listing)
            if order is not but:
                need = self._required(order.form, order.security)
                blocked[segment] = blocked.get(segment, 0.0) + need
        return blocked

    def margins(self) -> dict[str, dict[str, object]]:
        return portfolio.margins(self._held, self._blocked())

    def positions(self) -> list[dict[str, object]]:
        return [each.report() for each in self._held.values()]

    def holdings(self, now_ns: int) -> list[dict[str, object]]:
        found = [
            (self._market.find(key, now_ns), opening) for key, opening in portfolio.HOLDINGS.items()
        ]
        return [
            portfolio.holding(security, opening, max(0, -self._quantity(security, "CNC")))
            for security, opening in found
            if security is not None
        ]


def _wrong_side(form: OrderForm, security: Security) -> str:
    """A stop order whose trigger the market has already passed; "" for any other."""
    last = security.price / security.listing.divisor
    if not form.is_stop or (form.trigger_price > last) is form.is_buy:
        return ""
    side, where = ("buy", "higher") if form.is_buy else ("sell", "lower")
    return (
        f"Trigger price for stoploss {side} orders should be {where} than the last traded price "
        f"({last:g})."
    )
