"""Reports a program's state to the daemon, so that `kitefeed top` can show who is slow.

Nothing waits for it and nothing depends on it: a report that cannot be sent now is dropped. It
leaves only when the program looks at its feed, so a program that hangs falls silent.
"""

import secrets
import sys
from pathlib import Path

from kitefeed.client.view import View
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.control import NAME_CHARS_MAX, ReaderReport
from kitefeed.protocol.messages.envelope import seal
from kitefeed.protocol.sockets import connect_reports, send_or_drop

REPORT_NS = 2 * NS_PER_S


class Reporter:
    """Reports over `control`, for a feed of so many instruments (0: all, or patterns)."""

    def __init__(self, control: str, name: str | None, instruments: int) -> None:
        self._socket = connect_reports(control)
        self._reader = secrets.token_hex(6)
        self._name = (name or _program())[:NAME_CHARS_MAX]
        self.instruments = instruments
        self._due_ns = 0
        self._told_ns = 0
        self._ticks = 0

    def turn(self, view: View, now_ns: int) -> None:
        """Call it often: it tells what is due."""
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + REPORT_NS
        elapsed_s = (now_ns - self._told_ns) / 1e9 if self._told_ns else 0.0
        rate = (view.ticks - self._ticks) / elapsed_s if elapsed_s else 0.0
        self._told_ns, self._ticks = now_ns, view.ticks
        report = ReaderReport(
            reader=self._reader,
            name=self._name,
            instruments=self.instruments,
            ticks_per_s=round(rate, 1),
            lag_ms=round(view.lag_ns / 1e6, 1),
            waiting=len(view.arrived),
            gaps=view.gaps,
            late=view.late,
            skipped=view.skipped,
            overrun=view.overrun,
            reconnects=view.reconnects,
        )
        view.lag_ns = 0
        send_or_drop(self._socket, seal(report))

    def close(self) -> None:
        self._socket.close(0)


def _program() -> str:
    """Return the program's name: `strategy.py`, or the package of `python -m strategy`."""
    path = Path(sys.argv[0] or "python")
    return path.parent.name if path.name == "__main__.py" else path.name
