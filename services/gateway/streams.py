"""Sends values as they change to browsers and phones: `/ws/market` (WebSocket) and `/api/stream`
(SSE).

Both say the same: `feed` when its state changes, `quotes` at the rate that was asked for, and a
`pulse` each second with the server's clock, by which a page tells a lost connection from a quiet
market. A client that takes nothing for SEND_S is cut off; it delays nobody else.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from kitefeed.client.feed_async import AsyncFeed
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import KitefeedError
from kitefeed.services.gateway import health
from kitefeed.services.gateway.guard import MAY_STAY
from kitefeed.services.gateway.history import History, Point
from kitefeed.services.gateway.quotes import SYMBOLS_MAX, Quote, quote_of
from kitefeed.services.gateway.readers import Cursor, Reader, Readers
from kitefeed.services.gateway.timeline import Event, Timeline

SEND_S = 10.0
PULSE_S = 1.0
STREAMS_MAX = 128
MESSAGE_BYTES_MAX = 64 * 1024
RATE_MAX = 10

_encode = msgspec.json.Encoder().encode


class Subscribe(msgspec.Struct, tag="subscribe", tag_field="type", forbid_unknown_fields=True):
    """Browser -> gateway: send these instruments, too; `rate`: times a second at most, for all."""

    instruments: list[str]
    rate: int | None = None


class Unsubscribe(msgspec.Struct, tag="unsubscribe", tag_field="type", forbid_unknown_fields=True):
    """Browser -> gateway: send these instruments no more."""

    instruments: list[str]


class FeedNews(msgspec.Struct, tag="feed", tag_field="type"):
    """The feed's state, on connecting and whenever it changes."""

    health: health.Health


class EventNews(msgspec.Struct, tag="events", tag_field="type"):
    """The events of the feed: on connecting all that are known, then each as it comes."""

    events: list[Event]


class HistoryNews(msgspec.Struct, tag="history", tag_field="type"):
    """The course of the day (`history.py`) of instruments that were subscribed to just now."""

    history: dict[str, list[Point]]


class QuoteNews(msgspec.Struct, tag="quotes", tag_field="type"):
    """Values that changed, or whose freshness did."""

    quotes: list[Quote]


class Refused(msgspec.Struct, tag="refused", tag_field="type"):
    """The reasons why instruments (by name), or a whole message (under ""), cannot be had."""

    refused: dict[str, str]


class Pulse(msgspec.Struct, tag="pulse", tag_field="type"):
    """Each second: the server's clock, and how old the daemon's last heartbeat is."""

    utc_ms: int
    heartbeat_age_s: float | None


News = FeedNews | EventNews | HistoryNews | QuoteNews | Refused | Pulse
_decode = msgspec.json.Decoder(Subscribe | Unsubscribe).decode


class Streams:
    """`feed`: the one that reads the state; `readers`: those of the values, with their `history`;
    `timeline`: what happened to the feed."""

    def __init__(
        self, feed: AsyncFeed, readers: Readers, timeline: Timeline, history: History
    ) -> None:
        self.feed = feed
        self.readers = readers
        self.timeline = timeline
        self.history = history
        self.open = 0

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        """`GET /ws/market`"""
        if self.open >= STREAMS_MAX:
            return web.Response(status=503, text="Too many streams are open; close a page.\n")
        socket = web.WebSocketResponse(heartbeat=20.0, max_msg_size=MESSAGE_BYTES_MAX)
        await socket.prepare(request)

        async def send(news: News) -> None:
            await socket.send_str(_encode(news).decode())

        self.open += 1
        client = _Client(self, send, 2, request.get(MAY_STAY, _always))
        turning = asyncio.ensure_future(_turn(client, socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await client.hear(message.data)
        finally:
            self.open -= 1
            turning.cancel()
        return socket

    async def events(
        self, request: web.Request, instruments: tuple[str, ...], rate: int
    ) -> web.StreamResponse:
        """`GET /api/stream`: server-sent events of the same names."""
        if self.open >= STREAMS_MAX:
            return web.Response(status=503, text="Too many streams are open; close a page.\n")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def send(news: News) -> None:
            kind = type(news).__struct_config__.tag
            await response.write(b"event: %b\ndata: %b\n\n" % (str(kind).encode(), _encode(news)))

        self.open += 1
        client = _Client(self, send, rate, request.get(MAY_STAY, _always))
        client.wanted = dict.fromkeys(instruments)
        try:
            with contextlib.suppress(TimeoutError, ConnectionError):
                await client.run()
        finally:
            self.open -= 1
        return response


async def _turn(client: "_Client", socket: web.WebSocketResponse) -> None:
    """Run the client to its end, and close its socket. A client that takes nothing is not waited
    for again."""
    reason = b"the token is gone"
    try:
        await client.run()
    except (TimeoutError, ConnectionError):
        reason = b"too slow"
    await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=reason)


def _always() -> bool:
    return True


class _Client:
    """One browser: what it wants, and what it has been told."""

    def __init__(
        self,
        streams: Streams,
        send: Callable[[News], Awaitable[None]],
        rate: int,
        may_stay: Callable[[], bool],
    ) -> None:
        self._feed = streams.feed
        self._readers = streams.readers
        self._timeline = streams.timeline
        self._history = streams.history
        self._send = send
        self._rate = rate
        self._may_stay = may_stay
        self.wanted: dict[str, None] = {}
        self._read: tuple[frozenset[str], int] | None = None
        self._cursor: Cursor | None = None
        self._stack = AsyncExitStack()
        self._told: Any = None
        self._event = 0  # the number of the last one told
        self._drawn: set[str] = set()  # whose course of the day was told

    async def hear(self, text: str) -> None:
        """Take one message of the browser; a bad one is answered with why."""
        try:
            message = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            await self._tell(Refused({"": f"not understood: {error}"}))
            return
        if isinstance(message, Unsubscribe):
            for name in message.instruments:
                self.wanted.pop(name, None)
            return
        if message.rate is not None:
            self._rate = max(1, min(RATE_MAX, message.rate))
        for name in message.instruments:
            if name not in self.wanted and len(self.wanted) >= SYMBOLS_MAX:
                await self._tell(Refused({name: f"a stream carries at most {SYMBOLS_MAX}"}))
                return
            self.wanted[name] = None

    async def run(self) -> None:
        """Tell what is new, until the client's token is gone. Ends with TimeoutError or
        ConnectionError when the client does not take it, or has gone."""
        loop = asyncio.get_running_loop()
        pulse_due_s = 0.0
        try:
            while True:
                await self._tell_feed()
                await self._tell_events()
                if loop.time() >= pulse_due_s:
                    if not self._may_stay():
                        return
                    pulse_due_s = loop.time() + PULSE_S
                    age_s = self._feed.status.heartbeat_age_s
                    await self._tell(Pulse(utc_ns() // 1_000_000, age_s))
                await self._tell_quotes()
                await asyncio.sleep(1 / self._rate)
        finally:
            await self._stack.aclose()

    async def _tell_feed(self) -> None:
        found = health.judge(self._feed.status, self._feed.heartbeat)
        key = (found.is_healthy, found.feed, found.source, found.session, found.reason)
        if key != self._told:
            self._told = key
            await self._tell(FeedNews(found))

    async def _tell_events(self) -> None:
        if events := self._timeline.after(self._event):
            self._event = events[-1].number
            await self._tell(EventNews(events))

    async def _tell_history(self) -> None:
        """Tell the course before the first value of each instrument: the page draws it as soon as
        that is there."""
        new = [name for name in self.wanted if name not in self._drawn]
        self._drawn = set(self.wanted)
        found = {name: points for name in new if (points := self._history.points(name))}
        if found:
            await self._tell(HistoryNews(found))

    async def _tell_quotes(self) -> None:
        key = (frozenset(self.wanted), self._rate)
        if key != self._read and self._feed.status.feed != "lost":
            await self._tell_history()
            await self._open(key)
        if self._cursor is not None and (news := self._cursor.news()):
            await self._tell(QuoteNews([quote_of(tick) for tick in news]))

    async def _open(self, key: tuple[frozenset[str], int]) -> None:
        """Reads what is wanted now. Without a daemon it is tried again at the next turn."""
        former, self._stack = self._stack, AsyncExitStack()
        self._cursor = None
        try:
            if key[0]:
                reader = await self._stack.enter_async_context(
                    self._readers.of(tuple(sorted(key[0])), key[1])
                )
                self._cursor = Cursor(reader)
                if reader.refused:
                    await self._tell(Refused(reader.refused))
                    self._forget(reader)
            self._read = (frozenset(self.wanted), key[1])
        except KitefeedError as error:
            await self._tell(Refused({"": str(error)}))
            await asyncio.sleep(PULSE_S)
        finally:
            await former.aclose()

    def _forget(self, reader: Reader) -> None:
        for name in reader.refused:
            self.wanted.pop(name, None)

    async def _tell(self, news: News) -> None:
        async with asyncio.timeout(SEND_S):
            await self._send(news)
