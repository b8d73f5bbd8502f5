"""One open WebSocket: what it may still say, and the ways it ends."""

import asyncio
import socket
import struct
from collections.abc import Sequence
from itertools import cycle

from aiohttp import WSMsgType, web

from kitefeed.protocol.kite.text import ServerError, server_message
from kitefeed.protocol.kite.ticks import encode_packet, frame_of_packets
from kitefeed.simulator.accounts import App
from kitefeed.simulator.faults import Fault
from kitefeed.simulator.subscriptions import Due, Subscriptions
from kitefeed.simulator.world import World

HEARTBEAT = b"\x00"  # one byte; its value means nothing
HEARTBEAT_NS = 1_000_000_000
PACKETS_PER_FRAME = 200  # about what a busy socket of Kite carries
# A reader this far behind is cut off, as on Kite. A burst of 3000 full packets is 0.6 MB.
UNREAD_BYTES_MAX = 4 * 1024 * 1024
CLOSE_WAIT_S = 0.3  # for the peer's close frame
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


class Connection:
    """Nothing here waits for the peer: what it does not read is buffered, then it is cut off."""

    def __init__(
        self,
        app: App,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        world: World,
    ) -> None:
        self.app = app
        self.subscriptions = Subscriptions(world.market)
        self._ws = ws
        self._transport = transport
        self._world = world
        self._heartbeat_due_ns = 0
        self._garbage = cycle(GARBAGE)
        # Above the limit at which we cut off, so that a send never waits for a slow reader.
        transport.set_write_buffer_limits(high=2 * UNREAD_BYTES_MAX)

    def stands(self, fault: Fault) -> bool:
        return self._world.faults.stands(fault, self.app.number)

    async def pulse(self, now_ns: int) -> None:
        """What is due: changed ticks, a heartbeat, garbage if ordered. Nothing when silenced."""
        if self.stands(Fault.SILENCE):
            return
        if not self.stands(Fault.MUTE):
            await self._send_packets(self.subscriptions.changed(self._frozen()), now_ns)
        if now_ns >= self._heartbeat_due_ns:
            self._heartbeat_due_ns = now_ns + HEARTBEAT_NS
            await self._send(WSMsgType.BINARY, HEARTBEAT)
        if self.stands(Fault.GARBAGE):
            await self._send(*next(self._garbage))

    async def handle(self, payload: bytes, now_ns: int) -> None:
        """One message of the client."""
        self._world.stats.count_message(payload)
        packets, error = self.subscriptions.handle(payload, now_ns)
        if error is not None:
            await self.send_text(server_message(ServerError(error)))
        if self.stands(Fault.SILENCE) or self.stands(Fault.MUTE):
            self.subscriptions.take_back(packets)
        else:
            await self._send_packets(packets, now_ns)

    async def send_text(self, text: bytes) -> None:
        if not self.stands(Fault.SILENCE):
            await self._send(WSMsgType.TEXT, text)

    async def pong(self, payload: bytes) -> None:
        await self._ws.pong(payload)

    async def close(self, code: int) -> None:
        """A close frame, then the connection, within CLOSE_WAIT_S."""
        await self._ws.close(code=code)

    def _frozen(self) -> int | None:
        token = self._world.faults.argument(Fault.FREEZE, self.app.number)
        return None if token is None else int(token)

    async def drop(self, how: str) -> None:
        """End it: `close` or a close code politely, `twice` with a close frame too many, `fin` and
        `rst` without any."""
        match how:
            case "fin":
                self._transport.close()
            case "rst":
                self._reset()
            case "twice":
                await self._ws.send_frame(_CLOSE_1000, WSMsgType.CLOSE)
                await self.close(1000)
            case "close":
                await self.close(1000)
            case code:
                await self.close(int(code))

    def _reset(self) -> None:
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()

    async def _send_packets(self, packets: Sequence[Due], now_ns: int) -> None:
        for start in range(0, len(packets), PACKETS_PER_FRAME):
            part = packets[start : start + PACKETS_PER_FRAME]
            self._world.stats.count_packets(part, now_ns)
            frame = frame_of_packets([encode_packet(due.body) for due in part])
            await self._send(WSMsgType.BINARY, frame)

    async def _send(self, kind: WSMsgType, payload: bytes) -> None:
        if self._ws.closed or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self._transport.abort()
            return
        await self._ws.send_frame(payload, kind)
