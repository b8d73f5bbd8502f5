"""Holds a service's address: however long another program has it, and for so many at once."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from kitefeed.actors.runtime.process import Runtime
from kitefeed.protocol.errors import ConfigError

CONNECTIONS_MAX = 256  # a descriptor each
HANDSHAKE_S = 5.0  # for TLS
IDLE_S = 30.0  # a connection that asks for nothing; the services' `keepalive_timeout`
BIND_AGAIN_S = 5.0
ACCEPT_AGAIN_S = 0.1  # there was no descriptor left


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
    if runner.server is None:
        raise RuntimeError("the runner was not set up")
    listener = await _bind(runtime, listen, setting)
    if listener is None:
        yield
        return
    logging.getLogger(runtime.role).info("ready at http%s://%s", "s" if tls else "", listen)
    async with serving(runner.server, listener, tls):
        yield


@contextlib.asynccontextmanager
async def serving(
    server: web.Server, listener: socket.socket, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve all who come to `listener`, which it closes in the end."""
    door = _Door(server, listener, tls)
    taking_in = asyncio.ensure_future(door.take_in())
    try:
        yield
    finally:
        await door.close(taking_in)


class _Door:
    """Takes in one after the other, CONNECTIONS_MAX at once, those that still shake hands included.
    When there is no room, the one that has waited longest without asking for anything is cut for
    the next one's sake; when all have asked, the next one is closed before a byte of it is read."""

    def __init__(
        self, server: web.Server, listener: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        self._server = server
        self._listener = listener
        self._tls = tls
        self._entering: set[asyncio.Future[None]] = set()
        self._silent: dict[web.RequestHandler, None] = {}  # the oldest first
        make = server.request_factory

        def asked(message: Any, payload: Any, handler: Any, *more: Any) -> Any:
            self._silent.pop(handler, None)
            return make(message, payload, handler, *more)

        server.request_factory = asked

    async def take_in(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            if self._has_room():
                entering = asyncio.ensure_future(self._enter(connection))
                self._entering.add(entering)
                entering.add_done_callback(self._entering.discard)
            else:
                connection.close()
            await asyncio.sleep(0)  # the others' turn: a flood finds the next one waiting already

    async def close(self, taking_in: asyncio.Future[None]) -> None:
        tasks = [taking_in, *self._entering]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    def _has_room(self) -> bool:
        standing = self._server.connections
        if len(standing) + len(self._entering) < CONNECTIONS_MAX:
            return True
        for handler in self._waiting(standing):
            handler.force_close()
            del self._silent[handler]
            return True
        return False

    def _waiting(self, standing: list[web.RequestHandler]) -> list[web.RequestHandler]:
        known = set(standing)
        return [handler for handler in self._silent if handler in known]

    async def _enter(self, connection: socket.socket) -> None:
        if len(self._silent) > 2 * CONNECTIONS_MAX:  # of those that have gone without a word
            self._silent = dict.fromkeys(self._waiting(self._server.connections))
        handler = self._server()
        self._silent[handler] = None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: handler,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_S if self._tls else None,
            )
        except OSError:  # of TLS, too: it has gone, or speaks something else
            self._silent.pop(handler, None)


async def _bind(runtime: Runtime, listen: str, setting: str) -> socket.socket | None:
    address, port = split(listen)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    is_said = False
    while not runtime.stopped.is_set():
        try:
            listener = socket.create_server((address, port), family=family, backlog=128)
        except OSError as error:
            if not is_said:
                is_said = True
                logging.getLogger(runtime.role).warning(
                    "cannot listen at %s (%s), and tries again: end what uses it, or choose "
                    "another %s",
                    listen,
                    error.strerror,
                    setting,
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(runtime.stopped.wait(), BIND_AGAIN_S)
        else:
            listener.setblocking(False)
            return listener
    return None


def split(listen: str) -> tuple[str, int]:
    """Return address and port of a checked setting; brackets of IPv6 taken off."""
    address, _, port = listen.rpartition(":")
    return address.strip("[]"), int(port)


def tls_of(
    paths: tuple[Path, Path] | None, setting: str, source: Path | None
) -> ssl.SSLContext | None:
    """Load the owner's certificate and key, of `setting` in the file `source`; None without any.
    Raises ConfigError when they cannot be used."""
    if paths is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(*paths)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{source}: {setting}: {paths[0]} and {paths[1]} cannot be used ({error}); name a PEM "
            "certificate and its key"
        ) from None
    return context
