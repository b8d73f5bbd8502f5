"""Instruments that a feed is told to read, and to read no more, while it runs."""

import asyncio
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from kitefeed import AsyncFeed, BadInput, Feed
from kitefeed.client.wants import CHUNKED_MIN, CHUNKED_SHARE
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.topology import CHUNKS_QUEUED_MAX, CONTROL, endpoint
from tests.integration.broadcaster_kit import FakeSupervisor, Stage, item, settle
from tests.support import eventually, eventually_async, slowness

pytestmark = pytest.mark.processes

INFY, TCS, SBIN = "NSE:INFY", "NSE:TCS", "NSE:SBIN"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


def given(feed: Feed, count: int) -> list[tuple[str, int]]:
    """So many ticks, however long they take, and what comes right behind them."""
    first = [feed.next(10 * slowness()) for _ in range(count)]
    more = iter(lambda: feed.next(0.2), None)
    return [(tick.instrument, tick.raw.last_price) for tick in (*first, *more) if tick]


def test_what_is_subscribed_later_begins_with_its_last_value_and_ends_when_it_is_dropped(
    stage: Stage,
) -> None:
    stage.up()
    supervisor, source = stage.live()
    supervisor.names[779521] = SBIN
    supervisor.refused["NSE:NOPE"] = "not in today's instrument list"
    feed = stage.asking_feed([])
    assert feed.instruments == ()
    with stage.feed(INFY) as first:
        settle(first, source, {INFY: 1})
        source.send([item(INFY, 2), item(TCS, 3, 2953217)])
        eventually(lambda: first[INFY].raw.last_price == 2, 5)
    assert given(feed, 0) == []

    answers = feed.subscribe(INFY, ["NSE:NOPE", 779521], 1, "INFY", mode="full")
    outcomes = {answer.instrument: answer.outcome for answer in answers}
    assert [name for name in outcomes if outcomes[name] == "accepted"] == [INFY, SBIN]
    assert {name for name in outcomes if outcomes[name] == "refused"} == {"NSE:NOPE", "1", "INFY"}
    assert all(answer.detail for answer in answers if answer.outcome == "refused")
    assert feed.instruments == (INFY, SBIN)
    assert given(feed, 1) == [(INFY, 2)]
    eventually(lambda: feed[INFY].is_fresh, 5)

    feed.subscribe(TCS)
    source.send([item(INFY, 4), item(TCS, 5, 2953217), item("NSE:OTHER", 6)])
    eventually(lambda: feed.get(TCS) and feed[TCS].raw.last_price == 5, 5)
    eventually(lambda: feed[INFY].raw.last_price == 4, 5)
    held = feed[INFY]
    feed.unsubscribe(INFY, 2953217, "NSE:NEVER")
    assert feed.instruments == (SBIN,)
    assert feed.get(INFY) is None
    assert not held.is_fresh
    source.send([item(INFY, 7), item(TCS, 8, 2953217), item(SBIN, 9)])
    assert given(feed, 1) == [(SBIN, 9)]

    feed.subscribe(INFY)  # once more: what came meanwhile is no gap
    eventually(lambda: feed.get(INFY) and feed[INFY].raw.last_price == 7, 5)
    eventually(lambda: feed[INFY].is_fresh, 5)
    assert feed.gaps == feed.duplicates == 0


def test_the_supervisor_hears_the_mode_that_is_asked_for_last(stage: Stage) -> None:
    stage.up()
    supervisor, _ = stage.live()
    feed = stage.asking_feed(INFY)

    def wanted() -> dict[str, Mode]:
        told = supervisor.last(m.ListenersWant)
        return told.modes if isinstance(told, m.ListenersWant) else {}

    feed.set_mode("full", INFY)
    eventually(lambda: wanted() == {INFY: "full"}, 5)
    feed.set_mode("ltp", INFY)
    eventually(lambda: wanted() == {INFY: "ltp"}, 5)


def test_a_feed_of_everything_is_told_nothing_more(stage: Stage) -> None:
    stage.up()
    feed = stage.asking_feed()
    with pytest.raises(BadInput, match="reads all that streams"):
        feed.subscribe(INFY)


def test_three_thousand_are_subscribed_at_once_while_other_threads_wait(stage: Stage) -> None:
    stage.up()
    _, source = stage.live()
    names = [f"NSE:S{number}" for number in range(3_000)]
    feed = stage.asking_feed([])
    got: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            got.extend(tick.instrument for tick in feed.next_batch(0.1))

    thread = threading.Thread(target=read)
    thread.start()
    start_ns = boot_ns()
    assert {answer.outcome for answer in feed.subscribe(names)} == {"accepted"}
    assert boot_ns() - start_ns < 2_000_000_000 * slowness()
    with stage.feed(names[-1]) as last:  # subscriptions of one socket are heard in order
        eventually(lambda: source.send([item(names[-1], 1)]) or last.get(names[-1]), 10)
    for start in range(0, 3_000, 250):
        source.send([item(name, 2) for name in names[start : start + 250]])
    eventually(lambda: set(got) == set(names), 15)
    stop.set()
    thread.join()


def test_a_batch_is_what_is_there_and_no_more_than_was_asked_for(stage: Stage) -> None:
    stage.up()
    _, source = stage.live()
    feed = stage.feed(INFY)
    settle(feed, source, {INFY: 1})
    while feed.next(0):
        pass
    assert feed.next_batch(0) == []
    source.send([item(INFY, price) for price in range(2, 12)])
    eventually(lambda: feed[INFY].raw.last_price == 11, 5)
    assert [tick.raw.last_price for tick in feed.next_batch(1, max=4)] == [2, 3, 4, 5]
    assert [tick.raw.last_price for tick in feed.next_batch()] == [6, 7, 8, 9, 10, 11]
    feed.close()
    assert feed.next_batch() == []


def test_an_async_feed_does_the_same(stage: Stage) -> None:
    stage.up()
    supervisor, source = stage.live()
    supervisor.names[408065] = INFY

    async def main() -> None:
        control = endpoint(stage.run, CONTROL)
        async with AsyncFeed([], endpoint=stage.feed_endpoint, control=control) as feed:
            (answer,) = await feed.subscribe(408065, mode="full")
            assert (answer.instrument, answer.outcome) == (INFY, "accepted")
            await eventually_async(lambda: source.send([item(INFY, 0)]) or feed.get(INFY), 10)
            source.send([item(INFY, 1)])
            while (tick := await feed.next(10 * slowness())) and tick.raw.last_price != 1:
                pass
            source.send([item(INFY, price) for price in (2, 3)])
            batch = await feed.next_batch(5 * slowness(), max=1)
            batch += await feed.next_batch(5 * slowness())
            assert [tick.raw.last_price for tick in batch] == [2, 3]
            feed.unsubscribe(INFY)
            source.send([item(INFY, 4)])
            assert await feed.next_batch(0.3) == []

    asyncio.run(main())


def test_many_instruments_come_by_few_messages_and_nothing_is_missed_when_that_begins_or_ends(
    stage: Stage,
) -> None:
    stage.up()
    supervisor, source = stage.live()
    names = [f"NSE:X{number}" for number in range(CHUNKED_MIN)]
    everything = ["NSE:OTHER", *names]
    read: dict[str, list[int]] = {name: [] for name in everything}
    prices = count(1)
    stopped = threading.Event()

    def send() -> None:
        while not stopped.wait(0.003):
            price = next(prices)
            source.send([item(name, price, 1_000 + n) for n, name in enumerate(everything)])

    def reads_on(feed: Feed, more: int = 10) -> None:
        """Until each of its instruments has ticked so many times more."""
        due = {name: len(read[name]) + more for name in feed.instruments}
        while any(len(read[name]) < least for name, least in due.items()):
            batch = feed.next_batch(5 * slowness())
            assert batch, "it falls silent"
            for tick in batch:
                read[tick.instrument].append(tick.raw.last_price)

    feed = stage.asking_feed([])
    feed.subscribe(names[1:])
    sending = threading.Thread(target=send)
    sending.start()
    try:
        # More than the queue holds: what libzmq has counted so far must not be held against it.
        reads_on(feed, CHUNKS_QUEUED_MAX * 5 // 4 // CHUNKED_MIN)
        assert not feed._wants.is_chunked
        feed.subscribe(names[0], mode="full")
        assert feed._wants.is_chunked
        reads_on(feed)
        eventually(lambda: told_of(supervisor) == (set(names), {names[0]: "full"}), 5)
        feed.unsubscribe(names[CHUNKED_MIN // 2 - 1 :])
        assert not feed._wants.is_chunked
        reads_on(feed)
    finally:
        stopped.set()
        sending.join()
    assert read["NSE:OTHER"] == []
    for name in names:
        assert read[name] == [*range(read[name][0], read[name][-1] + 1)], name
    assert (feed.gaps, feed.duplicates, feed.skipped, feed.bad_messages) == (0, 0, 0, 0)


@pytest.mark.parametrize("others", [0, CHUNKED_MIN * CHUNKED_SHARE])
def test_how_many_are_read_is_chosen_by_how_much_streams_before_anything_is_asked_for(
    stage: Stage, others: int
) -> None:
    stage.up()
    supervisor, source = stage.live()
    names = [f"NSE:X{number}" for number in range(CHUNKED_MIN)]
    everything = [*names, *(f"NSE:Y{number}" for number in range(others))]
    with stage.feed() as first:
        eventually(
            lambda: (
                source.send([item(name, 5, 1_000 + n) for n, name in enumerate(everything)])
                or (
                    len(first.values()) == len(everything)
                    and first.heartbeat is not None
                    and first.heartbeat.values == len(everything)
                )
            ),
            10,
        )
    feed = stage.asking_feed(names)
    assert feed._wants.is_chunked == (not others)
    assert not feed._pipe.is_changing
    assert {tick.instrument for tick in feed.values()} == set(names)
    eventually(lambda: told_of(supervisor)[0] == set(names), 5)

    async def read() -> None:
        async with AsyncFeed(names, config=stage.config) as other:
            assert other._wants.is_chunked == (not others)
            assert set(other.snapshot()) == set(names)
            source.send([item(names[0], 6, 1_000)])
            await eventually_async(lambda: other[names[0]].raw.last_price == 6, 5)

    asyncio.run(read())


def told_of(supervisor: FakeSupervisor) -> tuple[set[str], dict[str, Mode]]:
    told = supervisor.last(m.ListenersWant)
    assert isinstance(told, m.ListenersWant)
    return set(told.keys), told.modes
