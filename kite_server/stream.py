"""Kite's WebSocket server: the handshake, the first messages of every socket, and the pulse."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from aiohttp import WSMsgType, web

from kitefeed.kite_server.connection import Connection
from kitefeed.protocol.kite.text import AppCode, InstrumentsMeta, server_message
from kitefeed.protocol.kite.units import IST, NS_PER_S

CLOSE_WAIT_S = 0.3  # for the peer's close frame
MESSAGE_BYTES_MAX = 1024 * 1024  # of a client; 3000 tokens in one message are 27 KB
PULSE_S = 0.25  # Kite sends about four frames in a second
_REFUSALS = {403: "Authentication failed", 429: "Too many requests"}

Socket = TypeVar("Socket", bound=Connection)


class Handshake(NamedTuple):
    """A client's request for a socket."""

    api_key: str
    access_token: str
    ws: web.WebSocketResponse
    transport: asyncio.Transport


class Stream(ABC, Generic[Socket]):
    """Every open socket of one server. `run` beats until cancelled."""

    def __init__(self, wall_ns: Callable[[], int], pulse_s: float = PULSE_S) -> None:
        self._wall_ns = wall_ns
        self._pulse_s = pulse_s
        self._connections: list[Socket] = []
        self.most_open = 0  # at once, ever

    @abstractmethod
    def admit(self, handshake: Handshake) -> Socket | int:
        """Return the connection of a client who may enter; for anybody else the HTTP status."""

    @abstractmethod
    def instruments_meta(self) -> InstrumentsMeta:
        """Return the message about the instrument dump for a new socket."""

    def refusal(self, status: int) -> str:
        """Return the body of a refused handshake."""
        return _REFUSALS.get(status, "Unavailable")

    async def delay(self, connection: Socket) -> None:
        """Wait before a handshake is answered."""
        return

    async def prepare(self, now_ns: int) -> None:
        """Prepare each pulse, before the sockets are looked at."""
        return

    @property
    def open_sockets(self) -> list[Socket]:
        """The open sockets, and those whose handshake is still being answered: they count."""
        return list(self._connections)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve `GET /`: the handshake, and then the socket's whole life."""
        ws = web.WebSocketResponse(
            timeout=CLOSE_WAIT_S,
            autoclose=False,
            autoping=False,
            compress=False,
            max_msg_size=MESSAGE_BYTES_MAX,
        )
        if not ws.can_prepare(request).ok or request.transport is None:
            return web.Response(status=400, text="Bad Request")
        key, token = (request.query.get(name, "") for name in ("api_key", "access_token"))
        admitted = self.admit(Handshake(key, token, ws, request.transport))
        if isinstance(admitted, int):
            return web.Response(status=admitted, text=self.refusal(admitted))
        # Count it before the handshake is answered: two at once must not both be the third socket.
        self._connections.append(admitted)
        self.most_open = max(self.most_open, len(self._connections))
        try:
            await self.delay(admitted)
            await ws.prepare(request)
            admitted.is_open = True
            await self.greet(admitted)
            await self._serve(admitted, ws)
        except ConnectionError:
            pass  # the peer went away while we wrote
        finally:
            self.forget(admitted)
        return ws

    async def greet(self, connection: Socket) -> None:
        """Send a new socket its first messages."""
        await connection.send_text(server_message(self.instruments_meta()))
        now = datetime.fromtimestamp(self._wall_ns() // NS_PER_S, IST)
        await connection.send_text(server_message(AppCode(now.isoformat())))

    async def _serve(self, connection: Socket, ws: web.WebSocketResponse) -> None:
        while True:
            message = await ws.receive()
            match message.type:
                case WSMsgType.CLOSE:
                    await connection.answer_close(message.data or 1000)
                    return
                case WSMsgType.TEXT:
                    await connection.handle(message.data.encode(), self._wall_ns())
                case WSMsgType.PING:
                    await connection.pong(message.data)
                case WSMsgType.CLOSED | WSMsgType.CLOSING | WSMsgType.ERROR:
                    return

    async def run(self) -> None:
        """Send what changed, every `pulse_s`."""
        clock = asyncio.get_running_loop().time
        next_pulse_s = clock()
        while True:
            # Against a fixed grid, so that four pulses are a second however long each takes.
            next_pulse_s = max(next_pulse_s + self._pulse_s, clock())
            await asyncio.sleep(next_pulse_s - clock())
            await self.beat()

    async def beat(self) -> None:
        """Send every socket what changed."""
        await self.prepare(self._wall_ns())
        for connection in self.open_sockets:
            try:
                await connection.pulse(self._wall_ns())
            except ConnectionError:
                self.forget(connection)

    def forget(self, connection: Socket) -> None:
        """Count this connection no more."""
        if connection in self._connections:
            self._connections.remove(connection)


async def push(connections: list[Socket], text: bytes) -> int:
    """Send a text message on all of these; return how many there are."""
    await asyncio.gather(*(each.send_text(text) for each in connections), return_exceptions=True)
    return len(connections)
