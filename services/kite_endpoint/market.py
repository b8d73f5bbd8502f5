"""The feed as the endpoint reads it: what its programs want is what it asks for."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from kitefeed.client.feed_async import AsyncFeed
from kitefeed.client.status import Status
from kitefeed.client.tick import Tick
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.kite.text import BrokerMessage, OrderUpdate
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE
from kitefeed.protocol.messages import Mode
from kitefeed.services.life import opened

SETTLE_S = 0.05  # a program subscribes, and sets a mode in its next message
BATCH_MAX = 1_000  # ticks passed on at once
LINGER_NS = 30_000_000_000  # what a REST call asked for is wanted so long: it is asked for again
FIRST_S = 2.0  # how long a REST call waits for the first value of what did not stream

_NAMES: dict[int, Mode] = {LTP: "ltp", QUOTE: "quote", FULL: "full"}
Deliver = Callable[[Iterable[Tick]], Awaitable[None]]
Refuse = Callable[[Mapping[str, str]], None]
Say = Callable[[OrderUpdate | BrokerMessage], Awaitable[None]]


class Market:
    """One reader for all programs. `want` and `ask` say what is wanted; `run` follows them."""

    def __init__(self, config: Path | None, name: str) -> None:
        self._config = config
        self._feed = AsyncFeed([], config=config, name=name)
        self._streamed: Mapping[str, int] = {}  # what programs subscribed to, and in which mode
        self._asked: dict[str, tuple[int, int]] = {}  # by REST: until when, in which mode
        self._had: dict[str, int] = {}
        self._changed = asyncio.Event()

    @property
    def status(self) -> Status:
        return self._feed.status

    def find(self, key: str | None) -> Tick | None:
        return None if key is None else self._feed.get(key)

    def want(self, modes: Mapping[str, int]) -> None:
        """From now on programs want these, each in its mode."""
        if modes != self._streamed:
            self._streamed = modes
            self._changed.set()

    async def ask(self, keys: Iterable[str], mode: int) -> dict[str, Tick]:
        """The values of these, waiting a little for those that do not stream yet."""
        wanted = list(dict.fromkeys(keys))
        due_ns = boot_ns() + LINGER_NS
        for key in wanted:
            self._asked[key] = due_ns, max(mode, self._asked.get(key, (0, 0))[1])
        self._changed.set()
        deadline_ns = boot_ns() + int(FIRST_S * 1e9)
        for key in wanted:
            left_s = max(0.0, (deadline_ns - boot_ns()) / 1e9)
            if self._feed.get(key) is None and left_s:
                await self._feed.wait_for(key, left_s)
        return {key: tick for key in wanted if (tick := self._feed.get(key)) is not None}

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
        """Asks for what is wanted newly, and lets go what nobody wants any more."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LINGER_NS / 1e9)
            await asyncio.sleep(SETTLE_S)
            self._changed.clear()
            refused = await self._set(self._wanted(boot_ns()))
            if refused:
                refuse(refused)

    def _wanted(self, now_ns: int) -> dict[str, int]:
        self._asked = {key: told for key, told in self._asked.items() if told[0] > now_ns}
        wanted = {key: mode for key, (_, mode) in self._asked.items()}
        for key, mode in self._streamed.items():
            wanted[key] = max(mode, wanted.get(key, 0))
        return wanted

    async def _set(self, wanted: dict[str, int]) -> dict[str, str]:
        """Why which of these cannot be had."""
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
