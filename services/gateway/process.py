"""gateway: health, metrics and values over HTTP, for people and programs on this host."""

import asyncio
import contextlib
import logging
import sys

from aiohttp import web

from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.client.feed_async import AsyncFeed
from kitefeed.protocol.errors import Unavailable
from kitefeed.services import life
from kitefeed.services.gateway.doors import guarded
from kitefeed.services.gateway.readers import Readers
from kitefeed.services.gateway.routes import Gateway

NAME = "gateway"
BIND_AGAIN_S = 5.0
SHUTDOWN_S = 1.0
log = logging.getLogger(NAME)


def main() -> int:
    return life.run(NAME, live)


async def live(runtime: Runtime) -> None:
    settings = runtime.settings
    address, port = split(settings.config.gateway.listen)
    # A pattern that fits nothing: this one reads the feed's words, its values are the readers'.
    feed = AsyncFeed("NONE:-*", config=settings.source, name=NAME)
    readers = Readers(settings.source, NAME)
    gateway = Gateway(feed, readers, settings.runtime_dir)
    runner = web.AppRunner(
        gateway.application(address, port),
        access_log=None,  # its lines would hold what browsers send
        shutdown_timeout=SHUTDOWN_S,
        handler_cancellation=True,
    )
    chores = [asyncio.ensure_future(_open(feed)), asyncio.ensure_future(_look(gateway, readers))]
    await runner.setup()
    try:
        server = await _listen(runtime, runner, address, port)
        await runtime.stopped.wait()
        if server is not None:
            server.close()
    finally:
        for chore in chores:
            chore.cancel()
        readers.close()
        feed.close()
        await runner.cleanup()


async def _look(gateway: Gateway, readers: Readers) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(to_next_s(loop.time()))
        gateway.look()
        readers.sweep()


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


if __name__ == "__main__":
    sys.exit(main())
