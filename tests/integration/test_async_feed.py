"""AsyncFeed against a real broadcaster: Feed's words, and a loop that is never held up."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kitefeed import AsyncFeed, BadInput, Status, Tick, Unavailable
from kitefeed.client import feed_async
from kitefeed.client.reader import DRAIN_MAX
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.messages.control import Answer
from kitefeed.protocol.topology import CONTROL, endpoint
from tests.integration.broadcaster_kit import FakeSource, Stage, item, kill
from tests.support import eventually, eventually_async, slowness

pytestmark = pytest.mark.processes

INFY, TCS = "NSE:INFY", "NSE:TCS"
STILL_S_MAX = 0.15  # the longest that a loop may stand still on a busy host
T = TypeVar("T")


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


@pytest.fixture
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the descriptor wakes the reader: an edge that is lost is lost."""
    monkeypatch.setattr(feed_async, "WAIT_S_MAX", 3_600.0)


def run(main: Coroutine[Any, Any, T]) -> T:
    """With the loop's own complaints about tasks and callbacks as errors."""
    problems: list[dict[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: problems.append(context)
        )
        return await main

    result = asyncio.run(watched())
    assert problems == []
    return result


def reader(stage: Stage, *instruments: str, **options: Any) -> AsyncFeed:
    options.setdefault("timeout_s", 5 * slowness())
    return AsyncFeed(*instruments, endpoint=stage.feed_endpoint, **options)


async def until_fresh(feed: AsyncFeed, source: FakeSource, price: int = 1_500_00) -> Tick:
    def attempt() -> Tick | None:
        source.send([item(INFY, price)])
        tick = feed.get(INFY)
        return tick if tick and tick.is_fresh and tick.raw.last_price == price else None

    found = await eventually_async(attempt, 5)
    assert found is not None
    return found


async def settle(feed: AsyncFeed, source: FakeSource) -> None:
    """Until it reads, and nothing is on its way: what is sent again until it is fresh may come more
    than once, and then one is sent behind it, at a price of 2."""
    await until_fresh(feed, source, price=1)
    source.send([item(INFY, 2)])
    async for _ in Until(feed, 2):
        pass


async def longest_stillness_s(during: Awaitable[object]) -> float:
    """For how long the loop stood still at most, while `during` was awaited."""
    longest_ns = 0

    async def watch() -> None:
        nonlocal longest_ns
        before_ns = boot_ns()
        while True:
            await asyncio.sleep(0.005)  # what is late beyond this is the standstill
            now_ns = boot_ns()
            longest_ns = max(longest_ns, now_ns - before_ns)
            before_ns = now_ns

    watcher = asyncio.ensure_future(watch())
    await asyncio.sleep(0.01)  # lets the watcher begin
    try:
        await during
        await asyncio.sleep(0.01)  # lets the watcher see a standstill at the very end
    finally:
        watcher.cancel()
    return longest_ns / 1e9


def test_it_gives_ticks_as_columns(stage: Stage) -> None:
    stage.up()
    _, source = stage.live()

    async def main() -> None:
        async with reader(stage, INFY) as feed:
            await until_fresh(feed, source)
            source.send([item(INFY, 1_600_00)])
            async for batch in feed.batches(timeout_s=5):
                assert batch.instrument == [INFY] * len(batch)
                if list(batch.last_price)[-1] == 1600.0:
                    break
            assert list(batch.is_fresh)[-1]
            assert not any(list(batch.is_fresh)[:-1])
            assert [each async for each in feed.batches(timeout_s=0.01)] == []

    run(main())


def test_it_gives_last_values_first_and_then_live_ones(stage: Stage) -> None:
    stage.up()
    _, source = stage.live()

    async def main() -> None:
        async with reader(stage, INFY) as warm:
            await until_fresh(warm, source)
        async with reader(stage, INFY) as feed:
            assert feed[INFY].last_price == 1500.0  # there when `async with` begins
            prices = []
            async for tick in feed:
                prices.append(tick.last_price)
                if tick.last_price == 1600.0:
                    break
                source.send([item(INFY, 1_600_00)])
            assert (prices[0], prices[-1]) == (1500.0, 1600.0)
            assert INFY in feed
            await eventually_async(lambda: feed[INFY].is_fresh, 5)
            assert (feed[INFY].source, str(feed.status)) == ("websocket", "live")
            assert feed.snapshot()[INFY].raw == feed[INFY].raw
            assert (feed.gaps, feed.overrun, feed.bad_messages) == (0, 0, 0)

    run(main())


def test_a_burst_arrives_whole_and_in_order_though_nothing_but_the_descriptor_wakes_it(
    stage: Stage, no_timer: None
) -> None:
    stage.up()
    _, source = stage.live()
    count = 20 * feed_async.READ_MAX

    async def main() -> None:
        async with reader(stage, INFY, max_age_s=None) as feed:
            await settle(feed, source)
            for start in range(3, count, 64):
                source.send([item(INFY, price) for price in range(start, start + 64)])
            seqs = [tick.seq async for tick in Until(feed, count)]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            assert feed.gaps == 0

    run(main())


class Until:
    """Iterates until the price reaches `price`."""

    def __init__(self, feed: AsyncFeed, price: int) -> None:
        self._feed, self._price = feed, price

    async def __aiter__(self) -> Any:
        while (tick := await self._feed.next(5 * slowness())) is not None:
            yield tick
            if tick.raw.last_price >= self._price:
                return
        raise AssertionError("a tick got stuck")


def test_ticks_that_a_look_of_the_program_took_in_wake_the_task_that_waits(
    stage: Stage, no_timer: None
) -> None:
    stage.up()
    _, source = stage.live()

    async def main() -> None:
        async with reader(stage, INFY) as feed:
            await settle(feed, source)
            tick = feed[INFY]
            for price in range(3, 200):
                waiting = asyncio.ensure_future(feed.next(5 * slowness()))
                await asyncio.sleep(0)
                source.send([item(INFY, price)])
                while feed[INFY].raw.last_price != price:  # blocks: the loop cannot see the edge
                    assert tick.age_s < 30 * slowness()
                got = await asyncio.wait_for(waiting, 2 * slowness())
                assert got is not None
                assert got.raw.last_price == price

    run(main())


def test_it_reads_on_while_nobody_waits(stage: Stage, no_timer: None) -> None:
    stage.up()
    _, source = stage.live()
    last = 10 * feed_async.READ_MAX

    async def main() -> None:
        async with reader(stage, INFY) as feed:
            await until_fresh(feed, source, price=1)
            other = stage.feed(INFY)
            for start in range(0, last, 64):
                source.send([item(INFY, price) for price in range(start + 1, start + 65)])
            # Blocks until all waits for the loop: more than it takes in at one turn.
            eventually(lambda: other[INFY].raw.last_price == last, 3)
            values = feed._view.values  # what it knows by itself: a property would look
            await eventually_async(lambda: values[INFY].raw.last_price == last, 3)

    run(main())


def test_connecting_to_nothing_is_told_without_holding_up_the_loop(tmp_path: Path) -> None:
    async def main() -> None:
        feed = AsyncFeed(INFY, endpoint=f"ipc://{tmp_path}/feed.sock", timeout_s=0.5)
        with pytest.raises(Unavailable, match="kitefeed up"):
            await feed.__aenter__()
        assert feed._socket.closed

    assert run(longest_stillness_s(main())) < STILL_S_MAX * slowness()


def test_a_supervisor_that_is_silent_holds_up_neither_the_loop_nor_the_feed(stage: Stage) -> None:
    stage.up()

    async def main() -> None:
        control = endpoint(stage.run, CONTROL)  # nobody has bound it
        async with reader(stage, INFY, control=control, timeout_s=1.0) as feed:
            assert feed.answers == ()

    assert run(longest_stillness_s(main())) < STILL_S_MAX * slowness()


def test_an_instrument_that_is_refused_is_bad_input_with_the_reason(stage: Stage) -> None:
    stage.up()
    supervisor, _ = stage.live()
    supervisor.refused["NSE:INFI"] = "did you mean NSE:INFY?"
    control = endpoint(stage.run, CONTROL)

    async def main() -> None:
        with pytest.raises(BadInput, match="did you mean NSE:INFY"):
            async with reader(stage, "NSE:INFI", control=control):
                pass
        async with reader(stage, INFY, control=control) as feed:
            assert feed.answers == (Answer(INFY, "accepted"),)

    run(main())
    with pytest.raises(BadInput, match="EXCHANGE:SYMBOL"):
        AsyncFeed("INFY")


def test_waiting_ends_with_a_value_with_its_time_or_with_the_feed(stage: Stage) -> None:
    stage.up()
    _, source = stage.live()

    async def main() -> None:
        async with reader(stage, INFY, TCS) as feed:
            await settle(feed, source)
            assert await feed.wait_for(TCS, timeout_s=0.05) is None
            first, second = (asyncio.ensure_future(w) for w in (feed.wait_for(TCS), feed.next()))
            await asyncio.sleep(0)
            source.send([item(TCS, 3)])
            assert {(await t).instrument for t in (first, second) if await t} == {TCS}  # type: ignore[union-attr]
            late = [asyncio.ensure_future(feed.next()) for _ in range(3)]
            await asyncio.sleep(0)
        assert [await task for task in late] == [None] * 3
        assert [tick async for tick in feed] == []

    run(main())


def test_a_task_that_never_runs_dry_leaves_the_loop_to_the_others(stage: Stage) -> None:
    stage.up()
    _, source = stage.live()

    async def main() -> None:
        async with reader(stage, INFY, max_age_s=None) as feed:
            await until_fresh(feed, source)
            for start in range(0, 4_000, 100):
                source.send([item(INFY, price) for price in range(start, start + 100)])
            await eventually_async(lambda: feed[INFY].raw.last_price == 3_999, 5)

            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            task = asyncio.ensure_future(other())
            await asyncio.sleep(0)
            before = turns
            async for tick in feed:
                assert tick.age_s >= 0
                if tick.raw.last_price == 3_999:
                    break
            assert turns - before >= 4_000 // feed_async.TICKS_PER_TURN - 1
            task.cancel()

    assert DRAIN_MAX > 4_000
    run(main())


def test_a_program_hears_of_the_loss_and_the_way_back_while_it_does_something_else(
    stage: Stage,
) -> None:
    process = stage.up()
    _, source = stage.live()
    heard: list[Status] = []

    async def main() -> None:
        async with reader(stage, INFY, on_status=heard.append) as feed:
            await until_fresh(feed, source)
            gen = feed.gen
            kill(process)
            await eventually_async(lambda: any(status.feed == "lost" for status in heard), 4)
            assert not feed[INFY].is_fresh
            stage.start()
            assert (await until_fresh(feed, source, 1_600_00)).gen > gen
            # The value was looked at in this turn of the loop; callbacks are called in the next.
            await eventually_async(lambda: heard[-1].feed == "live", 1)
        assert all(a.feed != b.feed or a.source != b.source for a, b in zip(heard, heard[1:]))  # noqa: B905, RUF007

    run(main())


def test_it_is_opened_by_async_with(stage: Stage) -> None:
    stage.up()

    async def main() -> None:
        feed = reader(stage, INFY)
        assert feed.get(INFY) is None
        with pytest.raises(RuntimeError, match="async with"):
            await feed.next(1)
        feed.close()
        feed.close()

    run(main())


def test_one_that_is_cancelled_while_it_connects_leaves_nothing_open(tmp_path: Path) -> None:
    async def main() -> None:
        feed = AsyncFeed(INFY, endpoint=f"ipc://{tmp_path}/feed.sock")
        descriptor = feed._socket.fileno()
        task = asyncio.ensure_future(feed.__aenter__())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert feed._socket.closed
        assert not asyncio.get_running_loop().remove_reader(descriptor)

    run(main())


def test_two_tasks_that_iterate_get_the_ticks_in_turn(stage: Stage) -> None:
    stage.up()
    _, source = stage.live()
    got: dict[str, list[int]] = {"one": [], "two": []}

    async def iterate(feed: AsyncFeed, name: str) -> None:
        async for tick in feed:
            got[name].append(tick.raw.last_price)

    async def main() -> None:
        async with reader(stage, INFY) as feed:
            await settle(feed, source)
            tasks = [asyncio.ensure_future(iterate(feed, name)) for name in got]
            await asyncio.sleep(0)
            for price in range(1, 11):  # one by one, each when both wait
                source.send([item(INFY, price)])
                await eventually_async(lambda price=price: sum(map(len, got.values())) == price, 5)  # type: ignore[misc]
            for start in range(11, 111, 50):  # and many at once
                source.send([item(INFY, price) for price in range(start, start + 50)])
                end = start + 49
                await eventually_async(lambda end=end: sum(map(len, got.values())) == end, 5)  # type: ignore[misc]
            feed.close()
            await asyncio.gather(*tasks)

    run(main())
    assert sorted(got["one"] + got["two"]) == list(range(1, 111))
    assert len(got["one"]) == len(got["two"])
