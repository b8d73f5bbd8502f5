"""How a service holds its address: however long another program has it, and for so many at once."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from kitefeed.actors.runtime.process import Runtime

CONNECTIONS_MAX = 256  # a descriptor each
BIND_AGAIN_S = 5.0


@contextlib.asynccontextmanager
async def listening(
    runtime: Runtime,
    runner: web.AppRunner,
    listen: str,
    setting: str,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """Serves at `listen` (a checked `setting`) until it is left. A busy address is said once and
    tried again; it returns as soon as it is bound, or `runtime` is to stop."""
    server = await _bind(runtime, runner, listen, setting, tls)
    try:
        yield
    finally:
        if server is not None:
            server.close()


async def _bind(
    runtime: Runtime,
    runner: web.AppRunner,
    listen: str,
    setting: str,
    tls: ssl.SSLContext | None,
) -> asyncio.Server | None:
    log = logging.getLogger(runtime.role)
    loop = asyncio.get_running_loop()
    if runner.server is None:
        raise RuntimeError("the runner was not set up")
    address, port = split(listen)
    is_said = False
    while not runtime.stopped.is_set():
        try:
            server = await loop.create_server(
                limited(runner.server), address, port, ssl=tls, reuse_address=True
            )
        except OSError as error:
            if not is_said:
                is_said = True
                log.warning(
                    "cannot listen at %s (%s), and tries again: end what uses it, or choose "
                    "another %s",
                    listen,
                    error.strerror,
                    setting,
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(runtime.stopped.wait(), BIND_AGAIN_S)
        else:
            log.info("ready at http%s://%s", "s" if tls else "", listen)
            return server
    return None


def limited(
    server: web.Server, connections_max: int = CONNECTIONS_MAX
) -> Callable[[], asyncio.Protocol]:
    """The protocol factory `server` for `connections_max` at once; one more is closed before a byte
    of it is read."""

    def admit() -> asyncio.Protocol:
        return _Closed() if len(server.connections) >= connections_max else server()

    return admit


class _Closed(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def split(listen: str) -> tuple[str, int]:
    """Address and port of a checked setting; brackets of IPv6 taken off."""
    address, _, port = listen.rpartition(":")
    return address.strip("[]"), int(port)
