"""gateway: the page, health, metrics and values over HTTP."""

import asyncio
import sys

from aiohttp import web

from kitefeed.actors.runtime import memory
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.client.feed_async import AsyncFeed
from kitefeed.services import life
from kitefeed.services.gateway.history import History
from kitefeed.services.gateway.readers import Readers
from kitefeed.services.gateway.routes import Gateway
from kitefeed.services.listening import IDLE_S, listening, split, tls_of

NAME = "gateway"
SHUTDOWN_S = 1.0


def main() -> int:
    memory.close_to_others()  # a login's secret passes through it
    return life.run(NAME, live)


async def live(runtime: Runtime) -> None:
    settings = runtime.settings
    table = settings.config.gateway
    listen = table.listen
    tls = tls_of(settings.certificate_paths(table), "gateway.certificate", settings.source)
    # It reads the feed's words alone; the values are the readers'.
    feed = AsyncFeed([], config=settings.source, name=NAME)
    history = History()
    readers = Readers(settings.source, NAME, history)
    gateway = Gateway(feed, readers, history, settings)
    runner = web.AppRunner(
        gateway.application(*split(listen)),
        access_log=None,  # its lines would hold what browsers send
        keepalive_timeout=IDLE_S,
        shutdown_timeout=SHUTDOWN_S,
        handler_cancellation=True,
    )
    await runner.setup()
    try:
        async with (
            life.chores(life.opened(feed, settings.source), _look(gateway, readers)),
            listening(runtime, runner, listen, "gateway.listen", tls),
        ):
            await runtime.stopped.wait()
    finally:
        readers.close()
        feed.close()
        await runner.cleanup()


async def _look(gateway: Gateway, readers: Readers) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(to_next_s(loop.time()))
        gateway.look()
        readers.sweep()


if __name__ == "__main__":
    sys.exit(main())
