"""Matches orders and keeps candles as the market moves. Pure."""

from collections.abc import Iterator
from itertools import count

from kitefeed.simulator.accounts import Accounts, App
from kitefeed.simulator.candles import Candles
from kitefeed.simulator.market import Market, Security
from kitefeed.simulator.order_book import OrderBook


class Exchange:
    """The order books of all apps, and the candles; told of every value of the market."""

    def __init__(self, accounts: Accounts, market: Market) -> None:
        numbers = count(1)  # orders are numbered across the apps
        self.candles = Candles()
        self._market = market
        self._apps = accounts.apps
        self._books = {app.number: OrderBook(app, market, numbers) for app in accounts.apps}
        market.listeners.append(self._on_value)

    def book(self, app: App) -> OrderBook:
        return self._books[app.number]

    def _on_value(self, security: Security, now_ns: int) -> None:
        self.candles.note(security)
        for book in self._books.values():
            if security.listing.token in book.waiting:
                book.on_value(security, now_ns)

    def beat(self, now_ns: int) -> None:
        """Moves what orders wait for, and ends what was good for some minutes."""
        for book in self._books.values():
            self._market.advance(list(book.waiting), now_ns)
            book.on_time(now_ns)

    def open(self, is_open: bool, now_ns: int) -> None:
        """The market opens or closes."""
        self._market.open(is_open)
        if is_open:
            for book in self._books.values():
                book.on_open(now_ns)

    def take_updates(self) -> Iterator[tuple[App, dict[str, object]]]:
        """Yield what the sockets of each app are to be told of its orders; each is given once."""
        for app in self._apps:
            outbox = self.book(app).outbox
            while outbox:
                yield app, outbox.pop(0)
