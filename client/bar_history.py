"""Bars of the time before a program came: from the recording, or Kite's own candles, with the
session that all programs share."""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from kitefeed.client.bars import WAIT_S, Bar, seconds_of
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import KitefeedError, Unavailable
from kitefeed.protocol.kite.candles import first_minute, span_of
from kitefeed.protocol.kite.rest import HTTP_TOO_MANY_REQUESTS
from kitefeed.protocol.kite.ticks import is_index
from kitefeed.protocol.kite.units import IST, NS_PER_S

if TYPE_CHECKING:
    from kitefeed.client.recording import Recording

_Rows = list[dict[str, Any]]
log = logging.getLogger("kitefeed")

# Kite's name of each interval that it has candles of.
NAMES = {
    "1m": "minute", "3m": "3minute", "5m": "5minute", "10m": "10minute", "15m": "15minute",
    "30m": "30minute", "1h": "60minute", "60m": "60minute", "1d": "day",
}  # fmt: skip
REQUEST_S_MAX = 7
TRIES = 3  # of one request, where Kite says that there are too many
EVERY_NS = 350_000_000
WAIT_NS = int(WAIT_S * NS_PER_S)
BEHIND_NS = 5 * NS_PER_S  # what is recorded is written once a second, on a busy disk later
READ_MAX = 64_000_000  # bytes of a recording: some ten seconds


class BarHistory:
    """Asks Kite, which answers three requests a second: a fourth waits here for its turn."""

    def __init__(self, config: str | os.PathLike[str] | None = None) -> None:
        self._config = config
        self._kite: Any = None
        self._next_ns = 0  # boot time

    def bars(
        self, instrument: str, token: int, interval: str, begin_ns: int, end_ns: int
    ) -> list[Bar]:
        """Return the bars that begin at `begin_ns` or later and end by `end_ns`, UTC; [] for an
        interval of which Kite has none. Raises KitefeedError when Kite cannot be asked, and why."""
        name = NAMES.get(interval)
        if name is None:
            return []
        rows = self._ask(token, name, begin_ns, end_ns)
        found = (_bar(instrument, token, interval, row) for row in rows)
        return [bar for bar in found if begin_ns <= bar.start_ns and bar.end_ns <= end_ns]

    def _ask(self, token: int, name: str, begin_ns: int, end_ns: int) -> _Rows:
        begin, end = (datetime.fromtimestamp(ns / NS_PER_S, IST) for ns in (begin_ns, end_ns))
        try:
            if self._kite is None:
                from kitefeed import kite  # it loads the official client

                config = None if self._config is None else os.fspath(self._config)
                self._kite = kite(config, timeout=REQUEST_S_MAX)
            return self._in_turn(
                lambda: self._kite.historical_data(token, begin, end, name, oi=True)
            )
        except KitefeedError:
            raise
        except Exception as error:  # of the official client, of requests, of the import
            raise Unavailable(f"Kite's candles cannot be had: {error}") from error

    def _in_turn(self, ask: Callable[[], _Rows], tries: int = TRIES) -> _Rows:
        time.sleep(max(0, self._next_ns - boot_ns()) / NS_PER_S)
        self._next_ns = boot_ns() + EVERY_NS
        try:
            return ask()
        except Exception as error:
            is_crowded = getattr(error, "code", None) == HTTP_TOO_MANY_REQUESTS
            if not is_crowded or tries == 1:
                raise
        self._next_ns = boot_ns() + NS_PER_S  # other programs of this key ask, too
        return self._in_turn(ask, tries - 1)


def _bar(instrument: str, token: int, interval: str, row: dict[str, Any]) -> Bar:
    start_ns = int(row["date"].timestamp()) * NS_PER_S
    return Bar(
        instrument, interval, start_ns, start_ns + seconds_of(interval) * NS_PER_S,
        row["open"], row["high"], row["low"], row["close"],
        None if is_index(token) else row["volume"], row.get("oi"),
        None, 0, "history",
    )  # fmt: skip


class Earlier:
    """Looks up the bars of the time before a stream began: in the day's recording, if there is one
    that is read in a moment, else in Kite's candles. When neither can be had, one line is logged
    and nothing ends: bars that began before the program came say `first`."""

    FILLED_MAX = 20  # requests of one stream for single bars: more would hold up the others

    def __init__(self, config: str | os.PathLike[str] | None, interval: str) -> None:
        self._history = BarHistory(config)
        self._config = config
        self._interval = interval
        self._left = self.FILLED_MAX
        self._turn = Lock()
        self._is_told = False

    def since(self, instruments: dict[str, int], begin_ns: int, end_ns: int) -> Future[list[Bar]]:
        """Return the bars of these instruments, name to token, in order of their ends."""

        def find() -> list[Bar]:
            found: list[Bar] = []
            for name, token in instruments.items():
                found += self._bars(name, token, begin_ns, end_ns)
            return sorted(found, key=lambda bar: bar.end_ns)

        return self._start(find)

    def whole(self, bar: Bar, token: int) -> Bar | Future[list[Bar]]:
        """Return the same bar whole, if it can be had, in place of one whose begin was missed."""
        if not self._left:
            return bar
        self._left -= 1
        instrument, begin_ns, end_ns = bar.instrument, bar.start_ns, bar.end_ns
        return self._start(lambda: self._bars(instrument, token, begin_ns, end_ns)[:1] or [bar])

    def _start(self, find: Callable[[], list[Bar]]) -> Future[list[Bar]]:
        """Run one call at a time, in a thread that does not keep the program from ending."""
        found: Future[list[Bar]] = Future()

        def run() -> None:
            try:
                with self._turn:
                    found.set_result(find())
            except Exception as error:  # noqa: BLE001 - whoever takes the result gets it
                found.set_exception(error)

        Thread(target=run, name="kitefeed-bars", daemon=True).start()
        return found

    def _bars(self, name: str, token: int, begin_ns: int, end_ns: int) -> list[Bar]:
        recorded = self._recorded(name, begin_ns, end_ns)
        found = {bar.start_ns: bar for bar in recorded if bar.quality == "complete"}
        if not recorded or len(found) < len(recorded) or recorded[0].start_ns > begin_ns:
            kites = self._kites(name, token, begin_ns, end_ns)
            found = {bar.start_ns: bar for bar in kites} | found
        return [found[start_ns] for start_ns in sorted(found)]

    def _recorded(self, name: str, begin_ns: int, end_ns: int) -> list[Bar]:
        begin, end = (datetime.fromtimestamp(ns / NS_PER_S, IST) for ns in (begin_ns, end_ns))
        if begin.date() != end.date():
            return []
        try:
            recording = self._recording(begin, name, end_ns)
            if recording.size > READ_MAX:
                return []
            return [
                bar for bar in recording.bars(self._interval)
                if begin_ns <= bar.start_ns and bar.end_ns <= end_ns
            ]  # fmt: skip
        except (KitefeedError, OSError):  # there is none
            return []

    def _recording(self, begin: datetime, name: str, end_ns: int) -> "Recording":
        """Open the recording. If it is being written, wait until it holds all of the last bar that
        ends by `end_ns`."""
        from kitefeed.client.recording import Recording  # most programs never need it

        first = first_minute(name.partition(":")[0])
        last_s, _ = span_of(end_ns // NS_PER_S, seconds_of(self._interval), first)
        needed_ns = last_s * NS_PER_S + WAIT_NS
        give_up_ns = boot_ns() + BEHIND_NS
        since = f"{begin:%H:%M:%S}"
        while True:
            made = Recording(begin.date(), name, config=self._config, since=since)
            is_behind = 0 < needed_ns - made.last_ns < BEHIND_NS
            if not is_behind or boot_ns() >= give_up_ns:
                return made
            time.sleep(0.1)

    def _kites(self, name: str, token: int, begin_ns: int, end_ns: int) -> list[Bar]:
        try:
            return self._history.bars(name, token, self._interval, begin_ns, end_ns)
        except KitefeedError as error:
            if not self._is_told:
                log.warning("bars that began before this program came are not whole: %s", error)
            self._is_told, self._left = True, 0
            return []
