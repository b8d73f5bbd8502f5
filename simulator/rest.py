"""Kite's REST API and login page, as far as a feed or a small strategy needs them."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from kitefeed.protocol.kite.instruments import Instrument, format_dump
from kitefeed.protocol.kite.rest import (
    IST,
    error_envelope,
    ltp_item,
    ohlc_item,
    quote_item,
    success_envelope,
)
from kitefeed.protocol.kite.text import OrderUpdate, server_message
from kitefeed.protocol.kite.ticks import FULL, TickBody
from kitefeed.simulator.accounts import App, Refusal
from kitefeed.simulator.faults import Fault
from kitefeed.simulator.listings import Listing
from kitefeed.simulator.market import Security
from kitefeed.simulator.orders import OrderError, new_order
from kitefeed.simulator.stream import Stream
from kitefeed.simulator.world import World

NS_PER_S = 1_000_000_000
QUOTES_MAX = 500
LAST_PRICES_MAX = 1000
REQUEST_LINE_BYTES_MAX = 16 * 1024  # the server in front of Kite answers 414 beyond
_CIRCUIT = 10  # price bands, in per cent of the previous close
_VARIETIES = frozenset({"regular", "amo", "co", "iceberg", "auction"})
_EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX", "NCO")
_ERROR_TYPES = {
    400: ("InputException", "Invalid request."),
    403: ("TokenException", "Incorrect `api_key` or `access_token`."),
    404: ("GeneralException", "Route not found"),
    405: ("GeneralException", "Method not allowed"),
    429: ("NetworkException", "Too many requests"),
    503: ("NetworkException", "Request failed (kitetrade-oms)"),
}
_HTML_STATUSES = frozenset({414, 502, 504})  # answered by the proxy in front, which knows no JSON


class RestError(Exception):
    """An answer other than success: its HTTP status, error type and message."""

    def __init__(self, status: int, error_type: str = "", message: str = "") -> None:
        default = _ERROR_TYPES.get(status, ("GeneralException", "Something went wrong"))
        self.status = status
        self.error_type = error_type or default[0]
        self.message = message or default[1]
        super().__init__(self.message)


def error_response(error: RestError) -> web.Response:
    if error.status in _HTML_STATUSES:
        title = f"{error.status} {HTTPStatus(error.status).phrase}"
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return web.Response(status=error.status, text=page, content_type="text/html")
    body = error_envelope(error.message, error.error_type)
    return web.Response(status=error.status, body=body, content_type="application/json")


def _success(data: object) -> web.Response:
    return web.Response(body=success_envelope(data), content_type="application/json")


def api_key_of(request: web.Request) -> str:
    """The key of `Authorization: token key:token`, or of the query; "" when there is none."""
    return _credentials(request)[0] or request.query.get("api_key", "")


def _credentials(request: web.Request) -> tuple[str, str]:
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    key, _, token = rest.partition(":")
    return (key, token) if scheme == "token" else ("", "")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rest:
    """The routes. `guard` is the middleware that counts them and lets faults strike."""

    def __init__(self, world: World, stream: Stream, redirect_url: str) -> None:
        self._world = world
        self._stream = stream
        self._redirect_url = redirect_url
        self._dumps: dict[str, bytes] = {}  # exchange ("" is all): gzipped CSV
        self._orders = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/session/token", self.create_session),
            web.delete("/session/token", self.end_session),
            web.post("/session/refresh_token", self.refresh_session),
            web.get("/user/profile", self.profile),
            web.get("/quote", self.quote),
            web.get("/quote/ohlc", self.ohlc),
            web.get("/quote/ltp", self.ltp),
            web.get("/instruments", self.instruments),
            web.get("/instruments/{exchange}", self.instruments),
            web.post("/orders/{variety}", self.place_order),
            web.get("/connect/login", self.login_page),
        ]

    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Counts the request, then the faults, then the handler; errors become envelopes."""
        resource = request.match_info.route.resource
        route = f"{request.method} {resource.canonical if resource else 'unknown'}"
        app = self._world.accounts.by_key(api_key_of(request))
        number = app.number if app else None
        self._world.stats.count_request(route, number, self._world.wall_ns())
        if route == "GET /connect/login":  # the login page is another server of Kite
            return await handler(request)
        if self._world.faults.stands(Fault.REST_DOWN, number) and request.transport is not None:
            request.transport.abort()
            return web.Response()
        await asyncio.sleep(float(self._world.faults.argument(Fault.REST_SLOW, number) or 0))
        try:
            self._maybe_fail(request, number)
            return await handler(request)
        except RestError as error:
            return error_response(error)
        except web.HTTPException as error:  # no such route, or not with this method
            return error_response(RestError(error.status))

    def _maybe_fail(self, request: web.Request, number: int | None) -> None:
        status = self._world.faults.argument(Fault.REST_STATUS, number)
        if status is not None:
            raise RestError(int(status))
        if len(request.raw_path) >= REQUEST_LINE_BYTES_MAX:
            raise RestError(414)

    # --- sessions ---

    async def login_page(self, request: web.Request) -> web.Response:
        """Where a browser logs in; here nobody types, the redirect comes at once."""
        app = self._world.accounts.by_key(request.query.get("api_key", ""))
        if app is None:
            return error_response(RestError(400, "InputException", "Invalid `api_key`."))
        token = self._world.accounts.new_request_token(app, self._world.wall_ns())
        query = {"request_token": token, "action": "login", "status": "success"}
        query |= dict(parse_qsl(request.query.get("redirect_params", "")))
        separator = "&" if "?" in self._redirect_url else "?"
        location = f"{self._redirect_url}{separator}{urlencode(query)}"
        return web.Response(status=302, headers={"Location": location})

    async def create_session(self, request: web.Request) -> web.Response:
        form = await _form(request)
        key, token, checksum = (
            form.get(name, "") for name in ("api_key", "request_token", "checksum")
        )
        now_ns = self._world.wall_ns()
        match self._world.accounts.exchange(key, token, checksum, now_ns):
            case App() as app:
                return _success(_session(app, now_ns))
            case Refusal.CHECKSUM:
                raise RestError(403, "TokenException", "Invalid `checksum`.")
            case Refusal.REQUEST_TOKEN:
                raise RestError(403, "TokenException", "Token is invalid or has expired.")

    async def end_session(self, request: web.Request) -> web.Response:
        key, token = (request.query.get(name, "") for name in ("api_key", "access_token"))
        if not token:
            raise RestError(400, "InputException", "Missing `access_token`.")
        app = self._world.accounts.authorise(key, token)
        if app is None:
            raise RestError(403)
        self._world.accounts.expire(app)
        return _success(True)

    async def refresh_session(self, request: web.Request) -> web.Response:
        """Refused: individuals get no refresh token."""
        raise RestError(403, "TokenException", "Token is invalid or has expired.")

    def _authorised(self, request: web.Request) -> App:
        app = self._world.accounts.authorise(*_credentials(request))
        if app is None:
            raise RestError(403)
        return app

    async def profile(self, request: web.Request) -> web.Response:
        app = self._authorised(request)
        if not app.others.allow(self._world.wall_ns()):
            raise RestError(429)
        return _success(_profile(app))

    # --- market data ---

    async def quote(self, request: web.Request) -> web.Response:
        return self._quotes(request, QUOTES_MAX, self._quote_item)

    async def ohlc(self, request: web.Request) -> web.Response:
        return self._quotes(request, LAST_PRICES_MAX, lambda s: ohlc_item(self._full(s)))

    async def ltp(self, request: web.Request) -> web.Response:
        return self._quotes(request, LAST_PRICES_MAX, lambda s: ltp_item(self._full(s)))

    def _quotes(
        self, request: web.Request, count_max: int, item: Callable[[Security], dict[str, object]]
    ) -> web.Response:
        app = self._authorised(request)
        now_ns = self._world.wall_ns()
        if self._world.faults.stands(Fault.NO_ENTITLEMENT, app.number):
            raise RestError(403, "PermissionException", "Insufficient permission for that call.")
        if not app.quotes.allow(now_ns):
            raise RestError(429)
        keys = request.query.getall("i", [])
        if not keys:
            raise RestError(400, "InputException", "Missing instruments, `i`.")
        if len(keys) > count_max:
            raise RestError(400, "InputException", f"At most {count_max} instruments in one call.")
        found = {key: self._world.market.find(key, now_ns) for key in keys}
        # Keyed by what was asked for; what is not listed is absent, and no error.
        return _success({key: item(each) for key, each in found.items() if each is not None})

    def _full(self, security: Security) -> TickBody:
        return security.body(FULL, with_book=self._world.market.is_open)

    def _quote_item(self, security: Security) -> dict[str, object]:
        band = security.close * _CIRCUIT // 100
        return quote_item(self._full(security), security.close - band, security.close + band)

    async def instruments(self, request: web.Request) -> web.Response:
        """The dump. Kite answers it without a session, so it proves nothing about one."""
        exchange = request.match_info.get("exchange", "")
        if exchange and exchange not in _EXCHANGES:
            raise RestError(400, "InputException", "Invalid `exchange`.")
        dump = self._dumps.get(exchange)
        if dump is None:
            dump = await asyncio.to_thread(_zipped_dump, self._world.market.listings, exchange)
            self._dumps[exchange] = dump
        headers = {"Content-Encoding": "gzip"}
        return web.Response(body=dump, headers=headers, content_type="text/csv")

    # --- orders ---

    async def place_order(self, request: web.Request) -> web.Response:
        app = self._authorised(request)
        if not app.others.allow(self._world.wall_ns()):
            raise RestError(429)
        variety = request.match_info["variety"]
        if variety not in _VARIETIES:
            raise RestError(400, "InputException", "Invalid `variety`.")
        try:
            order = self.make_order(app, variety, await _form(request))
        except OrderError as error:
            raise RestError(400, "InputException", str(error)) from None
        await self.push_order(app, order)
        return _success({"order_id": order["order_id"]})

    def make_order(self, app: App, variety: str, form: Mapping[str, str]) -> dict[str, object]:
        """An order object with the next number. OrderError when the form is bad."""
        now_ns = self._world.wall_ns()
        key = f"{form.get('exchange', '')}:{form.get('tradingsymbol', '')}"
        security = self._world.market.find(key, now_ns)
        if security is None:
            raise OrderError(
                "The instrument you are placing an order for has either expired or does not exist."
            )
        order = new_order(app, variety, form, security, self._orders + 1, now_ns)
        self._orders += 1
        return order

    async def push_order(self, app: App, order: dict[str, object]) -> int:
        """Report the order on every socket of the app; how many there were."""
        return await self._stream.push(app, server_message(OrderUpdate(order)))


async def _form(request: web.Request) -> dict[str, str]:
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def _profile(app: App) -> dict[str, object]:
    return {
        "user_id": app.user_id,
        "user_type": "individual",
        "email": f"{app.user_id.lower()}@example.com",
        "user_name": app.user_name,
        "user_shortname": app.user_name.split()[0],
        "broker": "ZERODHA",
        "exchanges": list(_EXCHANGES),
        "products": ["CNC", "NRML", "MIS", "BO", "CO"],
        "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
        "avatar_url": None,
        "meta": {"demat_consent": "physical"},
    }


def _session(app: App, now_ns: int) -> dict[str, object]:
    login_time = datetime.fromtimestamp(now_ns // NS_PER_S, IST)
    return {
        **_profile(app),
        "api_key": app.api_key,
        "access_token": app.access_token,
        "public_token": "",
        "enctoken": "",
        "refresh_token": "",
        "silo": "",
        "login_time": login_time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _zipped_dump(listings: Sequence[Listing], exchange: str) -> bytes:
    rows = (_row(each) for each in listings if exchange in ("", each.exchange))
    return gzip.compress(format_dump(rows).encode(), mtime=0)


def _row(listing: Listing) -> Instrument:
    return Instrument(
        instrument_token=listing.token,
        exchange_token=listing.token >> 8,
        tradingsymbol=listing.symbol,
        name=listing.name,
        last_price=0.0,
        expiry=listing.expiry.isoformat() if listing.expiry else "",
        strike=listing.strike,
        tick_size=listing.tick_size,
        lot_size=listing.lot_size,
        instrument_type=listing.kind,
        segment=listing.segment,
        exchange=listing.exchange,
    )
