"""One wait over several feeds, and a feed's descriptor in a program's own loop."""

import asyncio
import select
import selectors
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import kitefeed
from kitefeed import AsyncFeed, BadInput, Feed
from kitefeed.client import reader as reader_module
from kitefeed.protocol.clock import boot_ns
from tests.integration.broadcaster_kit import FakeSource, Stage, item, settle
from tests.integration.test_events import order
from tests.support import eventually, eventually_async, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

INFY, TCS = "NSE:INFY", "NSE:TCS"
SOON_S = 5.0


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        made.up()
        yield made


@pytest.fixture
def live(stage: Stage) -> FakeSource:
    _, source = stage.live()
    with stage.feed(INFY, TCS) as warm:
        settle(warm, source, {INFY: 1, TCS: 1})
    return source


@pytest.fixture
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but descriptors wakes who waits."""
    monkeypatch.setattr(reader_module, "WAIT_S_MAX", 60.0)


@contextmanager
def beside(act: Callable[[], object]) -> Iterator[None]:
    """`act`, again and again in a thread of its own."""
    stopped = threading.Event()

    def run() -> None:
        while not stopped.wait(0.0005):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def emptied(*feeds: Feed) -> None:
    """Both have given out what was there in the beginning."""
    for feed in feeds:
        while feed.next(0.05) is not None:
            pass


def test_a_wait_gives_the_feeds_that_have_something_and_none_when_the_time_is_over(
    stage: Stage, live: FakeSource
) -> None:
    a, b = stage.feed(INFY), stage.feed(TCS)
    assert kitefeed.wait([a, b], SOON_S * slowness()) == [a, b]  # their last values
    emptied(a, b)
    assert kitefeed.wait([a, b], 0) == []
    start_ns = boot_ns()
    assert kitefeed.wait([a, b], 0.3) == []
    assert 0.29 <= (boot_ns() - start_ns) / 1e9 < SOON_S * slowness()
    live.send([item(TCS, 2)])
    assert kitefeed.wait([a, b], SOON_S * slowness()) == [b]
    assert kitefeed.wait([a, b], 0) == [b]  # it is still there
    (tick,) = b.next_batch(0)
    assert tick.raw.last_price == 2
    a.orders(0)
    eventually(lambda: live.send([order(1, "OPEN")]) or kitefeed.wait([a, b], 0.1) == [a], 10)  # type: ignore[func-returns-value]
    live.send([order(2, "OPEN")])  # behind what is still on its way
    assert "2" in (told["order_id"] for told in a.orders(SOON_S * slowness()))
    assert a.wait(0) is False


def test_a_wait_is_woken_by_each_tick_of_each_feed_though_other_threads_read_them_too(
    stage: Stage, live: FakeSource, no_timer: None
) -> None:
    a, b = stage.feed(INFY), stage.feed(TCS)
    emptied(a, b)
    with beside(lambda: (a.get(INFY), b.status)):
        for price in range(2, 200):
            feed, key = (a, INFY) if price % 2 else (b, TCS)
            live.send([item(key, price)])
            assert kitefeed.wait([a, b], SOON_S * slowness()) == [feed], price
            assert [tick.raw.last_price for tick in feed.next_batch(0)] == [price]


def test_closed_feeds_are_not_waited_for_and_closing_the_last_one_ends_the_wait(
    stage: Stage, live: FakeSource
) -> None:
    a, b = stage.feed(INFY), stage.feed(TCS)
    emptied(a, b)
    closers = [threading.Timer(0.1, a.close), threading.Timer(0.2, b.close)]
    for closer in closers:
        closer.start()
    assert kitefeed.wait([a, b], 30) == []
    assert kitefeed.wait([a, b]) == kitefeed.wait([]) == []
    assert a.fileno() == -1
    for closer in closers:
        closer.join()


def test_callbacks_are_called_while_a_wait_waits(stage: Stage, live: FakeSource) -> None:
    told: list[str] = []
    with Feed(INFY, endpoint=stage.feed_endpoint, on_status=lambda s: told.append(s.feed)) as feed:
        kitefeed.wait([feed], SOON_S * slowness())
        assert told == ["live"]


def test_who_mixes_the_two_kinds_is_told_which_wait_is_meant(stage: Stage) -> None:
    feed, other = stage.feed(INFY), AsyncFeed(INFY, endpoint=stage.feed_endpoint)
    with pytest.raises(BadInput, match=r"is no Feed: kitefeed\.wait_async"):
        kitefeed.wait([feed, other], 0)  # type: ignore[list-item]
    with pytest.raises(BadInput, match=r"is no AsyncFeed: kitefeed\.wait waits"):
        asyncio.run(kitefeed.wait_async([feed], 0))  # type: ignore[list-item]
    other.close()


def test_a_program_with_a_loop_of_its_own_waits_at_the_descriptor_and_misses_no_tick(
    stage: Stage, live: FakeSource
) -> None:
    """Nothing but the descriptor wakes it, also when another thread, or a call of its own, has read
    what made ZeroMQ's descriptor speak."""
    feed = stage.feed(INFY, TCS)
    emptied(feed)
    with selectors.DefaultSelector() as loop, beside(lambda: feed.get(TCS)):
        loop.register(feed, selectors.EVENT_READ)
        for price in range(2, 300):
            live.send([item(INFY, price)] * 3)
            got: list[int] = []
            while len(got) < 3:
                assert loop.select(SOON_S * slowness()), price
                _ = feed.status  # which reads, too
                got += [tick.raw.last_price for tick in feed.next_batch(0)]
            assert got == [price] * 3


def test_the_descriptor_is_quiet_when_there_is_nothing_and_outlives_a_new_connection(
    stage: Stage, live: FakeSource
) -> None:
    feed = stage.feed(INFY)
    emptied(feed)
    poll = select.poll()
    poll.register(feed.fileno(), select.POLLIN)
    turns = 0
    start_ns = boot_ns()
    while boot_ns() - start_ns < 1e9:
        poll.poll(1_000)
        assert feed.next_batch(0) == []
        turns += 1
    assert turns < 20  # heartbeats
    with feed._lock:
        feed._reopen()

    def has_come() -> bool:
        live.send([item(INFY, 9)])
        poll.poll(100)
        return any(tick.raw.last_price == 9 for tick in feed.next_batch(0))

    eventually(has_come, 10)


def test_the_descriptor_speaks_of_what_another_call_has_read(
    stage: Stage, live: FakeSource
) -> None:
    """ZeroMQ's own has fallen silent then."""
    feed = stage.feed(INFY)
    emptied(feed)
    poll = select.poll()
    poll.register(feed.fileno(), select.POLLIN)
    live.send([item(INFY, 9)])
    eventually(lambda: feed[INFY].raw.last_price == 9, 5)
    for _ in range(3):  # until it is taken
        assert poll.poll(0)
    assert [tick.raw.last_price for tick in feed.next_batch(0)] == [9]

    def is_quiet() -> bool:  # but for heartbeats, about which nobody else can know
        assert feed.next(0) is None
        return not poll.poll(0)

    eventually(is_quiet, 5)


def test_an_async_wait_gives_those_that_have_something(stage: Stage, live: FakeSource) -> None:
    async def main() -> None:
        async with (
            AsyncFeed(INFY, endpoint=stage.feed_endpoint) as a,
            AsyncFeed(TCS, endpoint=stage.feed_endpoint) as b,
        ):
            for feed in (a, b):
                while await feed.next(0.05):
                    pass
            assert await kitefeed.wait_async([a, b], 0.1) == []
            assert await kitefeed.wait_async([]) == []
            waiting = asyncio.ensure_future(kitefeed.wait_async([a, b], SOON_S * slowness()))
            await asyncio.sleep(0)
            live.send([item(TCS, 2)])
            assert await waiting == [b]
            assert [tick.raw.last_price for tick in await b.next_batch(0)] == [2]
            waiting = asyncio.ensure_future(kitefeed.wait_async([a, b]))
            await asyncio.sleep(0)
            b.close()
            live.send([item(INFY, 3)])
            assert await waiting == [a]
            a.close()
            assert await kitefeed.wait_async([a, b]) == []
            await eventually_async(lambda: len(asyncio.all_tasks()) == 1, 5)  # none is left over

    asyncio.run(main())
