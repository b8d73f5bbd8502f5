"""Answers the gateway's requests."""

import asyncio
import logging
from ipaddress import ip_address

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from kitefeed import __version__
from kitefeed.actors.runtime.config import Settings, is_loopback
from kitefeed.client.feed_async import AsyncFeed
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import BadInput, KitefeedError, Unavailable
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.messages.control import ControlReply, ControlRequest, GetStatus, Status
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.sockets import request as request_of
from kitefeed.protocol.topology import CONTROL, endpoint
from kitefeed.services.gateway import metrics
from kitefeed.services.gateway.doors import BODY_BYTES_MAX, names_of, only_for, refusal, sealed
from kitefeed.services.gateway.guard import ENTER, Guard
from kitefeed.services.gateway.health import LOST, Health, in_full, judge, of_websocket
from kitefeed.services.gateway.history import History
from kitefeed.services.gateway.login import Logins
from kitefeed.services.gateway.quotes import SYMBOLS_MAX, quote_of, to_csv
from kitefeed.services.gateway.readers import Readers
from kitefeed.services.gateway.site import Beginning, Site
from kitefeed.services.gateway.streams import RATE_MAX, Streams
from kitefeed.services.gateway.timeline import Timeline
from kitefeed.services.gateway.tokens import Tokens

log = logging.getLogger("gateway")

QUOTES_RATE = 2  # how fresh a value of /api/quotes may be: it is what a screen reads
FIRST_S = 2.0  # how long an answer waits for the first value of what nobody read before
ANSWER_S = 1.0  # the supervisor answers from memory
LOOK_S = 0.05
HEARTBEAT_S = 1.5  # within which a feed that is well is heard, whatever a reader has missed
LOOKS_PATIENT = 3  # a feed that is lost for so many looks, a second apart, is lost
LISTED_MAX = 50  # instruments of the configuration that a page shows before anybody chose any


class Gateway:
    """The routes. `feed` reads the feed's state, `readers` its values."""

    def __init__(
        self, feed: AsyncFeed, readers: Readers, history: History, settings: Settings
    ) -> None:
        self._feed = feed
        self._readers = readers
        self._settings = settings
        self._control = endpoint(settings.runtime_dir, CONTROL)
        self._timeline = Timeline()
        self._streams = Streams(feed, readers, self._timeline, history)
        self._logins = Logins(settings)
        table = settings.config.gateway
        self._tokens = Tokens(
            settings.keys_path, table.token, is_always=not is_loopback(table.listen)
        )
        self._site = Site(
            self._logins,
            self.ask,
            settings.instruments_path,
            table.url,
            lambda: feed.status.session == "absent",
            self._tokens.are_needed,
        )
        self._site.beginning = self._beginning
        self.fresh_utc_s = 0.0
        self._looks_lost = 0  # in a row
        self._report: asyncio.Task[StatusReport | None] | None = None

    def application(self, address: str, port: int) -> web.Application:
        names = names_of(address, port, self._settings.config.gateway.names)
        is_known = not ip_address(address).is_unspecified
        guard = Guard(self._tokens, port)
        app = web.Application(
            middlewares=[
                sealed,
                only_for(names, is_own_address_known=is_known),
                guard.middleware,
                _in_words,
            ],
            client_max_size=BODY_BYTES_MAX,
        )
        app.router.add_post(ENTER, guard.enter)
        app.router.add_get("/livez", self.livez)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/health", self.health)
        app.router.add_get("/health/websocket", self.websocket_health)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/api/quotes", self.quotes)
        app.router.add_get("/api/stream", self.stream)
        app.router.add_get("/api/status", self.status)
        app.router.add_get("/ws/market", self._streams.websocket)
        self._site.add_to(app)
        return app

    # --- health -------------------------------------------------------------------------------

    async def livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        found = await self._health_when_heard()
        text = "ready\n" if found.is_healthy else f"not ready: {found.feed}: {found.reason}\n"
        return web.Response(text=text, status=_status(found))

    async def health(self, _: web.Request) -> web.Response:
        found = await self._health_when_heard()
        report = await self.report()
        login_utc_s = await asyncio.to_thread(self._logins.last_utc_s, report)
        return _json(in_full(found, report, login_utc_s), _status(found))

    async def websocket_health(self, _: web.Request) -> web.Response:
        return _json(of_websocket(await self._health_when_heard()))

    async def metrics(self, _: web.Request) -> web.Response:
        report = await self.report()
        text = metrics.exposition(
            self._health(), report, self._streams.open, utc_ns() / 1e9, self.fresh_utc_s
        )
        return web.Response(body=text, headers={"Content-Type": metrics.CONTENT_TYPE})

    def look(self) -> None:
        """Notes how the feed is; called often."""
        found, utc_s = self._health(), utc_ns() / 1e9
        if found.is_healthy:
            self.fresh_utc_s = utc_s
        self._looks_lost = self._looks_lost + 1 if found.feed == LOST else 0
        events = self._timeline.note(found.feed, found.source, found.session, found.reason, utc_s)
        for event in events:
            log.info("the feed: feed=%s source=%s", event.feed, event.source)

    def _health(self) -> Health:
        return judge(self._feed.status, self._feed.heartbeat)

    async def _health_when_heard(self) -> Health:
        """Return the feed's health. A gateway that has just begun to read, or stood still itself,
        waits for the next heartbeat before it calls the feed lost."""
        deadline_s = asyncio.get_running_loop().time() + HEARTBEAT_S
        while (found := self._health()).feed == LOST and self._looks_lost < LOOKS_PATIENT:
            if asyncio.get_running_loop().time() >= deadline_s:
                break
            await asyncio.sleep(LOOK_S)
        return found

    async def report(self) -> StatusReport | None:
        """Return what `kitefeed status` shows; None when the supervisor does not answer. It is
        asked once for all who want it at the same time."""
        if self._report is None or self._report.done():
            self._report = asyncio.ensure_future(self._ask_status())
        return await asyncio.shield(self._report)

    async def _ask_status(self) -> StatusReport | None:
        reply = await self.ask(GetStatus())
        return reply.report if isinstance(reply, Status) else None

    async def ask(self, message: ControlRequest) -> ControlReply | None:
        """Ask the supervisor once; None when it does not answer."""
        try:
            return await asyncio.to_thread(
                request_of, self._control, message, timeout_s=ANSWER_S, tries=1
            )
        except (Unavailable, *DECODE_ERRORS):
            return None

    async def status(self, _: web.Request) -> web.Response:
        """Answer with all that `kitefeed status --json` tells."""
        report = await self.report()
        if report is None:
            raise Unavailable("The supervisor does not answer")
        return _json(report)

    def _beginning(self) -> Beginning:
        config = self._settings.config
        return Beginning(
            page_token=self._site.page_token,
            health=self._health(),
            utc_ms=utc_ns() // 1_000_000,
            instruments=list(config.instruments[:LISTED_MAX]),
            has_secret=self._logins.has_secret(),
            version=__version__,
            **self._site.app(),
        )

    # --- values -------------------------------------------------------------------------------

    async def quotes(self, request: web.Request) -> web.Response:
        """Answer `?i=NSE:INFY&i=…`, `&format=csv`."""
        names = _instruments(request)
        async with self._readers.of(names, QUOTES_RATE) as reader:
            wanted = [name for name in names if name not in reader.refused]
            async with asyncio.TaskGroup() as group:
                for name in wanted:
                    group.create_task(reader.feed.wait_for(name, FIRST_S))
            ticks = [tick for name in wanted if (tick := reader.feed.get(name)) is not None]
            quotes = [quote_of(tick) for tick in ticks]
        if request.query.get("format", "json") == "csv":
            return web.Response(text=to_csv(quotes), content_type="text/csv")
        missing = dict.fromkeys(wanted, "no value yet") | reader.refused
        for quote in quotes:
            missing.pop(quote.instrument)
        return _json({"quotes": quotes, "missing": missing, "feed": self._feed.status.feed})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer `?i=NSE:INFY&i=…&rate=2`."""
        rate = request.query.get("rate", "2")
        if not rate.isdecimal() or not 1 <= int(rate) <= RATE_MAX:
            raise BadInput(f"rate={rate!r}: write how often a second, 1 to {RATE_MAX}")
        return await self._streams.events(request, _instruments(request), int(rate))


def _instruments(request: web.Request) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(request.query.getall("i", ())))
    if not names:
        raise BadInput("Name what you want: ?i=NSE:INFY, again for each (`&` in a name is %26)")
    if len(names) > SYMBOLS_MAX:
        raise BadInput(f"{len(names)} instruments: at most {SYMBOLS_MAX} at once")
    return names


@web.middleware
async def _in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn expected errors into a status and their sentence."""
    try:
        return await handler(request)
    except KitefeedError as error:
        return refusal(400 if isinstance(error, BadInput) else 503, str(error))


def _status(found: Health) -> int:
    return 200 if found.is_healthy else 503


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )
