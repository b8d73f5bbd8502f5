"""gateway: the feed's health over HTTP, for people and monitors on this host."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from kitefeed.actors.runtime.process import Runtime
from kitefeed.client.feed_async import AsyncFeed
from kitefeed.protocol.errors import Unavailable
from kitefeed.services import life
from kitefeed.services.gateway import health
from kitefeed.services.gateway.doors import BODY_BYTES_MAX, guarded, names_of, only_for, sealed

NAME = "gateway"
BIND_AGAIN_S = 5.0
SHUTDOWN_S = 1.0
log = logging.getLogger(NAME)


def main() -> int:
    return life.run(NAME, live)


async def live(runtime: Runtime) -> None:
    address, port = split(runtime.settings.config.gateway.listen)
    async with reading(runtime) as feed:
        runner = web.AppRunner(
            application(feed, address, port),
            access_log=None,  # its lines would hold what browsers send
            shutdown_timeout=SHUTDOWN_S,
            handler_cancellation=True,
        )
        await runner.setup()
        try:
            server = await _listen(runtime, runner, address, port)
            await runtime.stopped.wait()
            if server is not None:
                server.close()
        finally:
            await runner.cleanup()


@contextlib.asynccontextmanager
async def reading(runtime: Runtime) -> AsyncIterator[AsyncFeed]:
    """The feed's words without its ticks. The daemon may start later than we do."""
    settings = runtime.settings
    feed = AsyncFeed("NONE:-*", config=settings.source, name=NAME)
    opening = asyncio.ensure_future(_open(feed))
    try:
        yield feed
    finally:
        opening.cancel()
        feed.close()


async def _open(feed: AsyncFeed) -> None:
    while True:
        with contextlib.suppress(Unavailable):
            await feed.__aenter__()
            return


async def _listen(
    runtime: Runtime, runner: web.AppRunner, address: str, port: int
) -> asyncio.Server | None:
    """Binds, however long another program holds the address; None when we are to stop before."""
    loop = asyncio.get_running_loop()
    if runner.server is None:
        raise RuntimeError("the runner was not set up")
    factory = guarded(runner.server)
    is_said = False
    while not runtime.stopped.is_set():
        try:
            server = await loop.create_server(factory, address, port, reuse_address=True)
        except OSError as error:
            if not is_said:
                log.warning(
                    "cannot listen at %s:%d (%s), and tries again: end what uses it, or choose "
                    "another gateway.listen",
                    address,
                    port,
                    error.strerror,
                )
                is_said = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(runtime.stopped.wait(), BIND_AGAIN_S)
        else:
            log.info("ready at http://%s:%d", address, port)
            return server
    return None


def split(listen: str) -> tuple[str, int]:
    """Address and port of a checked setting; brackets of IPv6 taken off."""
    address, _, port = listen.rpartition(":")
    return address.strip("[]"), int(port)


def application(feed: AsyncFeed, address: str, port: int) -> web.Application:
    app = web.Application(
        middlewares=[sealed, only_for(names_of(address, port))], client_max_size=BODY_BYTES_MAX
    )

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        found = health.judge(feed.status, feed.heartbeat)
        return _json(found, 200 if found.is_healthy else 503)

    async def of_websocket(_: web.Request) -> web.Response:
        return _json(health.of_websocket(health.judge(feed.status, feed.heartbeat)), 200)

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/health", ready)
    app.router.add_get("/health/websocket", of_websocket)
    return app


def _json(body: msgspec.Struct, status: int) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )


if __name__ == "__main__":
    sys.exit(main())
