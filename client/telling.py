"""Calls the functions of a feed's program: one after the other, in one thread at a time."""

import threading
from collections.abc import Callable
from typing import Any

from kitefeed.client.callbacks import Call, Callbacks, OnGap, OnNotice, OnOrder, OnStatus
from kitefeed.client.view import View
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topics import NOTICE, ORDER

FAMILIES = {"on_order": ORDER, "on_notice": NOTICE}  # what each of them is to hear


class Telling:
    """The part of a Reader that tells."""

    _callbacks: Callbacks
    _is_begun: bool
    _lock: "threading.RLock"
    _socket: Any
    _telling: threading.Lock  # so that two threads never tell in the wrong order
    _view: View

    # The reader's own.

    def _drain(self) -> int:
        raise NotImplementedError

    def _hear(self, family: bytes) -> None:
        raise NotImplementedError

    def _took_in(self) -> None:
        raise NotImplementedError

    @property
    def on_status(self) -> OnStatus | None:
        """Called with a Status when headline or source change, and once in the beginning; None: it
        is not told."""
        return self._callbacks.on_status

    @on_status.setter
    def on_status(self, function: OnStatus | None) -> None:
        self._call_back("on_status", function)

    @property
    def on_order(self) -> OnOrder | None:
        """Called with each order update, as `orders` gives them; None: they are kept for that."""
        return self._callbacks.on_order

    @on_order.setter
    def on_order(self, function: OnOrder | None) -> None:
        self._call_back("on_order", function)

    @property
    def on_notice(self) -> OnNotice | None:
        """Called with each Notice, as `notices` gives them; None: they are kept for that."""
        return self._callbacks.on_notice

    @on_notice.setter
    def on_notice(self, function: OnNotice | None) -> None:
        self._call_back("on_notice", function)

    @property
    def on_gap(self) -> OnGap | None:
        """Called with `(start, end, instruments, reason, healed)`, as `kitefeed.Gap` explains them,
        when ticks are missing or about to be lost, and when that is healed; None: nobody is."""
        return self._callbacks.on_gap

    @on_gap.setter
    def on_gap(self, function: OnGap | None) -> None:
        self._call_back("on_gap", function)

    def _call_back(self, name: str, function: Callable[..., object] | None) -> None:
        with self._lock:
            self._callbacks.set(name, function)
            self._view.holes.is_wanted = self._callbacks.on_gap is not None
            if function is not None and name in FAMILIES:
                self._hear(FAMILIES[name])
            self._took_in()  # there may be something to tell it now

    def _is_telling_due(self) -> bool:
        """Whether `_tell` has something to tell. Called with the lock."""
        # A thread that is telling now looks again afterwards.
        return not self._telling.locked() and self._has_news()

    def _has_news(self) -> bool:
        if not self._is_begun:
            return False
        if self._view.is_lost(boot_ns()):
            self._drain()  # a heartbeat may wait behind ticks that nobody has taken yet
        return not self._socket.closed and self._callbacks.has_news(self._view, boot_ns())

    def _next_call(self) -> Call | None:
        with self._lock:
            return self._callbacks.take(self._view, boot_ns()) if self._has_news() else None

    def _tell(self) -> None:
        """Calls the program's functions while there is news; never with the lock, which other
        threads need."""
        if not self._telling.acquire(blocking=False):
            return
        try:
            while (call := self._next_call()) is not None:
                call.make()
        finally:
            self._telling.release()
