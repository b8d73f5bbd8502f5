"""The life of a service's process: like an actor's, but a service may be switched off."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from kitefeed.actors.runtime import process
from kitefeed.actors.runtime.process import Main, Runtime
from kitefeed.client.feed_async import AsyncFeed
from kitefeed.protocol.errors import Unavailable
from kitefeed.services.table import SERVICES


def run(name: str, main: Main) -> int:
    """Run the service to its end; return its exit code. A service that is switched off ends with 0
    as soon as it knows, which may be late: its configuration could not be used when it started.
    supervisord leaves it alone until the daemon is started again."""

    async def live(runtime: Runtime) -> None:
        if SERVICES[name].where(runtime.settings.config):
            await main(runtime)

    return process.run(name, live)


@contextlib.asynccontextmanager
async def chores(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these beside what is done inside. One that fails ends the service, as any bug does."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    for task in tasks:
        task.add_done_callback(fail)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def opened(feed: AsyncFeed, config: Path | None) -> None:
    """Open `feed` of the daemon of `config`, however much later that daemon starts. Another feed
    waits for it, because a feed that gave up waiting cannot be opened again."""
    while True:
        with contextlib.suppress(Unavailable):
            async with AsyncFeed([], config=config):
                break
    await feed.__aenter__()


def fail(task: asyncio.Future[None]) -> None:
    """Raise the task's error. As an `add_done_callback` its error reaches the loop's handler of
    unexpected ones."""
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
