"""The simulator as one object: one port, started and stopped in a running event loop."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime

import msgspec
from aiohttp import web

from kitefeed.kite_server.answers import Handler
from kitefeed.kite_server.stream import PULSE_S
from kitefeed.protocol.kite.units import IST, NS_PER_S
from kitefeed.simulator.accounts import Accounts, App
from kitefeed.simulator.control import Control
from kitefeed.simulator.exchange import Exchange
from kitefeed.simulator.faults import Faults, parse_command
from kitefeed.simulator.listings import list_instruments
from kitefeed.simulator.market import Market
from kitefeed.simulator.options import REDIRECT_URL
from kitefeed.simulator.replayed import RecordedMarket
from kitefeed.simulator.rest import Rest
from kitefeed.simulator.stats import Stats
from kitefeed.simulator.stream import SimulatedStream
from kitefeed.simulator.trading import Trading
from kitefeed.simulator.world import World

# Above the length at which Kite's own 414 is imitated; a longer line is answered 400.
_LINE_BYTES_MAX = 256 * 1024
_SHUTDOWN_S = 0.2


class Simulator:
    """Kite on loopback.

    `start` binds (OSError when it cannot; `port` 0 takes any free one), `stop` closes every
    socket. Between them `rest_url` and `ws_url` are what the official clients take as `root`.
    `market`: another than the seeded one.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        instruments: int = 100,
        apps: int = 2,
        host: str = "127.0.0.1",
        port: int = 0,
        market_open: bool = True,
        tick_hz: float = 2.0,
        limits: str = "kite",
        refresh_tokens: str = "no",
        redirect_url: str = REDIRECT_URL,
        wall_ns: Callable[[], int] = time.time_ns,
        market: Market | None = None,
    ) -> None:
        if market is None:
            today = datetime.fromtimestamp(wall_ns() // NS_PER_S, IST).date()
            listings = list_instruments(instruments, today)
            market = Market(listings, seed, tick_hz=tick_hz, is_open=market_open)
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._wall_ns = wall_ns
        self.accounts = Accounts(
            seed, apps, is_limited=limits == "kite", has_refresh=refresh_tokens == "yes"
        )
        self.market = market
        self.faults = Faults()
        self.stats = Stats()
        self.exchange = Exchange(self.accounts, self.market)
        world = World(self.accounts, self.market, self.exchange, self.faults, self.stats, wall_ns)
        self.stream = SimulatedStream(world, min(PULSE_S, 1 / tick_hz))
        self.rest = Rest(world, redirect_url)
        self.trading = Trading(world, self.stream, self.rest.authorised)
        self.control = Control(world, self.stream, self.credentials)

    @property
    def rest_url(self) -> str:
        return f"http://{self._authority}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self._authority}"

    @property
    def _authority(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host  # IPv6
        return f"{host}:{self._port}"

    def credentials(self, app: App) -> dict[str, object]:
        """Return what a client needs: the addresses for `kite.rest_url`, `ws_url` and `login_url`
        of the configuration, and the account. `access_token` is null while there is no live
        session."""
        return {
            "rest": self.rest_url,
            "ws": self.ws_url,
            "login_url": f"{self.rest_url}/connect/login",
            "api_key": app.api_key,
            "api_secret": app.api_secret,
            "access_token": app.access_token,
            "user_id": app.user_id,
            "user_name": app.user_name,
        }

    def ready_line(self) -> str:
        """One line of JSON: app 1's credentials, and those of every app under `apps`."""
        apps = [self.credentials(app) for app in self.accounts.apps]
        return msgspec.json.encode({**apps[0], "apps": apps}).decode()

    async def fault(self, name: str, argument: object = None, app: int | None = None) -> None:
        """As `POST /_sim/fault`. ValueError for an unknown name, a bad argument or app."""
        target = self.control.app(app) if app is not None else None
        await self.control.apply(parse_command(name, argument), target)

    async def start(self) -> None:
        if isinstance(self.market, RecordedMarket):
            self.market.begin(self._wall_ns())
        runner = web.AppRunner(
            self._application(),
            access_log=None,  # its lines would hold tokens
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_S,
            max_line_size=_LINE_BYTES_MAX,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._port = runner.addresses[0][1]
        self._runner = runner
        self._pulse = asyncio.create_task(self.stream.run())

    async def stop(self) -> None:
        """Close every socket, say goodbye where a fault does not forbid it. May be repeated."""
        if self._pulse is not None:
            self._pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pulse
            self._pulse = None
        await self.stream.drop(None, "1001")
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _application(self) -> web.Application:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path == "/":
                return await handler(request)
            if request.path.startswith("/_sim/"):
                return await self.control.guard(request, handler)
            return await self.rest.guard(request, handler)

        application = web.Application(middlewares=[guard])
        application.add_routes([web.get("/", self.stream.handle)])
        application.add_routes(self.rest.routes())
        application.add_routes(self.trading.routes())
        application.add_routes(self.control.routes())
        return application
