"""The WebSocket side: who may connect, what every socket is told first, and the market's pulse."""

import asyncio
import hashlib
from datetime import datetime

from aiohttp import WSMsgType, web

from kitefeed.protocol.kite.rest import IST
from kitefeed.protocol.kite.text import AppCode, InstrumentsMeta, server_message
from kitefeed.simulator.accounts import App
from kitefeed.simulator.connection import CLOSE_WAIT_S, Connection
from kitefeed.simulator.faults import Fault
from kitefeed.simulator.world import World

CONNECTIONS_MAX = 3  # per api_key; a fourth handshake is answered with 429
MESSAGE_BYTES_MAX = 1024 * 1024  # of a client; 3000 tokens in one message are 27 KB
PULSE_S = 0.25  # Kite sends about four frames in a second
NS_PER_S = 1_000_000_000
_REFUSALS = {403: "Authentication failed", 429: "Too many requests"}


class Stream:
    """Every open socket. `run` beats until cancelled."""

    def __init__(self, world: World, pulse_s: float = PULSE_S) -> None:
        self._world = world
        self._pulse_s = pulse_s
        self._connections: list[Connection] = []
        self.most_open = 0  # at once, ever
        dump = "".join(listing.key for listing in world.market.listings)
        self._etag = hashlib.sha256(dump.encode()).hexdigest()[:26].upper()

    def connections(self, app: App | None = None) -> list[Connection]:
        """Those of one app, or all."""
        return [each for each in self._connections if app is None or each.app is app]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """`GET /`: the handshake, and then the socket's whole life."""
        ws = web.WebSocketResponse(
            timeout=CLOSE_WAIT_S,
            autoclose=False,
            autoping=False,
            compress=False,
            max_msg_size=MESSAGE_BYTES_MAX,
        )
        if not ws.can_prepare(request).ok or request.transport is None:
            return web.Response(status=400, text="Bad Request")
        app = self._world.accounts.by_key(request.query.get("api_key", ""))
        status = self._handshake_status(app, request.query.get("access_token", ""))
        self._world.stats.count_handshake(
            status, app.number if app else None, self._world.wall_ns()
        )
        if status != 101 or app is None:
            return web.Response(status=status, text=_REFUSALS.get(status, "Unavailable"))
        await asyncio.sleep(float(self._world.faults.argument(Fault.SLOW_WS, app.number) or 0))
        connection = Connection(app, ws, request.transport, self._world)
        # Counted before the handshake is answered: two at once must not both be the third.
        self._connections.append(connection)
        self.most_open = max(self.most_open, len(self._connections))
        try:
            await ws.prepare(request)
            await self._greet(connection)
            await self._serve(connection, ws)
        except ConnectionError:
            pass  # the peer went away while we wrote
        finally:
            self._forget(connection)
        return ws

    def _handshake_status(self, app: App | None, access_token: str) -> int:
        if app is None or self._world.accounts.authorise(app.api_key, access_token) is not app:
            return 403
        if self._world.faults.stands(Fault.NO_ENTITLEMENT, app.number):
            return 403
        refused = self._world.faults.argument(Fault.REFUSE_WS, app.number)
        if refused is not None:
            return int(refused)
        return 101 if len(self.connections(app)) < CONNECTIONS_MAX else 429

    async def _greet(self, connection: Connection) -> None:
        meta = InstrumentsMeta(len(self._world.market.listings), self._etag)
        await connection.send_text(server_message(meta))
        now = datetime.fromtimestamp(self._world.wall_ns() // NS_PER_S, IST)
        await connection.send_text(server_message(AppCode(now.isoformat())))

    async def _serve(self, connection: Connection, ws: web.WebSocketResponse) -> None:
        while True:
            message = await ws.receive()
            is_silent = connection.stands(Fault.SILENCE)
            match message.type:
                case WSMsgType.CLOSE if is_silent:
                    # Not answered: the peer has to drop the connection, which cancels this.
                    await asyncio.Event().wait()
                case WSMsgType.CLOSE:
                    await connection.close(message.data or 1000)
                    return
                case WSMsgType.TEXT:
                    await connection.handle(message.data.encode(), self._world.wall_ns())
                case WSMsgType.PING if not is_silent:
                    await connection.pong(message.data)
                case WSMsgType.CLOSED | WSMsgType.CLOSING | WSMsgType.ERROR:
                    return

    async def run(self) -> None:
        """Moves what is subscribed to and sends what changed, every `pulse_s`."""
        clock = asyncio.get_running_loop().time
        next_pulse_s = clock()
        while True:
            # Against a fixed grid, so that four pulses are a second however long each takes.
            next_pulse_s = max(next_pulse_s + self._pulse_s, clock())
            await asyncio.sleep(next_pulse_s - clock())
            for connection in self.connections():
                await self._pulse(connection)

    async def _pulse(self, connection: Connection) -> None:
        now_ns = self._world.wall_ns()
        self._world.market.advance(connection.subscriptions.modes, now_ns)
        try:
            await connection.pulse(now_ns)
        except ConnectionError:
            self._forget(connection)

    async def push(self, app: App, text: bytes) -> int:
        """A text message on every socket of the app; how many there were."""
        connections = self.connections(app)
        await asyncio.gather(
            *(connection.send_text(text) for connection in connections), return_exceptions=True
        )
        return len(connections)

    async def drop(self, app: App | None, how: str, *, newest: int | None = None) -> None:
        """End the sockets of one app, or all, or only the `newest` ones; see `Connection.drop`."""
        connections = self.connections(app)[-newest if newest else None :]
        for connection in connections:
            self._forget(connection)  # a client that returns at once is not a fourth
        await asyncio.gather(*(each.drop(how) for each in connections), return_exceptions=True)

    def _forget(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
