"""The simulator's WebSocket side: who may connect, and how sockets are pushed to and dropped."""

import asyncio
import hashlib

from kitefeed.kite_server.stream import PULSE_S, Handshake, Stream, push
from kitefeed.protocol.kite.limits import SOCKETS_MAX
from kitefeed.protocol.kite.text import InstrumentsMeta, OrderUpdate, server_message
from kitefeed.simulator.accounts import App
from kitefeed.simulator.connection import SimulatedConnection
from kitefeed.simulator.faults import Fault
from kitefeed.simulator.replayed import RecordedMarket
from kitefeed.simulator.world import World


class SimulatedStream(Stream[SimulatedConnection]):
    def __init__(self, world: World, pulse_s: float = PULSE_S) -> None:
        super().__init__(world.wall_ns, pulse_s)
        self._world = world
        dump = "".join(listing.key for listing in world.market.listings)
        self._etag = hashlib.sha256(dump.encode()).hexdigest()[:26].upper()

    def connections(self, app: App | None = None) -> list[SimulatedConnection]:
        """Those of one app, or all."""
        return [each for each in self.open_sockets if app is None or each.app is app]

    def instruments_meta(self) -> InstrumentsMeta:
        return InstrumentsMeta(len(self._world.market.listings), self._etag)

    def admit(self, handshake: Handshake) -> SimulatedConnection | int:
        app = self._world.accounts.by_key(handshake.api_key)
        status = self._status(app, handshake.access_token)
        number = app.number if app else None
        self._world.stats.count_handshake(status, number, self._world.wall_ns())
        if status != 101 or app is None:
            return status
        if not self.connections(app):  # what happened before was told to nobody, and is lost
            self._world.exchange.book(app).outbox.clear()
        return SimulatedConnection(app, handshake.ws, handshake.transport, self._world)

    def _status(self, app: App | None, access_token: str) -> int:
        if app is None or self._world.accounts.authorise(app.api_key, access_token) is not app:
            return 403
        if self._world.faults.stands(Fault.NO_ENTITLEMENT, app.number):
            return 403
        refused = self._world.faults.argument(Fault.REFUSE_WS, app.number)
        if refused is not None:
            return int(refused)
        return 101 if len(self.connections(app)) < SOCKETS_MAX else 429

    async def delay(self, connection: SimulatedConnection) -> None:
        slow_s = self._world.faults.argument(Fault.SLOW_WS, connection.app.number)
        await asyncio.sleep(float(slow_s or 0))

    async def run(self) -> None:
        """A market that was recorded is played message by message, each sent before the next, from
        the first subscription on; any other moves with the pulse."""
        market = self._world.market
        if not isinstance(market, RecordedMarket):
            await super().run()
            return
        while not any(each.subscriptions.modes for each in self.open_sockets):
            await self._pause(self._pulse_s)
        await self._pause(self._pulse_s)  # modes are asked for after instruments
        while (due_ns := market.due_ns(self._world.wall_ns())) is not None:
            while (wait_ns := due_ns - self._world.wall_ns()) > 0:
                await self._pause(min(self._pulse_s, wait_ns / 1e9))
            for _ in market.play(self._world.wall_ns()):
                await self.beat()
            await asyncio.sleep(0)
        await super().run()

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.beat()

    async def prepare(self, now_ns: int) -> None:
        """Moves what is subscribed to, also where a fault keeps it from being sent, and what
        orders wait for."""
        for connection in self.open_sockets:
            self._world.market.advance(connection.subscriptions.modes, now_ns)
        self._world.exchange.beat(now_ns)
        await self.tell_orders()

    async def tell_orders(self) -> None:
        """Tell every socket of an app what happened to the app's orders since."""
        for app, postback in self._world.exchange.take_updates():
            await self.push(app, server_message(OrderUpdate(postback)))

    async def push(self, app: App, text: bytes) -> int:
        """A text message on every socket of the app; how many there were."""
        return await push(self.connections(app), text)

    async def drop(self, app: App | None, how: str, *, newest: int | None = None) -> None:
        """End the sockets of one app, or all, or only the `newest` ones; see
        `SimulatedConnection.drop`."""
        connections = self.connections(app)[-newest if newest else None :]
        for connection in connections:
            self.forget(connection)  # a client that returns at once is not a fourth
        await asyncio.gather(*(each.drop(how) for each in connections), return_exceptions=True)
