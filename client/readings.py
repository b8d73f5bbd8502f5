"""Answers at any time, without waiting: the latest values of a feed, its state, its losses."""

import threading
from typing import Any

from kitefeed.client.frames import Snapshot
from kitefeed.client.status import Status
from kitefeed.client.tick import Staleness, Tick
from kitefeed.client.view import View
from kitefeed.client.wants import Wants
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.feed import Heartbeat


class Readings:
    """The part of a Reader that looks and waits for nothing."""

    _lock: "threading.RLock"
    _socket: Any
    _view: View
    _wants: Wants

    def _drain(self) -> int:
        """Take in pending messages. The reader's own."""
        raise NotImplementedError

    # --- reading ------------------------------------------------------------------------------

    def __getitem__(self, instrument: str) -> Tick:
        """The latest tick. KeyError when none has come yet (see `wait_for`)."""
        with self._lock:
            self._drain()
            return self._view.values[instrument]

    def get(self, instrument: str) -> Tick | None:
        """The latest tick, or None when none has come yet. Never blocks."""
        with self._lock:
            self._drain()
            return self._view.values.get(instrument)

    def snapshot(self) -> Snapshot:
        """The latest tick of every instrument: a dict, with `to_pandas()` and `to_polars()`."""
        with self._lock:
            self._drain()
            return Snapshot(self._view.values)

    def values(self) -> list[Tick]:
        """The latest ticks, one of each instrument."""
        return list(self.snapshot().values())

    def __contains__(self, instrument: str) -> bool:
        return self.get(instrument) is not None

    # --- knowing ------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """The feed in words, as of now; `str(feed.status)` is the headline."""
        with self._lock:
            self._drain()
            return self._status()

    def _status(self) -> Status:
        return self._view.status(boot_ns())

    def why_stale(self, tick: Tick) -> Staleness:
        """The same as `tick.why_stale`: why this is not the current value, empty if it is."""
        with self._lock:
            self._drain()
            return "no_feed" if self._socket.closed else self._view.why_stale(tick, boot_ns())

    def has_source(self, tick: Tick) -> bool:
        """Whether the source that gave this value still feeds. Never after `close()`."""
        with self._lock:
            self._drain()
            return not self._socket.closed and self._view.has_source(tick, boot_ns())

    @property
    def instruments(self) -> tuple[str, ...]:
        """The names that the feed reads now; those of patterns are not among them."""
        return self._wants.instruments

    @property
    def missing(self) -> tuple[str, ...]:
        """The instruments asked for of which no value has come yet."""
        with self._lock:
            self._drain()
            return tuple(name for name in self.instruments if name not in self._view.values)

    @property
    def gaps(self) -> int:
        """Messages lost on the way to this reader, because it was too slow."""
        return self._view.gaps

    @property
    def duplicates(self) -> int:
        """Messages that came twice; they are not given out again."""
        return self._view.duplicates

    @property
    def late(self) -> int:
        """Messages older than 2 s when they were read."""
        return self._view.late

    @property
    def overrun(self) -> int:
        """Ticks, and orders and notices asked for, that were dropped because nobody took them."""
        return self._view.overrun

    @property
    def skipped(self) -> int:
        """Ticks that were not given out, because newer ones had come by the time they were to be:
        the program, or its connection, was more than `max_age_s` behind."""
        return self._view.skipped

    @property
    def reconnects(self) -> int:
        """How often the feed was so far behind that it connected anew."""
        return self._view.reconnects

    @property
    def bad_messages(self) -> int:
        """Messages that could not be decoded: sent by another version, or damaged."""
        return self._view.bad_messages

    @property
    def gen(self) -> int:
        """The broadcaster's life: another number after it was restarted."""
        self._drain()
        return self._view.gen

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called. Nothing more comes then."""
        return bool(self._socket.closed)

    @property
    def heartbeat(self) -> Heartbeat | None:
        """The daemon's last heartbeat (docs/wire-format.md); None before the first."""
        self._drain()
        return self._view.heartbeat
