"""Twisted on our asyncio loop: one thread for Kite's socket, ZeroMQ and the timers.

`install` must come before anything imports kiteconnect, which installs the default reactor as a
side effect. (One reactor per process, and it can be started once.)
"""

import asyncio
import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import main
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.logger import globalLogBeginner
from twisted.python import log as twisted_log

log = logging.getLogger("ticker")


def install(loop: asyncio.AbstractEventLoop, on_error: Callable[[], None]) -> None:
    """Make `loop` Twisted's running reactor. `on_error` is told of exceptions that Twisted caught
    in code of its own or of autobahn (ours is guarded)."""
    _take_over_logging(on_error)
    reactor: Any = _Reactor(loop)
    main.installReactor(reactor)
    # Host names are looked up in threads; a hanging resolver must not hold up the exit.
    pool = reactor.getThreadPool()
    pool.threadFactory = functools.partial(threading.Thread, daemon=True)
    reactor.startRunning(installSignalHandlers=False)


class _Reactor(AsyncioSelectorReactor):  # type: ignore[misc]
    """Reads without Twisted's logging context, a tenth of all that a frame costs here: it would
    name the socket in messages that nobody gets to see (`_take_over_logging`)."""

    def addReader(self, reader: Any) -> None:
        super().addReader(reader)
        if reader in self._readers:
            self._asyncioEventloop.add_reader(reader.fileno(), self._read, reader)

    def _read(self, reader: Any) -> None:
        try:
            self._readOrWrite(reader, True)
        except Exception:  # noqa: BLE001 - as Twisted's own: of a connection that is lost already
            twisted_log.err()


def _take_over_logging(on_error: Callable[[], None]) -> None:
    """Keep Twisted from printing tracebacks on stderr, as it does until somebody begins logging:
    those of a handshake name the URL that holds the token."""
    said: set[str] = set()

    def observe(event: dict[str, Any]) -> None:
        failure = event.get("log_failure")
        if failure is None:
            return
        on_error()
        name = getattr(failure.type, "__name__", "error")
        if name not in said:
            said.add(name)
            log.warning("the websocket library met an error of its own: kind=%s", name)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False, discardBuffer=True)
