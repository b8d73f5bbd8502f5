"""A program that does not read what it is sent."""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from kitefeed.kite_server.connection import UNREAD_BYTES_MAX, binary_message
from kitefeed.services.kite_endpoint.stream import EndpointConnection, InitialValues
from tests.support import eventually_async


class Transport:
    """Holds `unread` bytes that nobody takes."""

    def __init__(self, unread: int) -> None:
        self.unread = unread
        self.is_aborted = False
        self.written: list[bytes] = []

    def write(self, message: bytes) -> None:
        self.written.append(message)

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > UNREAD_BYTES_MAX

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.is_aborted = True


class Socket:
    def __init__(self) -> None:
        self.closed = False
        self.sent: list[bytes] = []
        self.said: list[tuple[int, bytes]] = []

    async def send_frame(self, payload: bytes, kind: object) -> None:
        self.sent.append(payload)

    async def close(self, code: int, message: bytes, drain: bool) -> None:
        self.said.append((code, message))


def connection(unread: int) -> tuple[EndpointConnection, Socket, Transport]:
    socket, transport = Socket(), Transport(unread)
    values = InitialValues(lambda _: None, lambda _: False)
    made: Any = EndpointConnection(
        "bot",
        socket,
        transport,
        values,
        lambda _: None,  # type: ignore[arg-type]
    )
    made.is_open = True
    return made, socket, transport


def test_one_that_keeps_up_is_sent_everything() -> None:
    made, socket, transport = connection(0)
    asyncio.run(made.pass_on(b"message"))
    assert (transport.written, transport.is_aborted) == ([b"message"], False)
    asyncio.run(made.tell("why"))
    assert socket.sent == [b'{"type":"error","data":"why"}']


def test_one_that_never_reads_is_cut_off_with_a_code_and_a_reason() -> None:
    async def story() -> tuple[Socket, Transport]:
        made, socket, transport = connection(UNREAD_BYTES_MAX + 1)
        for _ in range(3):
            await made.pass_on(b"message")
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return socket, transport

    socket, transport = asyncio.run(story())
    assert transport.written == []
    assert socket.said == [(1008, b"too slow")]
    assert transport.is_aborted


def test_one_that_never_reads_is_cut_off_and_the_others_get_everything() -> None:
    """On real sockets."""
    message, count = binary_message(bytes(100_000)), 2 * UNREAD_BYTES_MAX // 100_000
    made: list[EndpointConnection] = []
    ended = asyncio.Event()

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoclose=False, autoping=False, compress=False)
        await ws.prepare(request)
        values = InitialValues(lambda _: None, lambda _: False)
        connection = EndpointConnection("bot", ws, request.transport, values, lambda _: None)  # type: ignore[arg-type]
        connection.is_open = True
        made.append(connection)
        await ws.receive()
        ended.set()
        return ws

    async def story() -> None:
        app = web.Application()
        app.router.add_get("/", handle)
        async with TestClient(TestServer(app)) as client:
            deaf, hearing = [await client.ws_connect("/", max_msg_size=0) for _ in range(2)]
            deaf._response.connection.transport.pause_reading()  # type: ignore[union-attr]
            for _ in range(count):
                for connection in made:
                    await connection.pass_on(message)
                assert len(await hearing.receive_bytes()) == 100_000
            await asyncio.wait_for(ended.wait(), 5)
            await eventually_async(made[0]._transport.is_closing, 5)
            assert not made[1]._transport.is_closing()

    asyncio.run(story())
