"""Order updates and notices, read by a feed."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from kitefeed import AsyncFeed
from kitefeed.client.view import EVENTS_MAX
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import Item, Notice, OrderUpdate
from tests.integration.broadcaster_kit import FakeSource, Stage, item
from tests.support import eventually

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


def live(stage: Stage) -> FakeSource:
    stage.up()
    _, source = stage.live()
    with stage.feed(INFY) as first:
        eventually(lambda: source.send([item(INFY, 1)]) or first.get(INFY), 10)
    return source


def test_orders_and_notices_come_in_order_beside_ticks_to_who_asks_for_them(stage: Stage) -> None:
    source = live(stage)
    feed = stage.feed(INFY)
    orders, notices = feed.orders(5), feed.notices(0.3)
    eventually(lambda: source.send([notice("ready")]) or list(notices), 10)
    for number, status in ((1, "OPEN"), (2, "OPEN"), (1, "COMPLETE")):
        source.send([order(number, status)])
    source.send([item(INFY, 2)])
    got = [next(orders) for _ in range(3)]
    assert [(o["order_id"], o["status"]) for o in got] == [
        ("1", "OPEN"), ("2", "OPEN"), ("1", "COMPLETE"),
    ]  # fmt: skip
    eventually(lambda: feed[INFY].raw.last_price == 2, 5)
    source.send([notice("halt")])
    (told,) = feed.notices(1)
    assert (told.kind, told.text) == ("message", "halt")
    feed.close()
    assert list(orders) == []


def test_orders_that_nobody_takes_are_kept_up_to_a_number_and_then_counted(
    stage: Stage,
) -> None:
    source = live(stage)
    feed = stage.feed(INFY)
    orders = feed.orders(0.3)
    eventually(lambda: source.send([order(0, "OPEN")]) or list(feed.orders(0.1)), 10)
    source.send([order(number, "OPEN") for number in range(EVENTS_MAX + 5)])
    source.send([item(INFY, 2)])
    eventually(lambda: feed[INFY].raw.last_price == 2, 5)
    assert feed.overrun == 5
    assert [int(str(o["order_id"])) for o in orders] == list(range(5, EVENTS_MAX + 5))


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
        async with AsyncFeed(INFY, endpoint=stage.feed_endpoint) as feed:
            orders = feed.orders(5)
            while True:
                source.send([order(1, "OPEN")])
                if [o async for o in feed.orders(0.2)]:
                    break
            waiting = asyncio.ensure_future(anext(orders))
            await asyncio.sleep(0)
            source.send([order(2, "OPEN")])
            assert (await waiting)["order_id"] == "2"
            ended = asyncio.ensure_future(anext(feed.notices(), None))
            await asyncio.sleep(0)
            feed.close()
            assert await ended is None

    asyncio.run(main())
