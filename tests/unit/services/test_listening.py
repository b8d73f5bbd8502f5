"""So many connections at once, and whose turn it is to go when there is no room."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from kitefeed.services import listening
from tests.support import eventually_async

ROOM = 4
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Place:
    """A server with room for four, that answers each request when it is let."""

    def __init__(self, server: web.Server, address: tuple[str, int], may: asyncio.Event) -> None:
        self.server = server
        self.may = may
        self._address = address
        self._writers: list[asyncio.StreamWriter] = []

    async def come(self, says: bytes = b"") -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection(*self._address)
        writer.write(says)
        self._writers.append(writer)
        return reader

    async def leave(self) -> None:
        for writer in self._writers:
            writer.close()

    async def holds(self, count: int) -> None:
        await eventually_async(lambda: len(self.server.connections) == count, 5)


def played(story: Callable[[Place], Awaitable[None]]) -> None:
    async def run() -> None:
        may = asyncio.Event()
        asked: list[web.BaseRequest] = []

        async def answer(request: web.BaseRequest) -> web.Response:
            asked.append(request)
            await may.wait()
            return web.Response(text="here")

        server = web.Server(answer, handler_cancellation=True)  # as the services do
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        async with listening.serving(server, listener):
            place = Place(server, listener.getsockname(), may)
            try:
                await story(place)
            finally:
                may.set()
                await place.leave()
                await server.shutdown(1)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "CONNECTIONS_MAX", ROOM)


def test_who_says_nothing_makes_room_the_one_that_waits_longest_first() -> None:
    async def story(place: Place) -> None:
        silent = [await place.come() for _ in range(ROOM)]
        await place.holds(ROOM)
        place.may.set()
        asking = await place.come(ASK)
        assert b"here" in await asyncio.wait_for(asking.readuntil(b"here"), 5)
        assert await asyncio.wait_for(silent[0].read(), 5) == b""
        assert not silent[1].at_eof()

    played(story)


def test_who_has_asked_is_not_cut_and_one_more_is_turned_away() -> None:
    async def story(place: Place) -> None:
        asking = [await place.come(ASK) for _ in range(ROOM)]
        await place.holds(ROOM)
        # Until the server has read what they ask, they may be taken for silent ones.
        await eventually_async(lambda: place.server.requests_count == ROOM, 5)
        more = await place.come()
        assert await asyncio.wait_for(more.read(), 5) == b""
        place.may.set()
        for each in asking:
            assert b"here" in await asyncio.wait_for(each.readuntil(b"here"), 5)

    played(story)


def test_room_is_there_again_when_somebody_leaves() -> None:
    async def story(place: Place) -> None:
        for _ in range(ROOM):
            await place.come(ASK)
        await place.holds(ROOM)
        await place.leave()
        await place.holds(0)
        place.may.set()
        again = await place.come(ASK)
        assert b"here" in await asyncio.wait_for(again.readuntil(b"here"), 5)

    played(story)


def test_any_number_that_comes_and_goes_without_a_word_is_forgotten() -> None:
    async def story(place: Place) -> None:
        for _ in range(10 * ROOM):
            await place.come()
            await place.leave()
        place.may.set()
        again = await place.come(ASK)
        assert b"here" in await asyncio.wait_for(again.readuntil(b"here"), 5)
        await eventually_async(lambda: len(place.server.connections) <= 1, 5)

    played(story)
