"""The client for asyncio programs.

async with AsyncFeed("NSE:INFY", "NSE:NIFTY 50") as feed:
    async for tick in feed:            # last values first, then live ones, for ever
        if tick.is_fresh:
            print(tick.instrument, tick.last_price, tick.source, tick.age_s)
"""

import asyncio
import contextlib
import inspect
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from kitefeed.client.bar_stream import AsyncBarStream
from kitefeed.client.bars import WAIT_S
from kitefeed.client.batches import Batch, batch_of
from kitefeed.client.callbacks import FAILED, Call
from kitefeed.client.history import LOOK_S
from kitefeed.client.order import Order
from kitefeed.client.reader import WAIT_S_MAX, Reader, deadline_after, taker
from kitefeed.client.tick import Tick
from kitefeed.client.wants import Asked
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.feed import Notice
from kitefeed.protocol.messages.control import Answer
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.topics import NOTICE, ORDER

T = TypeVar("T")
READ_MAX = 256  # messages per turn of the loop, ~2 ms, so that the program's other tasks get theirs
TICKS_PER_TURN = 100  # given out in a row before the other tasks get a turn

log = logging.getLogger("kitefeed")

__all__ = ["AsyncFeed"]


class AsyncFeed(Reader):
    """Feed on an asyncio loop: the same arguments, properties and errors, but it is opened by
    `async with` (which connects, and raises what Feed's constructor raises), and its waiting
    methods are awaited. Any number of tasks of that loop may use it; each tick goes to one of them,
    to the one that has waited longest. What is not awaited may be called in any thread.

    It reads while the loop runs, also while nobody waits. Callbacks are called by the loop, one
    after the other; those that are `async def` are awaited, and none is called meanwhile.
    """

    _may_await = True

    def _start(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()  # something came in
        self._thread = 0  # the loop's
        self._is_look_due = False
        self._given = 0
        self._turnstile = asyncio.Lock()  # the first that came is the first to get the next tick
        self._queued = 0  # tasks at it
        self._awaited: asyncio.Task[None] | None = None  # a callback that is an `async def`

    # --- reading ------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        """Ticks in order, for ever: while the daemon is away it waits. Ends with `close()`."""
        return self

    async def __anext__(self) -> Tick:
        tick = None if self._socket.closed else await self.next()
        if tick is None:
            raise StopAsyncIteration
        return tick

    async def next(self, timeout_s: float | None = None) -> Tick | None:
        """The next tick; None when none came within `timeout_s`, or after `close()`."""
        deadline_ns = deadline_after(timeout_s)
        self._given += 1
        if self._given >= TICKS_PER_TURN:
            self._given = 0
            await asyncio.sleep(0)
        while self._is_in_the_past() and not self._socket.closed:
            tick = self._take_recorded()
            if self._view.holes.has_news:
                self._tell()  # before the tick that comes after it
            if tick is not None:
                return tick
            if self._is_in_the_past():
                if deadline_ns is not None and boot_ns() >= deadline_ns:
                    return None
                await asyncio.sleep(LOOK_S)
        view = self._view
        view.waiting.is_iterated = True
        if not view.has_next or boot_ns() >= self._look_due_ns:
            self._drain()
            if view.holes.has_news:
                self._tell()  # before the ticks that come after it
        if not self._queued and (tick := view.take()) is not None:
            return tick
        return await self._next_in_turn(deadline_ns)

    async def _next_in_turn(self, deadline_ns: int | None) -> Tick | None:
        view = self._view
        self._queued += 1
        try:
            async with asyncio.timeout(_left_s(deadline_ns)), self._turnstile:
                while not self._socket.closed:
                    if (tick := view.take()) is not None:  # a look may skip what is there
                        return tick
                    if not await self._wait_until(
                        lambda: view.has_next or self._socket.closed, deadline_ns
                    ):
                        break
                return None
        except TimeoutError:
            return None
        finally:
            self._queued -= 1

    async def wait_for(self, instrument: str, timeout_s: float | None = None) -> Tick | None:
        """The latest tick, waiting for the first one if need be; None after `timeout_s`. What
        arrives meanwhile is kept for iteration."""
        await self._wait_until(
            lambda: instrument in self or self._socket.closed, deadline_after(timeout_s)
        )
        return self.get(instrument)

    async def next_batch(self, timeout_s: float | None = None, max: int = 1_000) -> list[Tick]:
        """The next ticks, as many as are there, at most `max`; [] when none came within
        `timeout_s`, or after `close()`."""
        first = await self.next(timeout_s)
        return [] if first is None else [first, *self._more(max - 1)]

    async def batches(
        self, timeout_s: float | None = None, max: int = 10_000
    ) -> AsyncIterator[Batch]:
        """`Feed.batches`, by `async for`."""
        while ticks := await self.next_batch(timeout_s, max):
            yield batch_of(ticks)

    def bars(
        self, interval: str = "1m", *, since: str | datetime | None = None, wait_s: float = WAIT_S,
        corrects: bool = False, fill: bool = True,
    ) -> AsyncBarStream:  # fmt: skip
        """`Feed.bars`, by `async for`."""
        return AsyncBarStream(self, *self._new_bars(interval, wait_s, corrects, since, fill))

    async def wait(self, timeout_s: float | None = None) -> bool:
        """`Feed.wait`. Of several feeds: `kitefeed.wait_async`."""
        self._view.waiting.is_iterated = True
        await self._wait_until(
            lambda: self._has_something or self._socket.closed, deadline_after(timeout_s)
        )
        return self._has_something

    def orders(self, timeout_s: float | None = None) -> AsyncIterator[Order]:
        """`Feed.orders`, by `async for`."""
        self._hear(ORDER)
        return self._events(self._view.orders, timeout_s)

    def notices(self, timeout_s: float | None = None) -> AsyncIterator[Notice]:
        """`Feed.notices`, by `async for`."""
        self._hear(NOTICE)
        return self._events(self._view.notices, timeout_s)

    async def _events(self, events: deque[T], timeout_s: float | None) -> AsyncIterator[T]:
        take, found = taker(events), list[T]()

        def has_come() -> bool:
            event = None if found else take()
            if event is not None:
                found.append(event)
            return bool(found) or self._socket.closed

        while await self._wait_until(has_come, deadline_after(timeout_s)) and found:
            yield found.pop()

    async def subscribe(self, *instruments: Asked, mode: Mode | None = None) -> tuple[Answer, ...]:
        """`Feed.subscribe`."""
        answers = await asyncio.to_thread(self._inquire, instruments, mode)
        self._add(answers, mode)
        return answers

    async def set_mode(self, mode: Mode, *instruments: Asked) -> tuple[Answer, ...]:
        """`subscribe` by the name that Kite's clients have for it."""
        return await self.subscribe(*instruments, mode=mode)

    # --- beginning and end --------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._loop = loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        loop.add_reader(self._socket.fileno(), self._read)
        self._turn(loop)
        try:
            await self._begin(boot_ns() + self._timeout_ns)
            self._begin_history()
        except BaseException:
            self.close()
            raise
        self._begun()
        self._look_again()
        return self

    async def _begin(self, deadline_ns: int) -> None:
        if self._has_tokens:
            await asyncio.to_thread(self._name_tokens, deadline_ns)
        self._ask()
        if not await self._wait_until(self._is_heard, deadline_ns):
            raise self._silence()
        self._choose()
        await asyncio.to_thread(self._want, deadline_ns)
        await self._wait_until(self._is_answered, deadline_ns)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all waiting and iterating. May be called twice."""
        if self._is_elsewhere and self._call_soon(self.close):
            return
        with self._lock:
            if self._loop is not None and not self._socket.closed and not self._loop.is_closed():
                self._loop.remove_reader(self._socket.fileno())
            if self._timer is not None:
                self._timer.cancel()
            self._news.set()
            super().close()

    # --- the socket ---------------------------------------------------------------------------

    def _read(self) -> None:
        self._is_look_due = False
        if not self._socket.closed:
            self._drain(READ_MAX)
            if self._is_begun:
                self._tell()
                self._tell_missing()

    def _tell(self) -> None:
        if not self._callbacks.has_any or self._awaited is not None:
            return
        while self._awaited is None and (call := self._next_call()) is not None:
            result = call.make()
            if inspect.isawaitable(result):
                self._awaited = asyncio.ensure_future(self._finish(call, result))

    async def _finish(self, call: Call, result: Awaitable[object]) -> None:
        try:
            await result
        except Exception:  # whatever the program raises
            log.exception(FAILED, call.name)
        finally:
            self._awaited = None
            self._look_again()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Notices silence: that the daemon is lost, that a snapshot is due."""
        self._timer = loop.call_later(WAIT_S_MAX, self._turn, loop)
        self._read()

    def _took_in(self) -> None:
        """ZeroMQ's descriptor is edge-triggered: it stays silent about messages that were not taken
        after it spoke, or that came in beside another call. So one look follows another, until one
        finds nothing; also when it was the program that looked, by `get` or `is_fresh`."""
        if self._is_elsewhere:
            self._call_soon(self._took_in)
        else:
            self._news.set()
            self._look_again()

    def _reopen(self) -> None:
        if self._is_elsewhere:
            self._call_soon(self._reopen_here)
            return
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
        super()._reopen()
        if self._loop is not None:
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _reopen_here(self) -> None:
        with self._lock:
            if not self._socket.closed:
                self._reopen()

    def _subscribe(self, subscription: bytes) -> None:
        super()._subscribe(subscription)
        self._look_again()

    def _look_again(self) -> None:
        if not self._is_look_due:
            self._is_look_due = self._call_soon(self._read)

    @property
    def _is_elsewhere(self) -> bool:
        """Whether this is another thread than the loop's, which alone may touch the loop."""
        return self._loop is not None and threading.get_ident() != self._thread

    def _call_soon(self, callback: Callable[[], None]) -> bool:
        """Lets the loop call it; False before it has begun, and when it has ended."""
        if self._loop is None or self._loop.is_closed():
            return False
        if self._is_elsewhere:
            with contextlib.suppress(RuntimeError):  # it ends just now
                self._loop.call_soon_threadsafe(callback)
        else:
            self._loop.call_soon(callback)
        return True

    async def _wait_until(self, condition: Callable[[], bool], deadline_ns: int | None) -> bool:
        """Whether `condition` came true before the deadline; None waits for ever."""
        while not condition():
            if self._loop is None:
                raise RuntimeError("an AsyncFeed is opened by `async with AsyncFeed(...) as feed`")
            left_s = _left_s(deadline_ns)
            if left_s is not None and left_s <= 0:
                return False
            self._given = 0
            self._news.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._news.wait()
            except TimeoutError:
                continue
        return True


def _left_s(deadline_ns: int | None) -> float | None:
    return None if deadline_ns is None else (deadline_ns - boot_ns()) / 1e9
