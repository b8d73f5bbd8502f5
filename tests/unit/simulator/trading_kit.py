"""An exchange with one account whose market stands where a test puts it."""

import datetime as dt
from typing import Any

from kitefeed.simulator.accounts import Accounts
from kitefeed.simulator.exchange import Exchange
from kitefeed.simulator.listings import list_instruments
from kitefeed.simulator.market import Market, Security
from kitefeed.simulator.orders import Order

NS = 1_000_000_000
START_NS = 1_795_400_000 * NS
LISTINGS = list_instruments(100, dt.date(2026, 11, 23))
FUTURE = "NIFTY26NOVFUT"


class Floor:
    """`place` and its kin act at `now_ns`; `trade` gives an instrument a new last price."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.accounts = Accounts(1, 2)
        self.market = Market(LISTINGS, 1, is_open=is_open)
        self.exchange = Exchange(self.accounts, self.market)
        self.book = self.exchange.book(self.accounts.apps[0])
        self.now_ns = START_NS

    def security(self, key: str) -> Security:
        found = self.market.find(key, self.now_ns)
        assert found is not None
        return found

    def last(self, key: str = "NSE:INFY") -> float:
        security = self.security(key)
        return security.price / security.listing.divisor

    def trade(self, price: float, key: str = "NSE:INFY") -> None:
        """Half a minute later the market trades at this price."""
        self.now_ns += 30 * NS
        security = self.security(key)
        security.price = round(price * security.listing.divisor)
        security.revision += 1
        for listener in self.market.listeners:
            listener(security, self.now_ns)

    def form(self, **changes: object) -> dict[str, str]:
        form: dict[str, object] = {
            "exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY",
            "quantity": 1, "product": "MIS", "order_type": "MARKET", **changes,
        }  # fmt: skip
        return {name: str(value) for name, value in form.items() if value is not None}

    def place(self, variety: str = "regular", **changes: object) -> Order:
        return self.book.place(variety, self.form(**changes), self.now_ns)[0]

    def told(self) -> list[tuple[str, str]]:
        """Order and status of what the sockets have been told since."""
        return [
            (str(update["order_id"]), str(update["status"]))
            for _, update in self.exchange.take_updates()
        ]

    def statuses(self, order: Order) -> list[Any]:
        return [each["status"] for each in order.history]
