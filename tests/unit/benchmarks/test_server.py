"""The benchmark's server: what it sends beside the frames of a run."""

import asyncio
import json
from typing import Any

from benchmarks.frames import Builder, Universe, packets_of, price_of
from benchmarks.server import Connection, Server

UNIVERSE = Universe(20)
TOKEN = UNIVERSE.tradables[0].token
TEXT = 1


class Listening(Connection):
    """A connection that keeps what it was sent."""

    def __init__(self) -> None:
        nowhere: Any = None
        super().__init__(nowhere, "key")
        self.sent: list[bytes] = []

    async def send(self, *frames: bytes) -> None:
        self.sent += frames


async def subscribe(server: Server, connection: Connection) -> None:
    await server._hear(connection, TEXT, json.dumps({"a": "subscribe", "v": [TOKEN]}).encode())


def test_a_subscriber_is_sent_the_last_value_of_each_instrument() -> None:
    connection = Listening()
    asyncio.run(subscribe(Server(UNIVERSE), connection))
    assert len(connection.sent) == 1


def test_a_subscriber_is_sent_a_full_packet_though_the_last_run_was_of_mode_ltp() -> None:
    server, connection = Server(UNIVERSE), Listening()
    server._latest[TOKEN] = Builder().packet("ltp", TOKEN, 77_000)
    asyncio.run(subscribe(server, connection))
    (message,) = connection.sent
    (packet,) = packets_of(message[4:])
    assert len(packet) == 184
    assert price_of(packet) == 77_000


def test_who_subscribes_in_a_run_is_not_sent_a_price_from_before_it() -> None:
    """A ticker that has lost ticks subscribes anew; its reader would hear of the past."""

    async def run() -> tuple[list[bytes], list[bytes]]:
        server, connection = Server(UNIVERSE), Listening()
        server._is_running = True
        await subscribe(server, connection)
        before = list(connection.sent)
        await server.obey({"do": "end"})
        return before, connection.sent

    before, after = asyncio.run(run())
    assert before == []
    assert len(after) == 1
