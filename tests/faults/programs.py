"""Readers as processes of their own, for tests of what one does to another.

    python -m tests.faults.programs healthy        # a line per second: how late its ticks were
    python -m tests.faults.programs slow           # sleeps with each tick
    python -m tests.faults.programs stopped        # stops itself, with SIGSTOP
    python -m tests.faults.programs told           # a line per look: what it got and lost
    python -m tests.faults.programs told-async     # the same with AsyncFeed

They read everything; $KITEFEED_CONFIG says of which daemon. Each line also tells what reads fresh
at that moment, of a few instruments: when, how old it says it is, token, price.
"""

import asyncio
import json
import os
import signal
import sys
import time

from kitefeed import AsyncFeed, Feed
from kitefeed.client.reader import Reader
from kitefeed.client.tick import Tick
from tests.integration.rig import INSTRUMENTS

SLEEP_S = 0.005


def healthy() -> None:
    """Latency is from the frame's arrival in the daemon to the tick in the program's hands."""
    with Feed(name="healthy") as feed:
        late_ns: list[int] = []
        due_s = time.monotonic() + 1
        for tick in feed:
            if not tick.flags:
                late_ns.append(time.time_ns() - tick.t_rx_ns)
            if time.monotonic() >= due_s:
                due_s += 1
                late_ns.sort()
                _say(
                    ticks=len(late_ns),
                    p99_ms=late_ns[len(late_ns) * 99 // 100] / 1e6 if late_ns else None,
                    gaps=feed.gaps,
                    skipped=feed.skipped,
                    seen=_seen(feed),
                )
                late_ns.clear()


def slow() -> None:
    with Feed(name="slow") as feed:
        due_s = time.monotonic()
        for _ in feed:
            time.sleep(SLEEP_S)
            if time.monotonic() >= due_s:
                due_s += 1
                _say(seen=_seen(feed))


def stopped() -> None:
    with Feed(name="stopped") as feed:
        feed.next(5)
        os.kill(os.getpid(), signal.SIGSTOP)


class Look:
    """Of each tick what matters after a pause, summed up every tenth of a second."""

    def __init__(self) -> None:
        self._due_s = time.monotonic()
        self._oldest_s = 0.0
        self._ticks = 0

    def take(self, feed: Reader, tick: Tick) -> None:
        self._ticks += 1
        age_s = (time.time_ns() - tick.t_rx_ns) / 1e9
        self._oldest_s = max(self._oldest_s, age_s if not tick.flags else 0.0)
        if time.monotonic() < self._due_s:
            return
        # One by one: of values taken together, on a slow host most have newer ones by their turn,
        # and are not fresh for that.
        keys = list(feed.snapshot())
        _say(
            ticks=self._ticks,
            oldest_s=self._oldest_s,
            fresh=sum(feed[key].is_fresh for key in keys),
            values=len(keys),
            gaps=feed.gaps,
            skipped=feed.skipped,
            reconnects=feed.reconnects,
            late=feed.late,
            seen=_seen(feed),
        )
        self._due_s = time.monotonic() + 0.1
        self._ticks, self._oldest_s = 0, 0.0


def told() -> None:
    look = Look()
    with Feed(name="told") as feed:
        for tick in feed:
            look.take(feed, tick)


async def _told_async() -> None:
    look = Look()
    async with AsyncFeed(name="told-async") as feed:
        async for tick in feed:
            look.take(feed, tick)


def told_async() -> None:
    asyncio.run(_told_async())


def _seen(feed: Reader) -> list[tuple[int, float, int, int]]:
    """As `Truth.judge` notes them: the time before the look, one by one."""
    seen = []
    for tick in filter(None, map(feed.get, INSTRUMENTS)):
        at_ns = time.time_ns()
        if tick.is_fresh:
            seen.append((at_ns, tick.age_s, tick.instrument_token, tick.raw.last_price))
    return seen


def _say(**words: object) -> None:
    print(json.dumps({"at": time.monotonic(), **words}), flush=True)


if __name__ == "__main__":
    {
        "healthy": healthy,
        "slow": slow,
        "stopped": stopped,
        "told": told,
        "told-async": told_async,
    }[sys.argv[1]]()
