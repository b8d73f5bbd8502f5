"""One feed in many threads: nothing aborts, nothing is torn, each tick goes to one of them."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE

import pytest

from kitefeed import AsyncFeed, Feed, Tick
from kitefeed.client import reader as reader_module
from kitefeed.client.reader import WAIT_S_MAX
from kitefeed.protocol.clock import boot_ns
from tests.integration.broadcaster_kit import FakeSource, Stage, item, settle
from tests.support import eventually, eventually_async, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

INFY = "NSE:INFY"
KEYS = [f"NSE:SHARE{n}" for n in range(40)]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


@pytest.mark.parametrize(("per_s", "ticks"), [(1_600, 6_000), (6_000, 12_000)])
def test_a_feed_and_its_ticks_may_be_used_by_any_number_of_threads_at_full_rate(
    stage: Stage, per_s: int, ticks: int
) -> None:
    stage.up()
    _, source = stage.live()
    with stage.feed("NSE:FIRST") as first:  # from here on none of its ticks is fenced
        eventually(lambda: source.send([item("NSE:FIRST", 1)]) or first.get("NSE:FIRST"), 10)
    main = ("-m", "tests.integration.threads_program", stage.feed_endpoint, str(ticks))
    program = stage.processes.start(*main, *KEYS, env={}, stdout=PIPE, stderr=PIPE)
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    start_ns, pace = boot_ns(), threading.Event()
    for round_ in range(1, ticks // len(KEYS) + 20):
        source.send([item(key, round_) for key in KEYS])
        pace.wait((start_ns - boot_ns()) / 1e9 + round_ * len(KEYS) / per_s)
    output, errors = program.communicate(timeout=90 * slowness())
    assert program.returncode == 0, errors
    told = json.loads(output)
    assert told["wrong"] == []
    assert told["lost"] == 0
    assert told["given"] == told["different"] >= ticks
    assert told["is_fresh_at_the_end"]
    assert told["after"] == [False, "cache", True]  # plain to read after its feed was closed
    assert told["statuses"][0] == "live"


@contextmanager
def waiting(feed: Feed, count: int = 1) -> Iterator[list[Tick | None]]:
    """Threads that wait for the next tick; what they got."""
    got: list[Tick | None] = []
    threads = [threading.Thread(target=lambda: got.append(feed.next(10))) for _ in range(count)]
    for thread in threads:
        thread.start()
    eventually(lambda: feed._watch.is_taken, 2)
    yield got
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def until_quiet(feed: Feed) -> None:
    while feed.next(0) is not None:
        pass


def live_feed(stage: Stage) -> tuple[Feed, FakeSource]:
    """With one value, which has been given out; and its source."""
    stage.up()
    _, source = stage.live()
    feed = stage.feed(INFY)
    settle(feed, source, {INFY: 1})
    eventually(lambda: feed[INFY].is_fresh, 5)
    until_quiet(feed)
    return feed, source


def test_closing_wakes_at_once_every_thread_that_waits(stage: Stage) -> None:
    feed, _ = live_feed(stage)
    with waiting(feed, 3) as got:
        start_ns = boot_ns()
        feed.close()
        eventually(lambda: got == [None, None, None], 2, every_s=0.001)
        assert boot_ns() - start_ns < WAIT_S_MAX / 2 * slowness() * 1e9
    assert feed.next(1) is None


def test_a_tick_that_another_thread_took_in_is_given_at_once_to_one_that_waits(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "WAIT_S_MAX", 60.0)  # so that nothing but the news wakes it
    feed, source = live_feed(stage)
    for price in range(2, 60):
        with waiting(feed, 2) as got:
            source.send([item(INFY, price), item(INFY, -price)])
            eventually(lambda: feed[INFY].raw.last_price < -1, 5, every_s=0)
            eventually(lambda: len(got) == 2, 5, every_s=0)
        assert {tick.raw.last_price for tick in got if tick} == {price, -price}
        until_quiet(feed)


def test_a_value_is_judged_by_all_that_has_come_while_the_thread_that_iterates_is_busy(
    stage: Stage,
) -> None:
    feed, source = live_feed(stage)
    held, go_on = [], threading.Event()

    def iterate() -> None:
        for tick in feed:
            held.append(tick)
            go_on.wait(30)

    thread = threading.Thread(target=iterate)
    thread.start()
    source.send([item(INFY, 2)])
    eventually(lambda: held and held[0].is_fresh, 5)
    source.send([item(INFY, 3)])
    eventually(lambda: not held[0].is_fresh, 5)
    assert feed[INFY].raw.last_price == 3
    eventually(lambda: feed[INFY].is_fresh, 5)
    source.stop()
    eventually(lambda: not feed[INFY].is_fresh, 5)
    feed.close()
    go_on.set()
    thread.join(5)
    assert len(held) == 1


def test_a_signal_handler_may_close_or_ask_the_feed_that_it_interrupts(stage: Stage) -> None:
    feed, source = live_feed(stage)
    asked: list[object] = []

    def handle(number: int, frame: object) -> None:
        asked.append((feed[INFY].is_fresh, feed.status))
        if len(asked) == 200:
            feed.close()

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        for price, _ in enumerate(feed, start=2):
            source.send([item(INFY, price)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(asked) >= 200


def test_an_async_feed_and_its_ticks_may_be_read_in_other_threads(stage: Stage) -> None:
    stage.up()
    _, source = stage.live()
    seen: list[tuple[bool, int]] = []

    def read(feed: AsyncFeed, is_over: threading.Event) -> None:
        while not is_over.is_set():
            tick = feed.get(INFY)
            if tick is not None:
                seen.append((tick.is_fresh, tick.raw.last_price))
                str(feed.status), feed.snapshot()

    async def main() -> None:
        is_over = threading.Event()
        async with AsyncFeed(INFY, endpoint=stage.feed_endpoint) as feed:
            threads = [asyncio.to_thread(read, feed, is_over) for _ in range(3)]
            readers = [asyncio.ensure_future(thread) for thread in threads]
            await eventually_async(lambda: source.send([item(INFY, 1)]) or feed.get(INFY), 10)
            for price in range(2, 500):
                source.send([item(INFY, price)])
                while (tick := await feed.next(5)) and tick.raw.last_price != price:
                    pass
                assert tick is not None
            await eventually_async(lambda: (True, 499) in seen, 5)
            is_over.set()
            await asyncio.gather(*readers)
            await asyncio.to_thread(feed.close)
            assert await feed.next(5) is None

    asyncio.run(main())
