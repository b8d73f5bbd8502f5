"""The simulator's own routes, under `/_sim`: faults, logins, pushed messages and statistics."""

from collections.abc import Callable

import msgspec
from aiohttp import web

from kitefeed.kite_server.answers import Handler
from kitefeed.protocol.kite.text import BrokerMessage, OrderUpdate, ServerError, server_message
from kitefeed.simulator.accounts import App
from kitefeed.simulator.faults import SESSION_FAULTS, Command, Fault, FaultError, parse_command
from kitefeed.simulator.order_form import OrderError
from kitefeed.simulator.stream import SimulatedStream
from kitefeed.simulator.world import World

CLOSED_BY_SERVER = "1000"
_MADE_UP = {
    "exchange": "NSE",
    "tradingsymbol": "INFY",
    "transaction_type": "BUY",
    "quantity": "1",
    "order_type": "MARKET",
    "product": "CNC",
}


class ControlError(ValueError):
    """A request that makes no sense; the sentence says why."""


class Control:
    def __init__(
        self,
        world: World,
        stream: SimulatedStream,
        credentials: Callable[[App], dict[str, object]],
    ) -> None:
        self._world = world
        self._stream = stream
        self._credentials = credentials

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/_sim/fault", self.fault),
            web.post("/_sim/login", self.login),
            web.post("/_sim/order", self.order),
            web.post("/_sim/notice", self.notice),
            web.get("/_sim/stats", self.stats),
            web.get("/_sim/session", self.session),
        ]

    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turns a senseless request into 400 and a sentence."""
        try:
            return await handler(request)
        except (ControlError, FaultError, OrderError) as error:
            return _json({"error": str(error)}, status=400)

    async def fault(self, request: web.Request) -> web.Response:
        body = await _object(request)
        command = parse_command(body.get("name"), body.get("arg"))
        await self.apply(command, None if body.get("app") is None else self.app(body.get("app")))
        return _json(
            {"standing": self._world.faults.standing(), "market_open": self._world.market.is_open}
        )

    async def apply(self, command: Command, app: App | None = None) -> None:
        """Let a fault strike one app; without one, app 1 for session faults and else all."""
        fault, argument = command
        if fault in SESSION_FAULTS:
            target = app or self._world.accounts.apps[0]
            self._world.accounts.expire(target)
            if fault is Fault.KILL:
                await self._stream.drop(target, CLOSED_BY_SERVER)
        elif fault is Fault.DROP_WS:
            await self._stream.drop(app, argument)
        elif fault is Fault.DROP_ONE:
            await self._stream.drop(app, argument, newest=1)
        elif fault is Fault.MARKET:
            self._world.exchange.open(argument == "open", self._world.wall_ns())
            await self._stream.tell_orders()
        elif fault is Fault.CLEAR:
            self._world.faults.clear(app.number if app else None)
        else:
            self._world.faults.stand(command, app.number if app else None)
            if fault is Fault.REFUSE_WS:
                await self._stream.drop(app, CLOSED_BY_SERVER)

    async def login(self, request: web.Request) -> web.Response:
        app = self.app((await _object(request)).get("app", 1))
        self._world.accounts.login(app)
        return _json(self._credentials(app))

    async def session(self, request: web.Request) -> web.Response:
        return _json({"apps": [self._credentials(app) for app in self._world.accounts.apps]})

    async def order(self, request: web.Request) -> web.Response:
        """A made-up order, its fields overridden by those of the body; or one that was made up
        before, by its `order_id`, that changes. It stands in the order book from then on, whether
        or not there is a socket that is told."""
        body = await _object(request)
        app = self.app(body.get("app", 1))
        changes = {name: value for name, value in body.items() if name != "app"}
        form = _MADE_UP | {
            name: str(changes[name])
            for name in (*_MADE_UP, "price", "trigger_price", "validity", "tag")
            if changes.get(name) is not None
        }
        variety = str(changes.get("variety", "regular"))
        book = self._world.exchange.book(app)
        order = book.make_up(variety, form, changes, self._world.wall_ns()).postback()
        count = await self._stream.push(app, server_message(OrderUpdate(order)))
        return _json({"order_id": order["order_id"], "sockets": count})

    async def notice(self, request: web.Request) -> web.Response:
        """A broker's message, or an error, on every socket of the app."""
        body = await _object(request)
        app = self.app(body.get("app", 1))
        kind, data = body.get("type"), body.get("data")
        if kind not in ("message", "error") or not isinstance(data, str):
            raise ControlError("a notice needs type (message or error) and data (a string)")
        message = BrokerMessage(data) if kind == "message" else ServerError(data)
        return _json({"sockets": await self._stream.push(app, server_message(message))})

    async def stats(self, request: web.Request) -> web.Response:
        """Everything counted; `?tokens=408065,265` keeps the two price tables short."""
        tokens = _tokens(request.query.get("tokens"))
        apps = self._world.accounts.apps
        return _json(
            {
                "now_ns": self._world.wall_ns(),
                "market_open": self._world.market.is_open,
                "standing": self._world.faults.standing(),
                "requests": self._world.stats.requests(),
                "handshakes": self._world.stats.handshakes(),
                "sockets": {
                    "open": len(self._stream.connections()),
                    "most_open": self._stream.most_open,
                    "apps": {str(app.number): len(self._stream.connections(app)) for app in apps},
                },
                "subscribed": {
                    str(app.number): [
                        len(each.subscriptions.modes) for each in self._stream.connections(app)
                    ]
                    for app in apps
                },
                "messages": self._world.stats.messages(),
                "ticks_sent": self._world.stats.ticks_sent,
                "last_packets": self._world.stats.last_packets(tokens),
                "market": {
                    str(token): {
                        "last_price": price.last_price,
                        "divisor": price.divisor,
                        "changed_at_ns": price.changed_utc_ns,
                        "moves": price.moves,
                    }
                    for token, price in self._world.market.prices(self._world.wall_ns()).items()
                    if tokens is None or token in tokens
                },
            }
        )

    def app(self, number: object) -> App:
        """ControlError for a number that no app has."""
        app = self._world.accounts.by_number(number) if isinstance(number, int) else None
        if app is None:
            raise ControlError(
                f"app must be from 1 to {len(self._world.accounts.apps)}, not {number!r}"
            )
        return app


def _json(data: object, status: int = 200) -> web.Response:
    body = msgspec.json.encode(data)
    return web.Response(status=status, body=body, content_type="application/json")


async def _object(request: web.Request) -> dict[str, object]:
    """The JSON object of the body; an empty body is an empty object."""
    text = await request.read()
    try:
        value = msgspec.json.decode(text) if text.strip() else {}
    except msgspec.DecodeError as error:
        raise ControlError(f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ControlError("the body must be a JSON object")
    return value


def _tokens(text: str | None) -> frozenset[int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ControlError("tokens must be numbers with commas between them")
    return frozenset(map(int, parts))
