"""Programs that read the feed, as they report themselves: to be shown, nothing is decided by it."""

from typing import NamedTuple

from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.control import ReaderReport
from kitefeed.protocol.messages.status import ReaderStatus

READERS_MAX = 256
FORGET_NS = 30 * NS_PER_S  # they report every 2 s; one that hangs is seen hanging for a while


class _Heard(NamedTuple):
    report: ReaderReport
    pid: int | None
    at_ns: int


class Readers:
    """The last report of each; at the limit the one that was silent for longest is dropped."""

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}  # by the reader's own id, longest silent first

    def note(self, report: ReaderReport, pid: int | None, now_ns: int) -> None:
        self._heard.pop(report.reader, None)
        self._heard[report.reader] = _Heard(report, pid, now_ns)
        if len(self._heard) > READERS_MAX:
            del self._heard[next(iter(self._heard))]

    def report(self, now_ns: int) -> list[ReaderStatus]:
        """Return the programs that were heard lately, by name and pid."""
        for reader in [r for r, heard in self._heard.items() if now_ns - heard.at_ns > FORGET_NS]:
            del self._heard[reader]
        rows = [_row(heard, now_ns) for heard in self._heard.values()]
        return sorted(rows, key=lambda row: (row.name, row.pid or 0))


def _row(heard: _Heard, now_ns: int) -> ReaderStatus:
    told = heard.report
    return ReaderStatus(
        name=told.name,
        pid=heard.pid,
        heard_age_s=round((now_ns - heard.at_ns) / 1e9, 1),
        instruments=told.instruments,
        ticks_per_s=told.ticks_per_s,
        lag_ms=told.lag_ms,
        waiting=told.waiting,
        gaps=told.gaps,
        late=told.late,
        skipped=told.skipped,
        overrun=told.overrun,
        reconnects=told.reconnects,
        problem=told.problem,
    )
