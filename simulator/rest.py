"""Sessions, market data and the login page over REST; orders are in `trading`."""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from kitefeed.kite_server import profile as shapes
from kitefeed.kite_server.answers import (
    Handler,
    InputError,
    RestError,
    credentials_of,
    error_response,
    form_of,
    guarded,
    success,
)
from kitefeed.kite_server.market_data import (
    LAST_PRICES_MAX,
    QUOTES_MAX,
    dump_response,
    quotes,
)
from kitefeed.protocol.kite.rest import ltp_item, ohlc_item, quote_item
from kitefeed.protocol.kite.ticks import FULL
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.simulator.accounts import App, Refusal
from kitefeed.simulator.dump import dump, faulty
from kitefeed.simulator.faults import Fault
from kitefeed.simulator.historical import historical
from kitefeed.simulator.market import Security
from kitefeed.simulator.world import World


class Rest:
    """The routes. `guard` is the middleware that counts them and lets faults strike."""

    def __init__(self, world: World, redirect_url: str) -> None:
        self._world = world
        self._redirect_url = redirect_url
        self._dumps: dict[str, bytes] = {}  # exchange ("" is all): gzipped CSV

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
            web.get("/instruments/historical/{instrument_token}/{interval}", self.historical),
            web.get("/connect/login", self.login_page),
        ]

    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Counts the request, then the faults, then the handler; errors become envelopes."""
        resource = request.match_info.route.resource
        route = f"{request.method} {resource.canonical if resource else 'unknown'}"
        key = credentials_of(request)[0] or request.query.get("api_key", "")
        app = self._world.accounts.by_key(key)
        number = app.number if app else None
        self._world.stats.count_request(route, number, self._world.wall_ns())
        if route == "GET /connect/login":  # the login page is another server of Kite
            return await handler(request)
        if self._world.faults.stands(Fault.REST_DOWN, number) and request.transport is not None:
            request.transport.abort()
            return web.Response()
        await asyncio.sleep(float(self._world.faults.argument(Fault.REST_SLOW, number) or 0))
        return self._dated(await self._answer(request, handler, number), number)

    async def _answer(
        self, request: web.Request, handler: Handler, number: int | None
    ) -> web.StreamResponse:
        status = self._world.faults.argument(Fault.REST_STATUS, number)
        if status is not None:
            return error_response(RestError(int(status)))
        return await guarded(request, handler)

    def _dated(self, response: web.StreamResponse, number: int | None) -> web.StreamResponse:
        """By the clock of this Kite, which may be another than the host's."""
        ahead_s = int(self._world.faults.argument(Fault.CLOCK, number) or 0)
        if ahead_s and not response.prepared:
            at_s = self._world.wall_ns() // NS_PER_S + ahead_s
            response.headers["Date"] = formatdate(at_s, usegmt=True)
        return response

    # --- sessions ---

    async def login_page(self, request: web.Request) -> web.Response:
        """Log a browser in: nobody types here, the redirect comes at once."""
        app = self._world.accounts.by_key(request.query.get("api_key", ""))
        if app is None:
            return error_response(InputError("Invalid `api_key`."))
        token = self._world.accounts.new_request_token(app, self._world.wall_ns())
        query = {"request_token": token, "action": "login", "status": "success"}
        query |= dict(parse_qsl(request.query.get("redirect_params", "")))
        separator = "&" if "?" in self._redirect_url else "?"
        location = f"{self._redirect_url}{separator}{urlencode(query)}"
        return web.Response(status=302, headers={"Location": location})

    async def create_session(self, request: web.Request) -> web.Response:
        form = await form_of(request)
        key, token, checksum = (
            form.get(name, "") for name in ("api_key", "request_token", "checksum")
        )
        now_ns = self._world.wall_ns()
        found = self._world.accounts.exchange(key, token, checksum, now_ns)
        return self._logged_in(key, found, now_ns)

    def _logged_in(self, key: str, found: App | Refusal, now_ns: int) -> web.Response:
        """A login's answer, or why it is refused."""
        app = self._world.accounts.by_key(key)
        if app and self._world.faults.stands(Fault.NOT_ENABLED, app.number):
            raise RestError(403, "PermissionException", "The user is not enabled for the app.")
        match found:
            case App():
                user = shapes.profile(found.user_id, found.user_name)
                token, at_s = found.access_token or "", now_ns // NS_PER_S
                answer = shapes.session(user, found.api_key, token, at_s)
                return success({**answer, "refresh_token": found.refresh_token})
            case Refusal.CHECKSUM:
                raise RestError(403, "TokenException", "Invalid `checksum`.")
            case Refusal.REQUEST_TOKEN:
                raise RestError(403, "TokenException", "Token is invalid or has expired.")

    async def end_session(self, request: web.Request) -> web.Response:
        key, token = (request.query.get(name, "") for name in ("api_key", "access_token"))
        if not token:
            raise InputError("Missing `access_token`.")
        app = self._world.accounts.authorise(key, token)
        if app is None:
            raise RestError(403)
        self._world.accounts.expire(app)
        return success(True)

    async def refresh_session(self, request: web.Request) -> web.Response:
        """Refused where logins get no refresh token, as those of individuals."""
        form = await form_of(request)
        key, token, checksum = (
            form.get(name, "") for name in ("api_key", "refresh_token", "checksum")
        )
        found = self._world.accounts.renew(key, token, checksum)
        return self._logged_in(key, found, self._world.wall_ns())

    def authorised(self, request: web.Request) -> App:
        """Return the app whose live token this is; raises RestError for any other."""
        app = self._world.accounts.authorise(*credentials_of(request))
        if app is None:
            raise RestError(403)
        return app

    async def profile(self, request: web.Request) -> web.Response:
        app = self.authorised(request)
        if not app.others.allow(self._world.wall_ns()):
            raise RestError(429)
        return success(shapes.profile(app.user_id, app.user_name))

    # --- market data ---

    async def quote(self, request: web.Request) -> web.Response:
        return self._quotes(request, QUOTES_MAX, self._quote_item)

    async def ohlc(self, request: web.Request) -> web.Response:
        return self._quotes(request, LAST_PRICES_MAX, lambda s: ohlc_item(s.body(FULL)))

    async def ltp(self, request: web.Request) -> web.Response:
        return self._quotes(request, LAST_PRICES_MAX, lambda s: ltp_item(s.body(FULL)))

    def _quotes(
        self, request: web.Request, count_max: int, item: Callable[[Security], dict[str, object]]
    ) -> web.Response:
        app = self.authorised(request)
        now_ns = self._world.wall_ns()
        if self._world.faults.stands(Fault.NO_ENTITLEMENT, app.number):
            raise RestError(403, "PermissionException", "Insufficient permission for that call.")
        if not app.quotes.allow(now_ns):
            raise RestError(429)
        return quotes(request, count_max, lambda key: self._world.market.find(key, now_ns), item)

    def _quote_item(self, security: Security) -> dict[str, object]:
        return quote_item(security.body(FULL), *security.circuits())

    async def instruments(self, request: web.Request) -> web.Response:
        """The dump. Kite answers it without a session, so it proves nothing about one."""
        exchange = request.match_info.get("exchange", "")
        if exchange and exchange not in shapes.EXCHANGES:
            raise InputError("Invalid `exchange`.")
        listings = self._world.market.listings
        fault = self._world.faults.argument(Fault.LIST, None)
        if fault is not None:
            return faulty(request, listings, fault)
        zipped = self._dumps.get(exchange)
        if zipped is None:
            zipped = self._dumps[exchange] = await asyncio.to_thread(dump, listings, exchange)
        return dump_response(request, zipped)

    async def historical(self, request: web.Request) -> web.Response:
        app = self.authorised(request)
        now_ns = self._world.wall_ns()
        if self._world.faults.stands(Fault.NO_ENTITLEMENT, app.number):
            raise RestError(403, "PermissionException", "Insufficient permission for that call.")
        if not app.history.allow(now_ns):
            raise RestError(429)
        market, kept = self._world.market, self._world.exchange.candles
        return success(await historical(market, kept, request.match_info, request.query, now_ns))
