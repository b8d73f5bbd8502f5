"""The client: how a strategy reads the feed. Needs pyzmq and msgspec, and no other package.

    feed = Feed("NSE:INFY", "NSE:NIFTY 50")
    for tick in feed:                      # last values first, then live ones, for ever
        if tick.is_fresh:
            print(tick.instrument, tick.last_price, tick.source, tick.age_s)

A Feed reconnects by itself: over a login, a restart of the daemon, a change of source. It is used
by one thread. Its twin for asyncio is AsyncFeed (`feed_async`).
"""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from kitefeed.client.reader import ENOUGH, WAIT_S_MAX, Reader, deadline_after
from kitefeed.client.status import Status
from kitefeed.client.tick import Tick
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.sockets import wait_message

__all__ = ["Feed", "Status", "Tick"]


class Feed(Reader):
    """Reads the feed. No instruments: everything that streams. A pattern, such as `NSE:NIFTY*`,
    reads what streams already, and makes nothing stream.

    mode: ltp, quote or full; None as configured. An instrument streams in the highest mode that
    anybody asks for: `tick.mode` tells which one it is, and `feed.answers` why it is higher.
    endpoint, control: ZeroMQ addresses; by default those of the daemon that `config` (or the
    configuration in force) describes. With `endpoint` alone, instruments are not asked for
    upstream except by subscribing. keys: the file that `kitefeed keys --client NAME` made, for a
    `tcp://` endpoint. on_status is called with a Status when headline or source
    change, while the program waits for ticks.
    per_second: 1, 2, 5 or 10: the latest tick of each instrument, at most so often; for screens.
    max_age_s: a reader that is further behind than this skips to the latest (`skipped`,
    `reconnects`); None: every tick that can be had, however old. name: as `kitefeed top` shows this
    program; by default that of its script.

    Raises Unavailable when no heartbeat came within `timeout_s`, BadInput for an instrument that
    does not exist or cannot be had, ConfigError for keys that cannot be used. Afterwards nothing
    raises because the daemon went away: `status.feed` reads "lost", values read stale, and waiting
    goes on.
    """

    def _start(self) -> None:
        try:
            self._begin(boot_ns() + self._timeout_ns)
        except BaseException:
            self.close()
            raise

    def _begin(self, deadline_ns: int) -> None:
        self._ask()
        if not self._wait_until(self._is_heard, deadline_ns):
            raise self._silence()
        self._want(deadline_ns)
        # Values that are known already are there when the constructor returns.
        self._wait_until(self._is_answered, deadline_ns)

    def __iter__(self) -> Iterator[Tick]:
        """Ticks in order, for ever: while the daemon is away it waits. Ends with `close()`."""
        arrived = self._view.arrived
        while (tick := self.next()) is not None:
            yield tick
            while arrived and boot_ns() < self._look_due_ns:
                yield arrived.popleft()

    def next(self, timeout_s: float | None = None) -> Tick | None:
        """The next tick; None when none came within `timeout_s`, or after `close()`."""
        view = self._view
        # As nearly always while a batch is given out; `close` leaves nothing there.
        if view.arrived and not view.is_catching_up and boot_ns() < self._look_due_ns:
            return view.arrived.popleft()
        deadline_ns = deadline_after(timeout_s)
        while not self._socket.closed:
            if not view.has_next or boot_ns() >= self._look_due_ns:
                self._drain(enough=ENOUGH)
                self._tell_status()
            if view.has_next:
                return view.arrived.popleft()
            if not self._wait(deadline_ns):
                break
        return None

    def wait_for(self, instrument: str, timeout_s: float | None = None) -> Tick | None:
        """The latest tick, waiting for the first one if need be; None after `timeout_s`. What
        arrives meanwhile is kept for iteration."""
        deadline_ns = deadline_after(timeout_s)
        while (tick := self.get(instrument)) is None:
            if not self._wait(deadline_ns):
                return None
        return tick

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait(self, deadline_ns: int | None) -> bool:
        """Waits, but never long, for a message and takes it in; False when the deadline is over, or
        the feed closed (by `on_status`, too)."""
        wait_s = WAIT_S_MAX
        if deadline_ns is not None:
            wait_s = min(wait_s, (deadline_ns - boot_ns()) / 1e9)
        if wait_s <= 0 or self._socket.closed:
            return False
        frame = wait_message(self._socket, max(1, int(wait_s * 1_000)))
        if frame is not None:
            self._view.apply(frame, boot_ns(), utc_ns())
        return True

    def _wait_until(self, condition: Callable[[], bool], deadline_ns: int) -> bool:
        while True:
            self._drain()
            if condition():
                return True
            if not self._wait(deadline_ns):
                return False
