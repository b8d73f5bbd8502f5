"""The functions of the program that a feed calls, and what is still to be told to them. Pure, but
for what the program does in them.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from kitefeed.client.gaps import GapReason
from kitefeed.client.order import Order
from kitefeed.client.status import Status
from kitefeed.client.view import View
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.feed import Notice

OnStatus = Callable[[Status], object]
OnOrder = Callable[[Order], object]
OnNotice = Callable[[Notice], object]
OnGap = Callable[[datetime, datetime | None, Mapping[str, int], GapReason, bool], object]

FAILED = "%s of the program failed"
log = logging.getLogger("kitefeed")


class Call(NamedTuple):
    """One thing that is to be told now."""

    name: str
    function: Callable[..., object]
    news: tuple[object, ...]

    def make(self) -> object:
        """Call the function, and return what it does. A program's mistake costs it that call, never
        the feed."""
        try:
            return self.function(*self.news)
        except Exception:  # whatever the program raises
            log.exception(FAILED, self.name)
            return None


class Callbacks:
    """`has_any`: whether there is a function at all. Not yet told news is kept by the view, but for
    the status: it is compared with what was told last. may_await: they may be coroutine functions.
    """

    def __init__(self, *, may_await: bool) -> None:
        self._may_await = may_await
        self.on_status: OnStatus | None = None
        self.on_order: OnOrder | None = None
        self.on_notice: OnNotice | None = None
        self.on_gap: OnGap | None = None
        self.has_any = False
        self._told: tuple[str, str] | None = None

    def set(self, name: str, function: Callable[..., object] | None) -> None:
        """Raises BadInput for what cannot be called, or would never be awaited."""
        if function is not None and not callable(function):
            raise BadInput(f"{name}={function!r} cannot be called: give a function")
        if inspect.iscoroutinefunction(function) and not self._may_await:
            raise BadInput(f"{name} is an `async def`, and only an AsyncFeed can await it")
        setattr(self, name, function)
        functions = (self.on_status, self.on_order, self.on_notice, self.on_gap)
        self.has_any = any(one is not None for one in functions)

    def has_news(self, view: View, now_ns: int) -> bool:
        """Whether `take` would give something."""
        if self.on_gap is not None and view.holes.has_news:
            return True
        if self.on_order is not None and view.orders:
            return True
        if self.on_notice is not None and view.notices:
            return True
        return self.on_status is not None and self._told != _words_of(view.status(now_ns))

    def take(self, view: View, now_ns: int) -> Call | None:
        """Return the next thing to tell the program; it counts as told from here on."""
        if self.on_gap is not None and (gap := view.holes.take()) is not None:
            return Call("on_gap", self.on_gap, gap)
        if self.on_status is not None:
            status = view.status(now_ns)
            if self._told != _words_of(status):
                self._told = _words_of(status)
                return Call("on_status", self.on_status, (status,))
        if self.on_order is not None and view.orders:
            return Call("on_order", self.on_order, (view.orders.popleft(),))
        if self.on_notice is not None and view.notices:
            return Call("on_notice", self.on_notice, (view.notices.popleft(),))
        return None


def _words_of(status: Status) -> tuple[str, str]:
    """Return the words of a status whose change calls `on_status`."""
    return status.feed, status.source
