"""One open WebSocket: its subscriptions, its heartbeat, and everything that is written to it."""

import asyncio
from collections.abc import Sequence

from aiohttp import WSMsgType, web

from kitefeed.kite_server.subscriptions import Packet, Subscriptions, ValueSource
from kitefeed.protocol.kite.text import ServerError, server_message
from kitefeed.protocol.kite.ticks import encode_packet, frame_of_packets
from kitefeed.protocol.kite.units import NS_PER_S

HEARTBEAT = b"\x00"  # one byte; its value means nothing
HEARTBEAT_NS = NS_PER_S
PACKETS_PER_FRAME = 200  # about what a busy socket of Kite carries
# A reader this far behind is cut off, as on Kite. A burst of 3000 full packets is 0.6 MB.
UNREAD_BYTES_MAX = 4 * 1024 * 1024


def binary_message(payload: bytes) -> bytes:
    """Return a server's WebSocket message (RFC 6455, 5.2). The bytes are the same for all
    receivers: nothing is masked or compressed in this direction."""
    count = len(payload)
    if count < 126:
        head = bytes((0x82, count))
    elif count < 1 << 16:
        head = b"\x82\x7e" + count.to_bytes(2, "big")
    else:
        head = b"\x82\x7f" + count.to_bytes(8, "big")
    return head + payload


class Connection:
    """One open WebSocket, which never waits for the peer: unread bytes are buffered up to a limit,
    then the peer is cut off.

    `is_open` turns true when the handshake has been answered; before, nothing is written.
    """

    def __init__(
        self, ws: web.WebSocketResponse, transport: asyncio.Transport, source: ValueSource
    ) -> None:
        self.subscriptions = Subscriptions(source)
        self.is_open = False
        self._ws = ws
        self._transport = transport
        self._heartbeat_due_ns = 0
        # Above the limit at which we cut off, so that a send never waits for a slow reader.
        transport.set_write_buffer_limits(high=2 * UNREAD_BYTES_MAX)

    async def pulse(self, now_ns: int) -> None:
        """Send what is due: packets that changed, and a heartbeat."""
        await self.send_packets(self.subscriptions.changed(), now_ns)
        await self.beat(now_ns)

    async def beat(self, now_ns: int) -> None:
        if now_ns >= self._heartbeat_due_ns:
            self._heartbeat_due_ns = now_ns + HEARTBEAT_NS
            await self.send(WSMsgType.BINARY, HEARTBEAT)

    async def handle(self, payload: bytes, now_ns: int) -> None:
        """Apply one message of the client and answer it."""
        packets, error = self.subscriptions.handle(payload, now_ns)
        if error is not None:
            await self.send_text(server_message(ServerError(error)))
        await self.send_packets(packets, now_ns)

    async def pass_on(self, message: bytes) -> None:
        """Send a message of `binary_message`, as it is."""
        if await self._can_send():
            self._transport.write(message)

    async def send_text(self, text: bytes) -> None:
        await self.send(WSMsgType.TEXT, text)

    async def send_packets(self, packets: Sequence[Packet], now_ns: int) -> None:
        for start in range(0, len(packets), PACKETS_PER_FRAME):
            part = packets[start : start + PACKETS_PER_FRAME]
            frame = frame_of_packets([encode_packet(due.body) for due in part])
            await self.send(WSMsgType.BINARY, frame)

    async def send(self, kind: WSMsgType, payload: bytes) -> None:
        if await self._can_send():
            await self._ws.send_frame(payload, kind)

    async def _can_send(self) -> bool:
        if not self.is_open or self._ws.closed or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            await self.cut_off()
            return False
        return True

    async def pong(self, payload: bytes) -> None:
        """Answer a ping. Never sent unasked: it arms a dead-man's check of KiteTicker, which then
        drops the socket every few seconds."""
        await self._ws.pong(payload)

    async def answer_close(self, code: int) -> None:
        """Close the connection, because the peer said goodbye."""
        await self.close(code)

    async def close(self, code: int) -> None:
        """Send a close frame, then end the connection within `stream.CLOSE_WAIT_S`."""
        await self._ws.close(code=code)

    async def cut_off(self) -> None:
        """Drop the connection of a peer that does not read what it is sent."""
        self._transport.abort()

    def cut(self) -> None:
        """End the connection without a word."""
        self._transport.close()
