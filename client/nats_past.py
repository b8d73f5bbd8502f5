"""Reads TICKS for a reader that wants all since some time, up to the join with what is live."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from kitefeed.client import nats_store, nats_wire
from kitefeed.client.nats_history import NatsHistory
from kitefeed.protocol import feed as f
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.kite.units import IST, NS_PER_S
from kitefeed.protocol.topics import PRESENCE, SNAPSHOT

if TYPE_CHECKING:
    from nats.aio.client import Client

    from kitefeed.client.nats_link import NatsLink

LOOK_S = 0.02  # at what the reader does, which is another thread
AGAIN_S = 0.5  # after a connection ended, or while the bridge proves nothing
REPUBLISH_S = 0.2  # in which what LAST has taken is in TICKS, too
JOIN_MAX = 2_000  # messages: so many a reader may take while live ones wait
FILTERS_MAX = 16  # of instruments that are asked for one by one
SHORT_NS = 60 * NS_PER_S  # a quiet minute is no lack of history

# Errors that end the reading of a stream, or that an unreadable answer raises.
ENDS: tuple[type[Exception], ...] = (*nats_wire.ends(), *f.DECODE_ERRORS)

log = logging.getLogger("kitefeed")


class Past:
    """Reads the past for one reader. Runs in the link's thread."""

    def __init__(self, link: "NatsLink", history: NatsHistory) -> None:
        self._link = link
        self._history = history
        self._stream = link.subjects.ticks_stream

    async def send(self) -> None:
        """Lay before the reader all that was published since then."""
        history = self._history
        while not self._is_asked:  # noqa: ASYNC110 - the reader is another thread
            await asyncio.sleep(LOOK_S)
        at, more = await self._read_on(1)
        while more > JOIN_MAX:
            at, more = await self._read_on(at)
        history.is_read = True
        while not history.is_joined:
            self._wake()
            await asyncio.sleep(LOOK_S)
        while not await self._link.is_proven():  # noqa: ASYNC110 - it asks the bridge
            await asyncio.sleep(AGAIN_S)
        await asyncio.sleep(REPUBLISH_S)
        await self._read_on(at)
        history.is_over = True
        self._wake()

    @property
    def _is_asked(self) -> bool:
        """Whether the reader has said all that it wants, of a bridge that is believed."""
        has_asked = any(topic.startswith(SNAPSHOT) for topic in self._link.wanted)
        return has_asked and self._link.belief.beat is not None

    async def _read_on(self, seq: int) -> tuple[int, int]:
        """Give all that TICKS has now, from this number on. Return the number behind it, and how
        many messages it was. Goes on where a connection ended."""
        first, newest = seq, None
        while True:
            client = self._link.client
            try:
                if client is not None:
                    await self._say_if_short(client)
                    if newest is None:  # filter by filter is read, each as far as this
                        newest = await self._newest(client)
                    async for stored in self._stored(client, seq, newest):
                        await self._give(stored.data)
                        seq = stored.seq + 1
                    return newest + 1, newest + 1 - first
            except ENDS as error:
                if not self._history.has_begun:
                    self._history.problem = str(error)
            await asyncio.sleep(AGAIN_S)

    async def _give(self, frame: bytes) -> None:
        while not self._history.has_room:
            self._wake()
            await asyncio.sleep(LOOK_S)
        self._history.frames.append(frame)
        self._history.has_begun = True

    async def _say_if_short(self, client: "Client") -> None:
        """Say once if TICKS does not reach back so far."""
        history = self._history
        if history.begins_ns:
            return
        oldest = await nats_store.oldest(client, self._stream, self._all_ticks)
        message = f.decode_feed_message(f.split_frame(oldest.data)[1]) if oldest else None
        history.begins_ns = message.t_pub_ns if message else utc_ns()
        if history.begins_ns > history.since_ns + SHORT_NS:
            begins = datetime.fromtimestamp(history.begins_ns / 1e9, IST)
            log.warning("what NATS keeps begins at %s IST, later than since=", f"{begins:%H:%M:%S}")

    async def _stored(
        self, client: "Client", seq: int, newest: int
    ) -> AsyncIterator[nats_store.Stored]:
        """Yield what TICKS has of the wanted instruments between these numbers, in order."""
        subjects = self._link.subjects
        wanted = [subjects.logged(each) for each in sorted(subjects.covering(self._link.wanted))]
        if len(wanted) > FILTERS_MAX:
            wanted = [self._all_ticks]
        start = nats_store.rfc3339(self._history.since_ns) if seq == 1 else ""
        async for stored in nats_store.read_several(client, self._stream, wanted, seq, start):
            if stored.seq <= newest:
                yield stored

    @property
    def _all_ticks(self) -> str:
        subjects = self._link.subjects
        return f"{subjects.logged(subjects.ticks)}.>"

    async def _newest(self, client: "Client") -> int:
        found = await nats_store.newest(client, self._stream, f"{self._link.subjects.log}.>")
        return found.seq if found else 0

    def _wake(self) -> None:
        """Has the reader look: a message that means nothing."""
        topic = next((each for each in self._link.wanted if each.startswith(PRESENCE)), None)
        if topic is not None and self._link.belief.beat is not None:
            utc, nothing = self._link.utc_ns(boot_ns()), msgspec.Raw(f.encode(None))
            gen = self._link.belief.gen
            message = f.FeedMessage(f.VERSION, gen, 0, 0, 0, 0, 0, utc, utc, nothing)
            self._link.publish((f.feed_frame(topic, message),))
