"""Reads the daemon's feed, frame by frame: what a reader repairs is repaired, and nothing is
judged."""

from collections.abc import Callable, Iterable
from pathlib import Path

from kitefeed.client.feed_async import AsyncFeed
from kitefeed.client.view import View
from kitefeed.client.wants import Wants
from kitefeed.protocol.topics import NOTICE, NUL, ORDER, last_topic

Take = Callable[[bytes], None]
SLOWEST = 1  # a second: an exact subscription streams an instrument, whatever its rate


class Tap(AsyncFeed):
    """Reads all that streams. `take` is given every frame, those of snapshots included, before its
    next is read. names: instruments that shall stream because they are named here."""

    def __init__(self, config: Path | None, name: str, take: Take, names: Iterable[str]) -> None:
        self._take = take
        super().__init__(config=config, name=name)
        self._families += [last_topic(SLOWEST, each) + NUL for each in names]

    def read_orders(self) -> None:
        """Read order updates, and the notices of broker and Kite."""
        self._families += [ORDER, NOTICE]

    def _new_view(self, _wants: Wants) -> View:
        return _Passing(self, self._take)


class _Passing(View):
    """Notes what is missing, and keeps no value: the bridge has them as they came."""

    def __init__(self, judge: Tap, take: Take) -> None:
        super().__init__(judge, frozenset())
        self._take = take
        self._is_inside = False

    def apply(self, frame: bytes, now_ns: int, utc_ns: int) -> None:
        if self._is_inside:  # a part of a snapshot, which is given out as a whole
            super().apply(frame, now_ns, utc_ns)
            return
        bad = self.bad_messages
        self._is_inside = True
        try:
            super().apply(frame, now_ns, utc_ns)
        finally:
            self._is_inside = False
        if bad == self.bad_messages:
            self._take(frame)
