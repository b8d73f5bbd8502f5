"""Gives out the bars of a feed as they become final: it tells `Bars` the feed's ticks, its
heartbeats and the time."""

from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self

from kitefeed.client.bar_history import Earlier
from kitefeed.client.bars import Bar, Bars
from kitefeed.client.reader import Reader, deadline_after
from kitefeed.client.tick import Tick
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.feed import Heartbeat, Source
from kitefeed.protocol.kite.units import NS_PER_S

if TYPE_CHECKING:
    from kitefeed.client.feed import Feed
    from kitefeed.client.feed_async import AsyncFeed

PAST_NS = 5 * NS_PER_S  # what is older is no tick that just waited
LOOK_S = 1.0  # heartbeats come as often
ASKED_LOOK_S = 0.05  # while a bar that is being asked for holds up the others
TICKS_PER_LOOK = 10_000  # so that bars become final while more comes than is read


class _Stream:
    """The part of both streams that does not wait."""

    def __init__(
        self, feed: Reader, bars: Bars, earlier: Earlier | None, since_ns: int | None
    ) -> None:
        self._reader = feed
        self._bars = bars
        self._earlier = earlier
        self._played_ns = 0  # in a replay
        self._tokens = {name: tick.instrument_token for name, tick in feed.snapshot().items()}
        # Bars in the order in which they are given out. Those that are asked for come while ticks
        # are taken: a feed that nobody reads for two seconds leaves ticks out.
        self._made: deque[Bar | Future[list[Bar]]] = deque()
        self._given: dict[str, int] = {}  # the end of each instrument's last one
        self._heartbeat: Heartbeat | None = None
        self._looked_ns = utc_ns()
        self._taken = 0
        if since_ns is not None and earlier is not None:
            self._made.append(earlier.since(self._tokens, since_ns, self._looked_ns))

    @property
    def late(self) -> int:
        """Ticks that came after their bar was final."""
        return self._bars.late

    @property
    def is_asking(self) -> bool:
        """Whether the next bar is one that the recording or Kite is being asked for."""
        return self._head() is None and bool(self._made)

    def under_way(self) -> list[Bar]:
        """The bar of each instrument that is not final yet, as it is now."""
        return list(self._bars.under_way())

    def _take(self, tick: Tick) -> None:
        now_ns = self._time_of(tick)
        self._tokens.setdefault(tick.instrument, tick.instrument_token)
        if (correction := self._bars.take(tick, now_ns)) is not None:
            self._made.append(correction)
        self._taken += 1
        # Bars end by the time of the ticks, because more of that time may wait. A past that is read
        # in a moment ends its bars as then: else all are under way when a missing tick is noticed.
        if self._taken >= TICKS_PER_LOOK or (
            self._reader.begins_in_the_past and utc_ns() - tick.t_rx_ns > PAST_NS
        ):
            self._look(self._played_ns or min(now_ns, tick.t_rx_ns))

    def _time_of(self, tick: Tick) -> int:
        """Return when a program got the tick, or would have got it if it had been there. In a
        replay this is the time of the day that is played, as far as its ticks have told."""
        if tick.source_code != Source.REPLAY:
            return min(utc_ns(), tick.t_rx_ns) if self._reader.begins_in_the_past else utc_ns()
        at_s = tick.raw.exchange_timestamp
        at_ns = tick.t_rx_ns if at_s is None else at_s * NS_PER_S
        self._played_ns = max(self._played_ns, at_ns)
        self._bars.is_replay, self._earlier = True, None  # nothing of today belongs to that day
        return self._played_ns

    def _look(self, now_ns: int) -> None:
        self._taken = 0
        for bar in self._bars.final(now_ns):
            if bar.quality != "first" or self._earlier is None:
                self._made.append(bar)
            else:
                self._made.append(self._earlier.whole(bar, self._tokens[bar.instrument]))

    def _hear(self, heartbeat: Heartbeat | None) -> None:
        """Notes what the daemon itself lost since the last look."""
        now_ns = utc_ns()
        if heartbeat is not None and heartbeat is not self._heartbeat:
            for each in heartbeat.shards:
                if not each.is_alive:
                    begin_ns = min(self._looked_ns, now_ns - max(0, each.frame_age_ns))
                    self._bars.lost(each.shard, begin_ns, now_ns)
                elif 0 <= each.loss_age_ns <= now_ns - self._looked_ns:
                    self._bars.lost(each.shard, self._looked_ns, now_ns - each.loss_age_ns)
            self._heartbeat, self._looked_ns = heartbeat, now_ns

    def _head(self) -> Bar | None:
        """Return the next bar, if it is there. A bar is left out when its instrument has had a
        later one: the last value that a feed begins with may be of a bar that `since` had whole."""
        made = self._made
        while made:
            head = made[0]
            if isinstance(head, Future):
                if not head.done():
                    return None
                made.popleft()
                made.extendleft(reversed(head.result()))
            elif head.is_correction or head.end_ns > self._given.get(head.instrument, 0):
                return head
            else:
                made.popleft()
        return None

    def _pop(self) -> Bar | None:
        bar = self._head()
        if bar is not None:
            self._made.popleft()
            if not bar.is_correction:
                self._given[bar.instrument] = bar.end_ns
        return bar

    def _begin(self) -> float | None:
        return 0.0 if self._head() is None else None

    def _after(self, tick: Tick | None, deadline_ns: int | None) -> float | None:
        """Take the tick in. Return how long to wait for the next, in seconds: 0 while more may be
        there; None when there is a bar, or no time left."""
        if tick is not None:
            self._take(tick)
            return self._begin()
        self._hear(self._reader.heartbeat)
        now_ns = self._played_ns or utc_ns()
        self._look(now_ns)
        left_s = LOOK_S if deadline_ns is None else (deadline_ns - boot_ns()) / 1e9
        if self._head() is not None or self._reader.is_closed or left_s <= 0:
            return None
        if self._made:
            return min(ASKED_LOOK_S, left_s)
        due_ns = self._bars.due_ns
        return min(LOOK_S, left_s, LOOK_S if due_ns is None else max(0.0, (due_ns - now_ns) / 1e9))


class BarStream(_Stream, Iterator[Bar]):
    """Iterates the final bars of a Feed, whose ticks it takes. Ends when the feed is closed."""

    def __init__(
        self, feed: "Feed", bars: Bars, earlier: Earlier | None, since_ns: int | None
    ) -> None:
        super().__init__(feed, bars, earlier, since_ns)
        self._feed = feed

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Bar:
        while (bar := self.next()) is None:
            if self._feed.is_closed:
                raise StopIteration
        return bar

    def next(self, timeout_s: float | None = None) -> Bar | None:
        """The next final bar; None when none became final in `timeout_s`, or after `close()`."""
        deadline_ns = deadline_after(timeout_s)
        wait_s = self._begin()
        while wait_s is not None:
            wait_s = self._after(self._feed.next(wait_s), deadline_ns)
        return self._pop()


class AsyncBarStream(_Stream, AsyncIterator[Bar]):
    """Iterates the final bars of an AsyncFeed, whose ticks it takes. Ends when it is closed."""

    def __init__(
        self, feed: "AsyncFeed", bars: Bars, earlier: Earlier | None, since_ns: int | None
    ) -> None:
        super().__init__(feed, bars, earlier, since_ns)
        self._feed = feed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Bar:
        while (bar := await self.next()) is None:
            if self._feed.is_closed:
                raise StopAsyncIteration
        return bar

    async def next(self, timeout_s: float | None = None) -> Bar | None:
        """The next final bar; None when none became final in `timeout_s`, or after `close()`."""
        deadline_ns = deadline_after(timeout_s)
        wait_s = self._begin()
        while wait_s is not None:
            wait_s = self._after(await self._feed.next(wait_s), deadline_ns)
        return self._pop()
