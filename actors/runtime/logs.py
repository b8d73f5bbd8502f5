"""Logging: one line per change of state, `key=value` behind a short sentence, secrets redacted.

Everything goes to stderr and nowhere else, so that a line exists once; supervisord merges the
actors' stderr into its own output. A thread of its own writes, from a bounded queue: a frozen log
reader must not be able to stop a ticker, so at the limit lines are dropped and counted.
"""

import logging
import queue
import sys
import threading
from typing import Any

from kitefeed.actors.runtime.secrets import redact

LINES_QUEUED_MAX = 2_000
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# These log every refused attempt as an error, some with the token's URL; we say it once, ourselves.
_SILENCED = ("kiteconnect", "kiteconnect.ticker", "twisted", "autobahn", "txaio", "urllib3")


class RedactingFormatter(logging.Formatter):
    """Redacts the finished line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _BackgroundHandler(logging.Handler):
    """Formats in the caller, writes in a daemon thread."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: queue.Queue[str] = queue.Queue(LINES_QUEUED_MAX)
        self._dropped = 0
        threading.Thread(target=self._write_forever, name="log-writer", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._queue.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1

    def _write_forever(self) -> None:
        while True:
            line = self._queue.get()
            try:
                if self._dropped:
                    sys.stderr.write(f"(log reader was stuck: {self._dropped} lines dropped)\n")
                    self._dropped = 0
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
            except (OSError, ValueError):  # the reader has gone; the actor goes on
                pass
            finally:
                self._queue.task_done()

    def drain(self, timeout_s: float) -> None:
        """Wait until all lines are written, but never longer than `timeout_s`."""
        waiter = threading.Thread(target=self._queue.join, daemon=True)
        waiter.start()
        waiter.join(timeout_s)


_handler: _BackgroundHandler | None = None


def set_up(role: str) -> logging.Logger:
    """Configure the process once; return the logger of `role`."""
    global _handler
    logging.raiseExceptions = False
    if _handler is None:
        _handler = _BackgroundHandler()
        _handler.setFormatter(RedactingFormatter(FORMAT))
        logging.getLogger().addHandler(_handler)
        logging.getLogger().setLevel(logging.INFO)
    for name in _SILENCED:
        silenced = logging.getLogger(name)
        silenced.handlers = [logging.NullHandler()]
        silenced.propagate = False
    _redact_uncaught(logging.getLogger(role))
    return logging.getLogger(role)


def _redact_uncaught(log: logging.Logger) -> None:
    """Log uncaught exceptions. Python itself would print the traceback with any secret in its
    text."""

    def in_main(*info: Any) -> None:
        log.critical("unexpected error", exc_info=info)
        drain()

    def in_thread(info: threading.ExceptHookArgs) -> None:
        if info.exc_value is not None:
            log.error("unexpected error in a thread", exc_info=info.exc_value)

    sys.excepthook = in_main
    threading.excepthook = in_thread


def drain(timeout_s: float = 0.5) -> None:
    """Write out what is queued, at the end of a process."""
    if _handler is not None:
        _handler.drain(timeout_s)
