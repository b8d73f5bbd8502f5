"""kite_endpoint: Kite's WebSocket and market-data REST, for programs written for the official
clients. It reads the feed, and asks for instruments, as any program does."""

import sys

from aiohttp import web

from kitefeed.actors.runtime.config_tables import KiteEndpointTable
from kitefeed.actors.runtime.process import Runtime
from kitefeed.kite_server.answers import guarded
from kitefeed.protocol import topology
from kitefeed.services import life
from kitefeed.services.kite_endpoint.doors import Doors
from kitefeed.services.kite_endpoint.market import SharedReader
from kitefeed.services.kite_endpoint.names import DayNames
from kitefeed.services.kite_endpoint.quotes import QuoteDesk, asking
from kitefeed.services.kite_endpoint.rest import Routes
from kitefeed.services.kite_endpoint.stream import EndpointStream
from kitefeed.services.listening import IDLE_S, listening, tls_of

NAME = "kite_endpoint"
SHUTDOWN_S = 1.0
BODY_BYTES_MAX = 64 * 1024
LINE_BYTES_MAX = 64 * 1024  # above the length that is answered 414, as Kite does


def main() -> int:
    return life.run(NAME, live)


async def live(runtime: Runtime) -> None:
    settings = runtime.settings
    table = settings.config.kite_endpoint or KiteEndpointTable()
    doors = Doors(settings.keys_path, table.password)
    names = DayNames(settings.instruments_path)
    market = SharedReader(settings.source, NAME)
    tls = tls_of(settings.certificate_paths(table), "kite_endpoint.certificate", settings.source)
    stream = EndpointStream(names, market, table.stale, doors)
    quotes = QuoteDesk(asking(topology.endpoint(settings.runtime_dir, topology.CONTROL)))
    rest = Routes(doors, market, names, quotes, table.stale)
    runner = web.AppRunner(
        _application(stream, rest),
        access_log=None,  # its lines would hold passwords
        handler_cancellation=True,
        keepalive_timeout=IDLE_S,
        shutdown_timeout=SHUTDOWN_S,
        max_line_size=LINE_BYTES_MAX,
    )
    await runner.setup()
    try:
        async with (
            life.chores(stream.run(), market.run(stream.feed, stream.refused, stream.say)),
            listening(runtime, runner, table.listen, "kite_endpoint.listen", tls),
        ):
            await runtime.stopped.wait()
    finally:
        market.close()
        await runner.cleanup()


def _application(stream: EndpointStream, rest: Routes) -> web.Application:
    """A WebSocket on any path, Kite's REST at the root: some official clients lose a prefix."""
    app = web.Application(middlewares=[web.middleware(guarded)], client_max_size=BODY_BYTES_MAX)
    rest.add_to(app)

    async def anything(request: web.Request) -> web.StreamResponse:
        if web.WebSocketResponse().can_prepare(request).ok:
            return await stream.handle(request)
        return await rest.other(request)

    app.router.add_route("*", "/{path:.*}", anything)
    return app


if __name__ == "__main__":
    sys.exit(main())
