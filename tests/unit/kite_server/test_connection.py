"""Messages that are written for many sockets at once."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from kitefeed.kite_server.connection import binary_message


@pytest.mark.parametrize("count", [0, 1, 125, 126, 65_535, 65_536, 500_000])
def test_a_client_reads_the_payload_that_was_written_for_all(count: int) -> None:
    payload = bytes(n % 251 for n in range(count))

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        assert request.transport is not None
        request.transport.write(binary_message(payload))
        await ws.send_str("after")
        return ws

    async def story() -> list[object]:
        app = web.Application()
        app.router.add_get("/", handle)
        async with TestClient(TestServer(app)) as client, client.ws_connect("/") as ws:
            return [await ws.receive_bytes(), await ws.receive_str()]

    assert asyncio.run(story()) == [payload, "after"]
