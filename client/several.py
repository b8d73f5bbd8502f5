"""Waits for several feeds at once: for everything a second program reads, for two daemons, for a
feed for a screen beside one for decisions."""

import asyncio
import select
from collections.abc import Iterable, Sequence
from typing import TypeVar

from kitefeed.client.feed import Feed
from kitefeed.client.feed_async import AsyncFeed
from kitefeed.client.reader import Reader, deadline_after, wait_s
from kitefeed.protocol.errors import BadInput

R = TypeVar("R", bound=Reader)


def wait(feeds: Iterable[Feed], timeout_s: float | None = None) -> list[Feed]:
    """Those of several feeds that have something to take (see `Feed.wait`), as soon as one has, in
    the order given; [] when none had in time, and when all are closed. Their callbacks are called
    meanwhile. Take with what does not wait: `next_batch(0)`, `next(0)`, `orders(0)`.

    - feeds: Feeds of this process.
    - timeout_s: in seconds; None: as long as it takes.

    Raises:

    - BadInput: one of them is no Feed.
    """
    waited = _checked(feeds, Feed, "kitefeed.wait_async waits for those of asyncio")
    deadline_ns = deadline_after(timeout_s)
    while True:
        ready = [feed for feed in waited if feed.wait(0)]
        poll, is_open = select.poll(), False
        for feed in () if ready else waited:
            for descriptor in feed._descriptors():
                poll.register(descriptor, select.POLLIN)
                is_open = True
        left_s = wait_s(deadline_ns)
        if not is_open or left_s <= 0:
            return ready
        poll.poll(left_s * 1_000)


async def wait_async(feeds: Iterable[AsyncFeed], timeout_s: float | None = None) -> list[AsyncFeed]:
    """`wait` for AsyncFeeds. Tasks that read one each need none of it.

    - feeds: AsyncFeeds of this loop, each within its `async with`.
    - timeout_s: in seconds; None: as long as it takes.

    Raises:

    - BadInput: one of them is no AsyncFeed.
    - RuntimeError: one of them is not open yet.
    """
    waited = _checked(feeds, AsyncFeed, "kitefeed.wait waits for those without asyncio")
    pending = {asyncio.ensure_future(feed.wait(timeout_s)) for feed in waited}
    tasks = [*pending]
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            found = [task.result() for task in done]
            if any(found):
                break
        return [feed for feed in waited if feed._has_something]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _checked(feeds: Iterable[R], kind: type[R], remedy: str) -> Sequence[R]:
    waited = list(feeds)
    for feed in waited:
        if not isinstance(feed, kind):
            raise BadInput(f"{feed!r} is no {kind.__name__}: {remedy}")
    return waited
