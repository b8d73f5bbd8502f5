"""Reads the feed for the endpoint: it asks for what the endpoint's programs want."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from kitefeed.client.feed_async import AsyncFeed
from kitefeed.client.status import Status
from kitefeed.client.tick import Tick
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import Unavailable
from kitefeed.protocol.kite.text import BrokerMessage, OrderUpdate
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.services.life import opened

SETTLE_S = 0.05  # a program subscribes, and sets a mode in its next message
BATCH_MAX = 1_000  # ticks passed on at once
LINGER_NS = 30 * NS_PER_S  # all that streams is read for so long: who asked asks again
IDLE_S = 0.5

_NAMES: dict[int, Mode] = {LTP: "ltp", QUOTE: "quote", FULL: "full"}
Deliver = Callable[[Iterable[Tick]], Awaitable[None]]
Refuse = Callable[[Mapping[str, str]], None]
Say = Callable[[OrderUpdate | BrokerMessage], Awaitable[None]]


class SharedReader:
    """One reader for all programs. `want` says what is wanted; `run` follows it."""

    def __init__(self, config: Path | None, name: str) -> None:
        self._config = config
        self._feed = AsyncFeed([], config=config, name=name)
        self._streamed: Mapping[str, int] = {}  # what programs subscribed to, and in which mode
        self._everything = Everything(config, name)
        self._had: dict[str, int] = {}
        self._changed = asyncio.Event()

    @property
    def status(self) -> Status:
        return self._feed.status

    def find(self, key: str | None) -> Tick | None:
        return None if key is None else self._feed.get(key)

    def want(self, modes: Mapping[str, int]) -> None:
        """Note that programs want these from now on, each in its mode."""
        if modes != self._streamed:
            self._streamed = modes
            self._changed.set()

    async def look(self, keys: Iterable[str]) -> dict[str, Tick]:
        """Return the last values of those that stream, whoever asked for them. Nothing streams
        because of it."""
        wanted = list(keys)
        found = {key: tick for key in wanted if (tick := self._feed.get(key)) is not None}
        if len(found) < len(wanted):
            everything = await self._everything.open()
            for key in wanted:
                if key not in found and everything is not None and (tick := everything.get(key)):
                    found[key] = tick
        return found

    async def run(self, deliver: Deliver, refuse: Refuse, say: Say) -> None:
        """Reads for ever; the daemon may start later than we do. Ticks go to `deliver`, order
        updates and the broker's messages to `say`, and why instruments cannot be streamed to
        `refuse`."""
        await opened(self._feed, self._config)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(deliver))
            group.create_task(self._follow(refuse))
            group.create_task(self._read_orders(say))
            group.create_task(self._read_notices(say))
            group.create_task(self._everything.run())

    async def _read(self, deliver: Deliver) -> None:
        while batch := await self._feed.next_batch(max=BATCH_MAX):
            await deliver(batch)

    async def _read_orders(self, say: Say) -> None:
        async for order in self._feed.orders():
            await say(OrderUpdate(order))

    async def _read_notices(self, say: Say) -> None:
        async for notice in self._feed.notices():
            if notice.kind == "message":  # an error of Kite's is about our socket, not about theirs
                await say(BrokerMessage(notice.text))

    async def _follow(self, refuse: Refuse) -> None:
        """Ask for instruments that are newly wanted, and drop those that nobody wants any more."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_S)
            self._changed.clear()
            refused = await self._set(dict(self._streamed))
            if refused:
                refuse(refused)

    async def _set(self, wanted: dict[str, int]) -> dict[str, str]:
        """Ask the feed for these and drop the others; return why some cannot be had."""
        gone = [key for key in self._had if key not in wanted]
        if gone:
            self._feed.unsubscribe(*gone)
        refused: dict[str, str] = {}
        for mode, name in _NAMES.items():
            news = [key for key, wish in wanted.items() if wish == mode != self._had.get(key)]
            if news:
                answers = await self._feed.subscribe(*news, mode=name)
                refused |= {a.instrument: a.detail for a in answers if a.outcome == "refused"}
        self._had = wanted
        return refused

    def close(self) -> None:
        self._feed.close()
        self._everything.close()


class Everything:
    """Reads all that streams, while programs ask for last values by REST: the rest of the time it
    costs nothing."""

    def __init__(self, config: Path | None, name: str) -> None:
        self._config = config
        self._name = f"{name} (REST)"
        self._feed: AsyncFeed | None = None
        self._opening = asyncio.Lock()
        self._until_ns = 0

    async def open(self) -> AsyncFeed | None:
        """Open the feed of everything; None while the daemon is away."""
        self._until_ns = boot_ns() + LINGER_NS
        async with self._opening:
            if self._feed is None:
                feed = AsyncFeed(config=self._config, name=self._name)
                try:
                    self._feed = await feed.__aenter__()
                except Unavailable:
                    return None
            return self._feed

    async def run(self) -> None:
        """Take out what nobody iterates over, and close it when nobody has asked for a while."""
        while True:
            async with self._opening:
                if self._feed is not None and boot_ns() > self._until_ns:
                    self._feed.close()
                    self._feed = None
            if self._feed is None:
                await asyncio.sleep(IDLE_S)
            else:
                await self._feed.next_batch(IDLE_S, max=BATCH_MAX)

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()
