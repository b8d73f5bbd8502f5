"""Orders, portfolio and margins over REST, and Kite's routes that the simulator does not answer."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from kitefeed.kite_server.answers import InputError, RestError, form_of, success
from kitefeed.simulator.accounts import App
from kitefeed.simulator.faults import Fault
from kitefeed.simulator.order_book import OrderBook
from kitefeed.simulator.order_form import OrderError
from kitefeed.simulator.stream import SimulatedStream
from kitefeed.simulator.world import World

MODULE_PAGE = "docs/simulator.md"
# What Kite answers besides: method, path, and what the simulator has none of.
UNANSWERED = (
    ("GET", "/portfolio/holdings/auctions", "auctions"),
    ("PUT", "/portfolio/positions", "conversion of positions"),
    ("GET", "/mf/orders", "mutual funds"),
    ("GET", "/mf/orders/{order_id}", "mutual funds"),
    ("POST", "/mf/orders", "mutual funds"),
    ("DELETE", "/mf/orders/{order_id}", "mutual funds"),
    ("GET", "/mf/sips", "mutual funds"),
    ("GET", "/mf/sips/{sip_id}", "mutual funds"),
    ("POST", "/mf/sips", "mutual funds"),
    ("PUT", "/mf/sips/{sip_id}", "mutual funds"),
    ("DELETE", "/mf/sips/{sip_id}", "mutual funds"),
    ("GET", "/mf/holdings", "mutual funds"),
    ("GET", "/mf/instruments", "mutual funds"),
    ("GET", "/margins/{segment}", "lists of margins"),
    ("GET", "/instruments/trigger_range/{transaction_type}", "cover orders"),
    ("GET", "/gtt/triggers", "GTT orders"),
    ("POST", "/gtt/triggers", "GTT orders"),
    ("GET", "/gtt/triggers/{trigger_id}", "GTT orders"),
    ("PUT", "/gtt/triggers/{trigger_id}", "GTT orders"),
    ("DELETE", "/gtt/triggers/{trigger_id}", "GTT orders"),
    ("POST", "/margins/orders", "computation of margins"),
    ("POST", "/margins/basket", "computation of margins"),
    ("POST", "/charges/orders", "computation of charges"),
)
Answer = Callable[[web.Request, App, OrderBook], Awaitable[object]]


class Trading:
    """`authorise` gives the app of a request, or raises the RestError of a bad token."""

    def __init__(
        self, world: World, stream: SimulatedStream, authorise: Callable[[web.Request], App]
    ) -> None:
        self._world = world
        self._stream = stream
        self._authorise = authorise

    def routes(self) -> list[web.RouteDef]:
        answered: tuple[tuple[str, str, Answer], ...] = (
            ("GET", "/user/margins", self._margins),
            ("GET", "/user/margins/{segment}", self._segment_margins),
            ("GET", "/orders", self._orders),
            ("GET", "/orders/{order_id}", self._history),
            ("GET", "/orders/{order_id}/trades", self._order_trades),
            ("POST", "/orders/{variety}", self._place),
            ("PUT", "/orders/{variety}/{order_id}", self._modify),
            ("DELETE", "/orders/{variety}/{order_id}", self._cancel),
            ("GET", "/trades", self._trades),
            ("GET", "/portfolio/positions", self._positions),
            ("GET", "/portfolio/holdings", self._holdings),
        )
        handlers = [(method, path, self._answering(answer)) for method, path, answer in answered]
        handlers += [(method, path, self._refusing(what)) for method, path, what in UNANSWERED]
        return [web.route(method, path, handler) for method, path, handler in handlers]

    def _answering(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            app = self._allowed(request)
            try:
                return success(await answer(request, app, self._world.exchange.book(app)))
            except OrderError as error:
                raise RestError(400, error.error_type, str(error)) from None
            finally:
                await self._stream.tell_orders()

        return handle

    def _refusing(self, what: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def refuse(request: web.Request) -> web.Response:
            self._allowed(request)
            raise RestError(
                501,
                "GeneralException",
                f"The simulator does not answer {request.method} {request.path}: it has no {what}. "
                f"{MODULE_PAGE} lists what it answers.",
            )

        return refuse

    def _allowed(self, request: web.Request) -> App:
        app = self._authorise(request)
        status = self._world.faults.argument(Fault.OMS_STATUS, app.number)
        if status is not None:
            raise RestError(int(status))
        if not app.others.allow(self._world.wall_ns()):
            raise RestError(429)
        return app

    # --- orders ---

    async def _place(self, request: web.Request, app: App, book: OrderBook) -> object:
        form = await form_of(request)
        order, slices = book.place(request.match_info["variety"], form, self._world.wall_ns())
        if not slices:
            return {"order_id": order.order_id}
        children = [{"order_id": each.order_id} for each in slices]
        return {"order_id": order.order_id, "children": children}

    async def _modify(self, request: web.Request, app: App, book: OrderBook) -> object:
        variety, order_id = request.match_info["variety"], request.match_info["order_id"]
        order = book.modify(variety, order_id, await form_of(request), self._world.wall_ns())
        return {"order_id": order.order_id}

    async def _cancel(self, request: web.Request, app: App, book: OrderBook) -> object:
        variety, order_id = request.match_info["variety"], request.match_info["order_id"]
        return {"order_id": book.cancel(variety, order_id, self._world.wall_ns()).order_id}

    async def _orders(self, request: web.Request, app: App, book: OrderBook) -> object:
        return [order.report() for order in book.orders.values()]

    async def _history(self, request: web.Request, app: App, book: OrderBook) -> object:
        return book.find(request.match_info["order_id"]).history

    async def _trades(self, request: web.Request, app: App, book: OrderBook) -> object:
        return [trade.report() for trade in book.trades]

    async def _order_trades(self, request: web.Request, app: App, book: OrderBook) -> object:
        order = book.find(request.match_info["order_id"])
        return [trade.report() for trade in book.trades if trade.order is order]

    # --- portfolio ---

    async def _positions(self, request: web.Request, app: App, book: OrderBook) -> object:
        """All of them are of today: `net` and `day` are the same."""
        rows = book.positions()
        return {"net": rows, "day": rows}

    async def _holdings(self, request: web.Request, app: App, book: OrderBook) -> object:
        return book.holdings(self._world.wall_ns())

    async def _margins(self, request: web.Request, app: App, book: OrderBook) -> object:
        return book.margins()

    async def _segment_margins(self, request: web.Request, app: App, book: OrderBook) -> object:
        found = book.margins().get(request.match_info["segment"])
        if found is None:
            raise InputError("Invalid `segment`.")
        return found
