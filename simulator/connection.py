"""One open WebSocket of the simulator: Kite's, the statistics, and the ways it goes wrong."""

import asyncio
import socket
import struct
from collections.abc import Sequence
from itertools import cycle

from aiohttp import WSMsgType, web

from kitefeed.kite_server.connection import Connection
from kitefeed.kite_server.subscriptions import Packet
from kitefeed.protocol.kite.text import SetMode, Subscribe, Unsubscribe, parse_client_message
from kitefeed.simulator.accounts import App
from kitefeed.simulator.faults import Fault
from kitefeed.simulator.world import World

_CLOSE_1000 = struct.pack(">H", 1000)
_LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST
# Each breaks another assumption: a frame cut short, a packet of no known length, an empty frame,
# no packets at all, bytes behind the last packet, and JSON that is no object.
GARBAGE: tuple[tuple[WSMsgType, bytes], ...] = (
    (WSMsgType.BINARY, bytes.fromhex("000200b8 00063a01")),
    (WSMsgType.BINARY, bytes.fromhex("00010011 00063a01") + bytes(13)),
    (WSMsgType.BINARY, b""),
    (WSMsgType.BINARY, bytes(2)),
    (WSMsgType.BINARY, bytes.fromhex("00010000 ffff")),
    (WSMsgType.TEXT, b"[1, 2]"),
)


class SimulatedConnection(Connection):
    """As Kite's, until a fault stands."""

    def __init__(
        self,
        app: App,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        world: World,
    ) -> None:
        super().__init__(ws, transport, world.market)
        self.app = app
        self._world = world
        self._garbage = cycle(GARBAGE)

    def stands(self, fault: Fault) -> bool:
        return self._world.faults.stands(fault, self.app.number)

    async def pulse(self, now_ns: int) -> None:
        """Garbage behind the rest if ordered. Nothing at all when silenced."""
        if self.stands(Fault.SILENCE):
            return
        if not self.stands(Fault.MUTE):
            token = self._world.faults.argument(Fault.FREEZE, self.app.number)
            frozen = None if token is None else int(token)
            await self.send_packets(self.subscriptions.changed(frozen), now_ns)
        await self.beat(now_ns)
        if self.stands(Fault.GARBAGE):
            await self.send(*next(self._garbage))

    async def handle(self, payload: bytes, now_ns: int) -> None:
        self._world.stats.count_message(payload)
        if not self._is_lost(payload):
            await super().handle(payload, now_ns)

    def _is_lost(self, payload: bytes) -> bool:
        match parse_client_message(payload):
            case Subscribe():
                return self._world.faults.is_lost(Fault.LOSE_SUBSCRIBE, self.app.number)
            case Unsubscribe():
                return self._world.faults.is_lost(Fault.LOSE_UNSUBSCRIBE, self.app.number)
            case SetMode():
                return self._world.faults.is_lost(Fault.LOSE_MODE, self.app.number)
            case _:
                return False

    async def send_text(self, text: bytes) -> None:
        if not self.stands(Fault.SILENCE):
            await super().send_text(text)

    async def send_packets(self, packets: Sequence[Packet], now_ns: int) -> None:
        if self.stands(Fault.SILENCE) or self.stands(Fault.MUTE):
            self.subscriptions.take_back(packets)
            return
        self._world.stats.count_packets(packets, now_ns)
        await super().send_packets(packets, now_ns)

    async def pong(self, payload: bytes) -> None:
        if not self.stands(Fault.SILENCE):
            await super().pong(payload)

    async def answer_close(self, code: int) -> None:
        if self.stands(Fault.SILENCE):
            await asyncio.Event().wait()  # the peer has to drop the connection, which cancels this
        await super().answer_close(code)

    async def drop(self, how: str) -> None:
        """End it: `close` or a close code politely, `empty` with a close frame that names no code,
        `twice` with a close frame too many, `fin` and `rst` without any."""
        match how:
            case _ if not self.is_open:  # its handshake still waits for an answer
                self.cut()
            case "fin":
                self.cut()
            case "rst":
                raw = self._transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
                self._transport.abort()
            case "empty":
                await self._ws.send_frame(b"", WSMsgType.CLOSE)
                self.cut()
            case "twice":
                await self._ws.send_frame(_CLOSE_1000, WSMsgType.CLOSE)
                await self.close(1000)
            case "close":
                await self.close(1000)
            case code:
                await self.close(int(code))
