"""Answers what a reader of NATS asks for, as the broadcaster would: snapshots, and the last values
of what it subscribes to newly. They come from the stream LAST."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from kitefeed.client import nats_store
from kitefeed.client.nats_past import ENDS
from kitefeed.client.nats_values import again, answer_frames
from kitefeed.protocol import feed as f
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topics import NUL, SNAPSHOT, parse_snapshot_request

if TYPE_CHECKING:
    from nats.aio.client import Client

    from kitefeed.client.nats_link import NatsLink

AGAIN_S = 1.0  # between two tries while the bridge has not stored all that it sent
TRIES = 10
SINGLES_MAX = 8  # instruments that are asked for one by one


class NatsAnswers:
    """Answers the requests of one reader. Runs in the link's thread."""

    def __init__(self, link: "NatsLink") -> None:
        self._link = link
        self._under_way: dict[bytes, asyncio.Task[None]] = {}  # by request

    def stop(self, request: bytes) -> None:
        """Stop answering: the reader no longer waits for this request."""
        if (task := self._under_way.pop(request, None)) is not None:
            task.cancel()

    def repeat(self) -> None:
        """Begin all answers anew, as ZeroMQ does after a new connection."""
        for topic in self._link.wanted:
            if topic.startswith(SNAPSHOT):
                self.begin(topic)

    def begin(self, request: bytes) -> None:
        """Answer the request from the beginning. Before a bridge is believed nothing can be said:
        the answer is begun again then."""
        self.stop(request)
        if self._link.belief.beat is not None and self._link.clock.is_known:
            self._under_way[request] = self._link.run(self._send_snapshot(request))

    async def _send_snapshot(self, request: bytes) -> None:
        prefix = parse_snapshot_request(request)
        if prefix is None:
            return
        found, is_whole = await self._last_values([prefix], int(f.Flag.SNAPSHOT))
        utc = self._link.utc_ns(boot_ns())
        frames = answer_frames(
            request.removesuffix(NUL), found, self._link.belief.gen, utc, is_whole
        )
        self._link.publish(frames)

    async def send_last(self, topics: list[bytes]) -> None:
        """Send the last values of the newly subscribed topics."""
        for _ in range(TRIES):
            found, is_whole = await self._last_values(topics, int(f.Flag.REPLAY))
            self._link.publish(found)
            if is_whole:
                return
            await asyncio.sleep(AGAIN_S)

    async def _last_values(self, prefixes: list[bytes], flag: int) -> tuple[list[bytes], bool]:
        """Return the frames of LAST whose topics begin with these prefixes, and whether these are
        all, and the newest."""
        is_proven, gen = await self._link.is_proven(), self._link.belief.gen
        client, found = self._link.client, list[bytes]()
        if client is None:
            return [], False
        try:
            async for stored in self._stored(client, prefixes):
                if stored.data.startswith(tuple(prefixes)):
                    utc = self._link.utc_ns(boot_ns())
                    found += again(stored.data, gen, utc, flag, is_proven=is_proven)
        except ENDS as error:
            self._link.problem = str(error)
            is_proven = False
        return found, is_proven and gen == self._link.belief.gen

    async def _stored(
        self, client: "Client", prefixes: list[bytes]
    ) -> AsyncIterator[nats_store.Stored]:
        stream = self._link.subjects.last_stream
        exact = [each[:-1] for each in prefixes if each.endswith(NUL)]
        if len(exact) == len(prefixes) <= SINGLES_MAX:
            for topic in exact:
                subject = self._link.subjects.of_topic(topic)
                found = await nats_store.newest(client, stream, subject) if subject else None
                if found is not None:
                    yield found
            return
        for subject in sorted(self._link.subjects.covering(prefixes)):
            async for found in nats_store.read(client, stream, subject):
                yield found
