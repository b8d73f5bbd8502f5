"""The gateway's own readers of the feed: one for each list of instruments that somebody looks at.
All who look at the same list share it, and it is kept for a while after the last has gone.

Each is an ordinary AsyncFeed of conflated values: whatever a browser does, the daemon sees one more
program that reads the latest price a few times a second.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kitefeed.client.feed_async import AsyncFeed
from kitefeed.client.tick import Tick
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import BadInput, TryLater
from kitefeed.protocol.topics import LAST_RATES
from kitefeed.services.gateway.history import History

OPEN_S = 2.0
LINGER_S = 30.0  # as long as the daemon streams what its last reader left
READERS_MAX = 64  # different lists at once, lingering ones included


class Reader:
    """The latest values of `instruments`, at most `rate` times a second.

    refused: instrument -> why it cannot be had.
    """

    def __init__(self, feed: AsyncFeed, refused: dict[str, str], history: History) -> None:
        self.feed = feed
        self._history = history
        self.refused = refused
        self.users = 0
        self.left_ns = 0
        self.changes: dict[str, int] = {}  # instrument -> number of its last change
        self._count = 0
        self._pump = asyncio.ensure_future(self._take_in())

    async def _take_in(self) -> None:
        """Takes what the feed gives, so that nothing waits there; the values are read by name."""
        async for tick in self.feed:
            self._count += 1
            self.changes[tick.instrument] = self._count
            if tick.is_fresh:
                self._history.note(tick.instrument, tick.last_price, tick.t_rx_ns / 1e9)

    def close(self) -> None:
        self._pump.cancel()
        self.feed.close()


class Cursor:
    """The values of a reader that one client has been told."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._told: dict[str, tuple[int, bool]] = {}

    def news(self) -> list[Tick]:
        """The values that changed since the last call, and those whose freshness did."""
        found = []
        for instrument, number in self._reader.changes.items():
            tick = self._reader.feed.get(instrument)
            if tick is not None and (now := (number, tick.is_fresh)) != self._told.get(instrument):
                self._told[instrument] = now
                found.append(tick)
        return found


class Readers:
    """The open readers, by what they read. `config`: the daemon's configuration file; `history`:
    where they note what they read."""

    def __init__(self, config: Path | None, name: str, history: History) -> None:
        self._history = history
        self._config = config
        self._name = name
        self._open: dict[tuple[frozenset[str], int], Reader] = {}
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def of(self, instruments: tuple[str, ...], rate: int) -> AsyncIterator[Reader]:
        """Give the reader of these instruments. Raises BadInput for what cannot be a name,
        Unavailable without a daemon, TryLater when too many different lists are looked at."""
        key = (frozenset(instruments), at_least(rate))
        async with self._lock:  # two who ask for the same at once share it
            reader = self._open.get(key)
            if reader is None:
                self._make_room()
                reader = self._open[key] = await self._reader(*key)
            reader.users += 1
        try:
            yield reader
        finally:
            reader.users -= 1
            reader.left_ns = boot_ns()

    def sweep(self) -> None:
        """Closes the readers that nobody has looked at for a while; call it now and then."""
        due_ns = boot_ns() - int(LINGER_S * 1e9)
        for key, reader in list(self._open.items()):
            if not reader.users and reader.left_ns < due_ns:
                self._open.pop(key).close()

    def close(self) -> None:
        for reader in self._open.values():
            reader.close()
        self._open.clear()

    def _make_room(self) -> None:
        if len(self._open) < READERS_MAX:
            return
        idle = [key for key, reader in self._open.items() if not reader.users]
        if not idle:
            raise TryLater(f"{READERS_MAX} different lists are looked at already: close a page")
        self._open.pop(min(idle, key=lambda key: self._open[key].left_ns)).close()

    async def _reader(self, instruments: frozenset[str], rate: int) -> Reader:
        """Open a reader without the instruments that the daemon refuses; it tells why it refuses
        them."""
        refused: dict[str, str] = {}
        while True:
            left = sorted(instruments - refused.keys())
            if not left:
                raise BadInput("; ".join(f"{name}: {why}" for name, why in refused.items()))
            feed = AsyncFeed(
                *left, config=self._config, per_second=rate, name=self._name, timeout_s=OPEN_S
            )
            try:
                await feed.__aenter__()
            except BadInput:
                news = {a.instrument: a.detail for a in feed.answers if a.outcome == "refused"}
                if not news:
                    raise
                refused |= news
            else:
                return Reader(feed, refused, self._history)


def at_least(rate: int) -> int:
    """Return the slowest rate of the daemon that is as fast as `rate`; its fastest if there is
    none."""
    return min((r for r in LAST_RATES if r >= rate), default=max(LAST_RATES))
