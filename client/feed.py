"""The client: how a strategy reads the feed. Needs pyzmq and msgspec, and no other package.

    feed = Feed("NSE:INFY", "NSE:NIFTY 50")
    for tick in feed:                      # last values first, then live ones, for ever
        if tick.is_fresh:
            print(tick.instrument, tick.last_price, tick.source, tick.age_s)

A Feed reconnects by itself: over a login, a restart of the daemon, a change of source. Any number
of threads may use it at once. Its twin for asyncio is AsyncFeed (`feed_async`).
"""

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from kitefeed.client.bar_stream import BarStream
from kitefeed.client.bars import WAIT_S
from kitefeed.client.batches import Batch, batch_of
from kitefeed.client.history import LOOK_S
from kitefeed.client.order import Order
from kitefeed.client.reader import ENOUGH, Reader, deadline_after, taker, wait_s
from kitefeed.client.status import Status
from kitefeed.client.tick import Tick
from kitefeed.client.waiting import PENDING_MAX
from kitefeed.client.wants import Asked
from kitefeed.client.watch import Watch
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.feed import Notice
from kitefeed.protocol.messages.control import Answer
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.topics import NOTICE, ORDER

T = TypeVar("T")

# A quick program is given so many ticks between two looks at the clock. If it is suddenly slow,
# each of them may be older by the time it needs for one.
UNLOOKED_MAX = 7
QUICK_NS = 10_000_000  # for those

__all__ = ["Feed", "Status", "Tick"]


class Feed(Reader):
    """Reads the feed: last values first, then live ones.

    Arguments:

    - instruments: names, Kite's tokens, or lists of them. None at all: everything that streams; an
      empty list: nothing yet. A pattern, such as `NSE:NIFTY*`, reads what streams already, and
      makes nothing stream.
    - mode: ltp, quote or full; None: as configured. An instrument streams in the highest mode that
      anybody asks for: `tick.mode` tells which one it is, and `feed.answers` why it is higher.
    - per_second: 1, 2, 5 or 10: the latest tick of each instrument, at most so often; for screens.
      None: every tick.
    - since: `"09:15"`, India's clock, or a datetime: first the ticks that were recorded since then
      (docs/recording.md), judged as they were, then those that come: no hole, and none twice.
    - max_age_s: a reader that is further behind than so many seconds skips to the latest
      (`skipped`, `reconnects`); None: every tick that can be had, however old.
    - on_status, on_order, on_notice: called with a Status when headline or source change, with each
      order update, with each Notice.
    - on_gap: called with the fields of `kitefeed.Gap` when ticks are missing, or about to be, and
      when that is healed.
    - timeout_s: how long to wait for the daemon, in seconds: here, and in `subscribe`.
    - name: as `kitefeed top` shows this program; None: as its script is called.
    - config: the configuration whose daemon is read; None: the one in force.
    - endpoint, control: ZeroMQ addresses instead of those of that daemon. With `endpoint` alone,
      instruments are asked for upstream by subscribing, and not besides.
    - keys: the file that `kitefeed keys --client NAME` made, for a `tcp://` endpoint.
    - credentials: the file of the login at a `nats://` endpoint.
    - tls: whether that is reached by TLS; or the file of the authority that its certificate is of.

    Callbacks are called while the program waits for this feed, one after the other, in the thread
    that waits, and may be set later, too (`feed.on_order = ...`). What they raise is logged
    (`kitefeed`), and ends nothing.

    Raises:

    - Unavailable: no heartbeat came within `timeout_s`.
    - BadInput: an instrument that does not exist or cannot be had, or another argument.
    - ConfigError: keys or credentials that cannot be used.

    Afterwards nothing raises because the daemon went away: `status.feed` reads "lost", values read
    stale, and waiting goes on.
    """

    _unlooked = 0  # ticks that may still be given out before the next look at the clock
    _looked_ns = 0

    def _start(self) -> None:
        self._watch = Watch(self._lock)
        self._watch.at(self._socket.fileno())
        try:
            self._begin(boot_ns() + self._timeout_ns)
        except BaseException:
            self.close()
            raise

    def _begin(self, deadline_ns: int) -> None:
        if self._has_tokens:
            self._name_tokens(deadline_ns)
        self._ask()
        if not self._wait_until(self._is_heard, deadline_ns):
            raise self._silence()
        self._choose()
        self._want(deadline_ns)
        # Values that are known already are there when the constructor returns.
        self._wait_until(self._is_answered, deadline_ns)
        self._begin_history()
        self._begun()

    def __iter__(self) -> Iterator[Tick]:
        """Ticks in order, for ever: while the daemon is away it waits. Ends with `close()`.
        Threads that iterate at the same time share the ticks: each goes to one of them."""
        take = self._view.take
        while (tick := self.next()) is not None:
            yield tick
            if self._is_in_the_past():
                continue
            while self._may_take() and (tick := take()) is not None:
                yield tick

    def next(self, timeout_s: float | None = None) -> Tick | None:
        """The next tick; None when none came within `timeout_s`, or after `close()`."""
        view = self._view
        if self._history is not None:
            deadline_ns = deadline_after(timeout_s)
            tick = self._next_recorded(deadline_ns)
            if tick is not None or self._is_in_the_past():
                return tick
            timeout_s = None if deadline_ns is None else max(0.0, (deadline_ns - boot_ns()) / 1e9)
        # The usual case while a batch is given out; `close` leaves nothing there.
        if view.arrived and self._may_take() and (tick := view.take()) is not None:
            return tick
        view.waiting.is_iterated = True
        return self._wait_for(view.take, deadline_after(timeout_s), ENOUGH)

    def _may_take(self) -> bool:
        """Whether a tick may be given out as it waits; else what came is to be looked at first. The
        clock is looked at for every eighth tick, as long as the program takes them quickly."""
        if self._unlooked > 0 and self._look_due_ns:  # 0: there is news that goes before any tick
            self._unlooked -= 1
            return True
        now_ns = boot_ns()
        is_quick = now_ns - self._looked_ns < QUICK_NS
        self._looked_ns, self._unlooked = now_ns, UNLOOKED_MAX if is_quick else 0
        return now_ns < self._look_due_ns

    def _next_recorded(self, deadline_ns: int | None) -> Tick | None:
        """The next tick of the recorded beginning; None when it is over, or the time is."""
        while (tick := self._take_recorded()) is None and self._is_in_the_past():
            until_ns = boot_ns() + int(LOOK_S * 1e9)
            if self._socket.closed or (deadline_ns is not None and until_ns >= deadline_ns):
                break
            self._wait_for(lambda: None, until_ns)
        if self._view.holes.has_news:
            self._tell()  # before the tick that comes after it
        return tick

    def wait_for(self, instrument: str, timeout_s: float | None = None) -> Tick | None:
        """The latest tick, waiting for the first one if need be; None after `timeout_s`. What
        arrives meanwhile is kept for iteration."""
        values = self._view.values
        return self._wait_for(lambda: values.get(instrument), deadline_after(timeout_s))

    def next_batch(self, timeout_s: float | None = None, max: int = 1_000) -> list[Tick]:
        """The next ticks, as many as are there, at most `max`; [] when none came within
        `timeout_s`, or after `close()`."""
        first = self.next(timeout_s)
        return [] if first is None else [first, *self._more(max - 1)]

    def batches(self, timeout_s: float | None = None, max: int = 10_000) -> Iterator[Batch]:
        """Ticks as arrays of token, last price, volume and times, as many as are there, at most
        `max` at once (see `Batch`). Ends with `close()`, or when none came within `timeout_s`."""
        while ticks := self.next_batch(timeout_s, max):
            yield batch_of(ticks)

    def bars(
        self, interval: str = "1m", *, since: str | datetime | None = None, wait_s: float = WAIT_S,
        corrects: bool = False, fill: bool = True,
    ) -> BarStream:  # fmt: skip
        """The bars of what this feed reads, whose ticks it takes: `for bar in feed.bars("1m")`.

        Arguments:

        - interval: 1s to 1d: `30s`, `5m`, `1h`.
        - since: first the bars from then on, of instruments that have a value; `"09:15"`, India's
          clock, or a datetime. None: those to come.
        - wait_s: seconds after its end at which a bar is final, and given out.
        - corrects: a tick that comes later makes its bar anew, if it is the last one of its
          instrument; that one is given out once more (`bar.is_correction`).
        - fill: what was before this program came is taken from the recording, or asked of Kite with
          the session on this host (`bar.quality` is history).

        Raises:

        - BadInput: an interval that is none, or a feed that leaves ticks out (`per_second`).
        """
        return BarStream(self, *self._new_bars(interval, wait_s, corrects, since, fill))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until there is something to take: a tick (`next`, `next_batch`), or an order or
        notice, if they are asked for. False when there was nothing within `timeout_s`, and after
        `close()`. Of several feeds: `kitefeed.wait`."""
        self._view.waiting.is_iterated = True
        find: Callable[[], bool | None] = lambda: self._has_something or None  # noqa: E731
        return self._wait_for(find, deadline_after(timeout_s), ENOUGH) is not None

    def fileno(self) -> int:
        """A descriptor for `select`, `poll` and event loops: it can be read while there may be
        something to take, or to tell the callbacks. Then call `next_batch(0)`, or what else does
        not wait, until that gives nothing; sometimes it does so at once. -1 after `close()`.

        That the daemon is lost is no message: call so once a second in any case. Raises
        NotImplementedError on systems without epoll.
        """
        with self._lock:
            if self._socket.closed:
                return -1
            descriptor = self._watch.fileno()
            self._mark()
            return descriptor

    def orders(self, timeout_s: float | None = None) -> Iterator[Order]:
        """Order updates of the account from now on, in order, as Kite sends them: its order object
        (`order_id`, `status`, `filled_quantity`, ...). What came while the daemon had no socket is
        found in the order book after the reconnect: `order.source` is "rest" then. Each goes to one
        of those that iterate.

        Ends with `close()`, or when none came within `timeout_s`. 1,000 are kept for who does not
        take them; `overrun` counts the rest. Over tcp they come only with `feed.tcp_orders`.
        """
        self._hear(ORDER)
        return self._events(self._view.orders, timeout_s)

    def notices(self, timeout_s: float | None = None) -> Iterator[Notice]:
        """Sentences of the broker (`kind` message) and of Kite (error) from now on; as `orders`."""
        self._hear(NOTICE)
        return self._events(self._view.notices, timeout_s)

    def _events(self, events: deque[T], timeout_s: float | None) -> Iterator[T]:
        take = taker(events)
        while (event := self._wait_for(take, deadline_after(timeout_s))) is not None:
            yield event

    def subscribe(self, *instruments: Asked, mode: Mode | None = None) -> tuple[Answer, ...]:
        """Reads these as well from now on; or in another mode, those that it reads already. One
        answer for each: `accepted`, or `refused` and why. Their last values come as ticks. Waits
        for the daemon's answer, `timeout_s` of the feed at most.

        - instruments: names, tokens, or lists of them.
        - mode: ltp, quote or full; None: the feed's.

        Raises:

        - BadInput: something that can be no instrument; a feed of everything; tokens where nobody
          can look them up.
        """
        answers = self._inquire(instruments, mode)
        self._add(answers, mode)
        return answers

    def set_mode(self, mode: Mode, *instruments: Asked) -> tuple[Answer, ...]:
        """`subscribe` by the name that Kite's clients have for it."""
        return self.subscribe(*instruments, mode=mode)

    def close(self) -> None:
        with self._lock:
            super().close()
            self._watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_until(self, condition: Callable[[], bool], deadline_ns: int) -> bool:
        return self._wait_for(lambda: condition() or None, deadline_ns) is not None

    def _wait_for(
        self,
        find: Callable[[], T | None],
        deadline_ns: int | None,
        enough: int = PENDING_MAX + 1,
    ) -> T | None:
        """Wait until `find` gives something, and return it; None when the deadline is over, or the
        feed closed (by `on_status`, too). `find` is called with the lock."""
        watch, is_asleep = self._watch, False
        try:
            while True:
                with self._lock:
                    if is_asleep:
                        is_asleep = False
                        watch.leave()
                        # One message nearly always; the rest is taken in when it has been given out
                        is_one = self._take_one() and not self._view.holes.has_news
                        if is_one and boot_ns() < self._look_due_ns:
                            found = find()
                            if found is not None:
                                return found
                    taken = 0 if self._is_idle() else self._drain(enough=enough)
                    if self._socket.closed:
                        return None
                    is_telling_due = self._callbacks.has_any and self._is_telling_due()
                    if not is_telling_due:
                        found = find()
                        if found is not None:
                            return found
                        left_s = wait_s(deadline_ns)
                        if left_s <= 0:
                            return None
                        if watch.is_taken:
                            watch.follow(left_s)
                            continue
                        if (taken or self._is_touched) and self._has_more:
                            continue
                        self._is_touched = False
                        is_asleep = watch.is_taken = True
                if is_asleep:
                    if self._missing_due_ns:
                        self._tell_missing()
                    watch.sleep(left_s)
                else:
                    self._tell()
        finally:
            if is_asleep or watch.sign is not None:
                with self._lock:
                    if is_asleep:
                        watch.leave()
                    self._mark()

    def _took_in(self) -> None:
        self._watch.ring()
        self._mark()

    def _mark(self) -> None:
        """Called, with the lock, when there may be something to take that was not, or no more."""
        if self._watch.sign is not None and not self._socket.closed:
            self._watch.sign.show(self._has_something or self._has_more)

    def _descriptors(self) -> tuple[int, ...]:
        """Return the descriptors to wait at after `wait(0)` has found nothing; none after
        `close()`."""
        with self._lock:
            if self._socket.closed:
                return ()
            descriptors = self._watch.descriptors()
            self._mark()
            return descriptors

    def _reopen(self) -> None:
        super()._reopen()
        self._watch.at(self._socket.fileno())
