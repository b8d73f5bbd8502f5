"""The life of an actor process: configuration, lock, signals, loop, exit code.

An actor whose configuration cannot be used does not exit (supervisord would loop, or give up): it
holds its role, says so once, and goes on when the file is good.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kitefeed.actors.runtime import config, descriptors, locks, logs, memory
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.directories import prepare_directory
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.actors.runtime.realtime import PRIORITIES, Realtime
from kitefeed.protocol import location
from kitefeed.protocol.errors import ConfigError, KitefeedError, TryLater
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.messages.envelope import new_id
from kitefeed.protocol.topology import Role

WATCH_S = 1.0  # how often a broken configuration is looked at before the start

log = logging.getLogger("kitefeed")


class Runtime:
    """The argument of an actor's main coroutine. `misconfigured`: why the settings are only
    defaults in the right directories; set for the supervisor and broadcaster, others wait it
    out."""

    def __init__(self, role: str, settings: Settings, misconfigured: str | None) -> None:
        self.role = role
        self.settings = settings
        self.misconfigured = misconfigured
        self.boot_id = new_id()
        prepare_directory(settings.state_dir)
        self.lock = locks.RoleLock(settings.runtime_dir, role, self.boot_id)
        self.exit_code = Exit.OK
        self.stopped = asyncio.Event()

    def stop(self, code: Exit = Exit.OK) -> None:
        """End the actor; the first code counts."""
        if not self.stopped.is_set():
            self.exit_code = code
            self.stopped.set()


Main = Callable[[Runtime], Awaitable[None]]
"""Starts the actor, awaits `runtime.stopped`, closes its sockets."""

# These work on defaults when the configuration is broken: somebody must be there to say so.
_SPEAKS_WHEN_MISCONFIGURED = (Role.SUPERVISOR, Role.BROADCASTER)

_HOLDS_TOKENS = (Role.TICKER, Role.REST_POLLER, Role.TOKEN_VALIDATOR, Role.AUTH_WATCHER)


def run(role: str, main: Main) -> int:
    """Run one actor or service to its end and return its exit code."""
    gc.freeze()  # what was imported stays: no look for garbage passes through it again
    os.umask(0o077)
    memory.forbid_core_dumps()
    if role in _HOLDS_TOKENS:
        memory.close_to_others()
    logs.set_up(role)
    try:
        descriptors.raise_limit()
        return asyncio.run(_live(role, main))
    except KitefeedError as error:
        log.error("%s", error)
        return error.exit_code
    except Exception:
        log.exception("unexpected error; the actor exits and is started again")
        return Exit.BUG
    finally:
        logs.drain()


async def _live(role: str, main: Main) -> int:
    runtime = await _prepare(role)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _on_loop_error(runtime, context))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, runtime.stop)
    parent = _parent()
    watcher = asyncio.ensure_future(_watch(runtime, parent))
    watcher.add_done_callback(lambda _: _on_watch_end(runtime, watcher))
    try:
        await main(runtime)
    finally:
        watcher.cancel()
        runtime.lock.release()
    return runtime.exit_code


async def _prepare(role: str) -> Runtime:
    """Return settings and lock; wait for a usable configuration if the role cannot do without."""
    parent = _parent()
    is_said = False
    while True:
        if os.getppid() != parent:
            raise TryLater("the parent process has gone; leaving")
        try:
            return Runtime(role, config.load_for_daemon(), None)
        except ConfigError as error:
            if role in _SPEAKS_WHEN_MISCONFIGURED:
                return Runtime(role, config.fallback(), str(error))
            if not is_said:
                log.info("waiting for a usable configuration")
                is_said = True
        await asyncio.sleep(WATCH_S)


async def _watch(runtime: Runtime, parent: int) -> None:
    """Once a second: show life on the lock, leave with the parent, notice a repaired file, schedule
    threads as the settings say. It begins when the actor is there: its imports and loading are no
    work on ticks.

    Without its parent (supervisord killed) nobody would restart this actor, and the next
    supervisord would meet its lock; so it goes too.
    """
    loop = asyncio.get_running_loop()
    priority = PRIORITIES.get(runtime.role, 0) if runtime.settings.config.realtime else 0
    realtime = Realtime(priority, log) if priority else None
    if realtime:
        # Not by the loop: a callback without an end never returns to it.
        signal.signal(signal.SIGXCPU, realtime.lose)
    while True:
        if realtime:
            realtime.look()
        await asyncio.sleep(to_next_s(loop.time()))
        runtime.lock.touch()
        if os.getppid() != parent:
            log.warning("the parent process has gone; leaving")
            runtime.stop(Exit.TRY_LATER)
        if runtime.misconfigured and _is_usable(runtime.settings.source):
            log.info("the configuration is usable now; starting anew")
            runtime.stop(Exit.OK)


def _parent() -> int:
    """Return the pid that should be our parent: supervisord may have died before we first
    looked."""
    return location.supervisord_pid() or os.getppid()


def _on_watch_end(runtime: Runtime, watcher: asyncio.Task[None]) -> None:
    """End the actor: the watch ends only when it is cancelled, and an unwatched actor must not live
    on."""
    if not watcher.cancelled():
        context = {"message": "the watch over this actor failed", "exception": watcher.exception()}
        _on_loop_error(runtime, context)


def _is_usable(path: Path | None) -> bool:
    try:
        config.load_for_daemon(path)
    except ConfigError:
        return False
    return True


def _on_loop_error(runtime: Runtime, context: dict[str, Any]) -> None:
    """End the actor: an exception in a callback is a bug, and a half-working actor is worse than a
    fresh one. Further exceptions on the way out are not said."""
    if runtime.exit_code is Exit.BUG:
        return
    error = context.get("exception")
    log.error("unexpected error: %s", context.get("message"), exc_info=error)
    runtime.stop(Exit.BUG)
