"""Order updates and notices, read by a feed."""

import asyncio
import logging
from collections.abc import Callable, Iterator

import msgspec
import pytest

from kitefeed import AsyncFeed, BadInput, Feed, Status
from kitefeed.client.order import Order
from kitefeed.client.view import EVENTS_MAX
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import Item, Notice, OrderUpdate
from tests.integration.broadcaster_kit import FakeSource, Stage, item, settle
from tests.support import eventually, eventually_async, slowness

pytestmark = pytest.mark.processes

INFY = "NSE:INFY"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


def order(number: int, status: str) -> Item:
    data: dict[str, object] = {"order_id": str(number), "status": status}
    return Item(b"order/%d" % number, 0, msgspec.Raw(f.encode(OrderUpdate(data))))


def notice(text: str) -> Item:
    return Item(b"notice/message", 0, msgspec.Raw(f.encode(Notice("message", text))))


def words_of(told: Order | Notice) -> str:
    return told.text if isinstance(told, Notice) else str(told["status"])


def settle_events(
    source: FakeSource,
    make: Callable[[str], Item],
    hear: Callable[[float], Iterator[Order | Notice]],
) -> None:
    """Until these are heard, and none is on its way: what is sent again until it is heard may come
    more than once, and then one is sent behind it."""
    eventually(lambda: source.send([make("again")]) or list(hear(0.1)), 10)
    source.send([make("last")])
    assert "last" in (words_of(told) for told in hear(10 * slowness()))


def live(stage: Stage) -> FakeSource:
    stage.up()
    _, source = stage.live()
    with stage.feed(INFY) as first:
        settle(first, source, {INFY: 1})
    return source


def test_orders_and_notices_come_in_order_beside_ticks_to_who_asks_for_them(stage: Stage) -> None:
    source = live(stage)
    feed = stage.feed(INFY)
    settle_events(source, notice, feed.notices)
    settle_events(source, lambda status: order(0, status), feed.orders)
    orders, notices = feed.orders(5 * slowness()), feed.notices(5 * slowness())
    for number, status in ((1, "OPEN"), (2, "OPEN"), (1, "COMPLETE")):
        source.send([order(number, status)])
    source.send([item(INFY, 2)])
    got = [next(orders) for _ in range(3)]
    assert [(o["order_id"], o["status"]) for o in got] == [
        ("1", "OPEN"), ("2", "OPEN"), ("1", "COMPLETE"),
    ]  # fmt: skip
    eventually(lambda: feed[INFY].raw.last_price == 2, 5)
    source.send([notice("halt")])
    told = next(notices)
    assert (told.kind, told.text) == ("message", "halt")
    assert list(feed.notices(0.1)) == []
    feed.close()
    assert list(orders) == []


def test_orders_that_nobody_takes_are_kept_up_to_a_number_and_then_counted(
    stage: Stage,
) -> None:
    source = live(stage)
    feed = stage.feed(INFY)
    settle_events(source, lambda status: order(0, status), feed.orders)
    source.send([order(number, "OPEN") for number in range(EVENTS_MAX + 5)])
    source.send([item(INFY, 2)])
    eventually(lambda: feed[INFY].raw.last_price == 2, 5)
    assert feed.overrun == 5
    got = [number_of(told) for told in feed.orders(0.3)]
    assert got == list(range(5, EVENTS_MAX + 5))


def test_who_does_not_ask_is_sent_none(stage: Stage) -> None:
    source = live(stage)
    feed = stage.feed(INFY)
    source.send([order(1, "OPEN"), notice("halt")])
    source.send([item(INFY, 2)])
    eventually(lambda: feed[INFY].raw.last_price == 2, 5)
    assert not feed._view.orders
    assert not feed._view.notices


def test_an_async_feed_reads_them_beside_its_ticks(stage: Stage) -> None:
    source = live(stage)

    async def main() -> None:
        async with AsyncFeed(INFY, endpoint=stage.feed_endpoint, timeout_s=5 * slowness()) as feed:
            orders = feed.orders(5 * slowness())
            source.send([order(1, "AGAIN")])
            while not [told async for told in feed.orders(0.2)]:
                source.send([order(1, "AGAIN")])
            source.send([order(1, "LAST")])  # behind what is still on its way
            while (await anext(orders))["status"] != "LAST":
                pass
            waiting = asyncio.ensure_future(anext(orders))
            await asyncio.sleep(0)
            source.send([order(2, "OPEN")])
            assert (await waiting)["order_id"] == "2"
            ended = asyncio.ensure_future(anext(feed.notices(), None))
            await asyncio.sleep(0)
            feed.close()
            assert await ended is None

    asyncio.run(main())


# --- callbacks ------------------------------------------------------------------------------------


def number_of(told: dict[str, object]) -> int:
    return int(str(told["order_id"]))


def test_callbacks_are_told_orders_and_notices_in_order_while_the_program_waits_for_ticks(
    stage: Stage,
) -> None:
    source = live(stage)
    orders: list[int] = []
    notices: list[str] = []
    with stage.feed(INFY, on_order=lambda told: orders.append(number_of(told))) as feed:
        feed.on_notice = lambda told: notices.append(told.text)

        def are_heard() -> bool:
            source.send([order(0, "OPEN"), notice("a")])
            feed.next(0.1)
            return bool(orders and notices)

        eventually(are_heard, 10)
        del orders[:], notices[:]
        source.send([order(number, "OPEN") for number in range(1, 50)])
        source.send([notice("b")])
        eventually(lambda: (feed.next(0.05), notices[-1:] == ["b"] and 49 in orders)[1], 5)
        assert [number for number in orders if number] == [*range(1, 50)]
        feed.on_order = None  # from now on they are kept for who iterates
        source.send([order(50, "OPEN")])
        assert number_of(next(feed.orders(5 * slowness()))) == 50


def test_a_callback_that_raises_is_logged_and_costs_nothing_else(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    source = live(stage)
    orders: list[int] = []

    def fail(told: dict[str, object]) -> None:
        orders.append(number_of(told))
        raise ValueError("the program's own mistake")

    def fail_too(status: Status) -> None:
        raise ValueError("another one")

    with stage.feed(INFY, on_order=fail, on_status=fail_too) as feed:
        with caplog.at_level(logging.ERROR, "kitefeed"):
            eventually(lambda: source.send([order(1, "OPEN")]) or (feed.next(0.1), orders)[1], 10)
            source.send([order(2, "OPEN")])
            eventually(lambda: (feed.next(0.05), 2 in orders)[1], 5)
        source.send([item(INFY, 3)])
        eventually(lambda: feed.next(1) and feed[INFY].raw.last_price == 3, 5)
    said = [record.getMessage() for record in caplog.records]
    assert "on_order of the program failed" in said
    assert "on_status of the program failed" in said


def test_what_can_be_no_callback_is_refused_and_nothing_is_opened(stage: Stage) -> None:
    async def told(order: dict[str, object]) -> None: ...

    with pytest.raises(BadInput, match="on_order is an `async def`, and only an AsyncFeed"):
        Feed(INFY, endpoint="ipc:///nowhere/feed.sock", on_order=told)
    with pytest.raises(BadInput, match="on_notice=5 cannot be called"):
        AsyncFeed(INFY, endpoint="ipc:///nowhere/feed.sock", on_notice=5)  # type: ignore[arg-type]


def test_a_callback_may_close_its_feed_and_is_told_nothing_more(stage: Stage) -> None:
    source = live(stage)
    told: list[int] = []
    feed = stage.feed(INFY)

    def leave(order: dict[str, object]) -> None:
        told.append(number_of(order))
        feed.close()

    feed.on_order = leave
    source.send([item(INFY, 2)])

    def is_closed() -> bool:
        source.send([order(number, "OPEN") for number in range(9)])
        return feed.next(0.1) is None and bool(told)

    eventually(is_closed, 10)
    assert len(told) == 1


def test_an_async_feed_calls_its_callbacks_though_no_task_waits_and_awaits_them_in_order(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    source = live(stage)
    told: list[int] = []
    notices: list[str] = []
    inside = 0

    async def slowly(order: dict[str, object]) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1  # one after the other
        await asyncio.sleep(0.001)  # is slow, so that the next one could overtake it
        told.append(number_of(order))
        inside -= 1
        if number_of(order) == 3:
            raise ValueError("the program's own mistake")

    async def main() -> None:
        timeout_s = 5 * slowness()
        async with AsyncFeed(
            INFY, endpoint=stage.feed_endpoint, on_order=slowly, timeout_s=timeout_s
        ) as feed:
            feed.on_notice = lambda notice: notices.append(notice.text)
            await eventually_async(
                lambda: source.send([order(0, "OPEN"), notice("a")]) or (told and notices), 10
            )
            source.send([order(number, "OPEN") for number in range(1, 20)])
            await eventually_async(lambda: 19 in told, 5)

    with caplog.at_level(logging.ERROR, "kitefeed"):
        asyncio.run(main())
    assert [number for number in told if number] == [*range(1, 20)]
    assert [r.getMessage() for r in caplog.records] == ["on_order of the program failed"]
