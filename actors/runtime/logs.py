"""Logging: one line per change of state, `key=value` behind a short sentence, secrets redacted.

Everything goes to stderr and nowhere else, so that a line exists once; supervisord merges the
actors' stderr into its own output. A thread of its own writes, from a bounded queue: a frozen log
reader must not be able to stop a ticker, so at the limit lines are dropped and counted.
"""

import logging
import queue
import sys
import threading
from logging.handlers import QueueHandler, QueueListener
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


class _DroppingHandler(QueueHandler):
    """Formats in the caller, and leaves the line to the thread that writes. A full queue costs
    lines; how many is said by the next one that finds room."""

    queue: "queue.Queue[logging.LogRecord]"
    _dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self._dropped:
                text = f"(log reader was stuck: {self._dropped} lines dropped)"
                self.queue.put_nowait(logging.makeLogRecord({"msg": text}))
                self._dropped = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1


_lines: "queue.Queue[logging.LogRecord]" = queue.Queue(LINES_QUEUED_MAX)


def set_up(role: str) -> logging.Logger:
    """Configure the process once; return the logger of `role`."""
    logging.raiseExceptions = False  # when the reader has gone, the actor goes on
    root = logging.getLogger()
    if not any(isinstance(each, _DroppingHandler) for each in root.handlers):
        handler = _DroppingHandler(_lines)
        handler.setFormatter(RedactingFormatter(FORMAT))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        QueueListener(_lines, logging.StreamHandler()).start()
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
    """Wait until all lines are written, at the end of a process, but never longer than
    `timeout_s`."""
    waiter = threading.Thread(target=_lines.join, daemon=True)
    waiter.start()
    waiter.join(timeout_s)
