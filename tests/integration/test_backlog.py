"""A program that fell behind, with a real broadcaster: it connects anew instead of replaying what
is no longer true. (How far it is behind is told by a clock that the test moves.)
"""

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest

from kitefeed.client import reader as reader_module
from kitefeed.client.feed import Feed
from kitefeed.client.feed_async import AsyncFeed
from kitefeed.client.reader import LOOK_NS, Reader
from kitefeed.client.status import Status
from kitefeed.client.tick import Tick
from kitefeed.client.view import View
from kitefeed.client.waiting import PENDING_MAX
from kitefeed.protocol.clock import boot_ns, utc_ns
from tests.integration.broadcaster_kit import FakeSource, Stage, item, settle
from tests.support import eventually, eventually_async, slowness

pytestmark = pytest.mark.processes

INFY, TCS = "NSE:INFY", "NSE:TCS"
S = 1_000_000_000


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        made.up()
        yield made


@pytest.fixture
def live(stage: Stage) -> FakeSource:
    _, source = stage.live()
    warm = stage.feed(INFY, TCS)
    settle(warm, source, {INFY: 100_00, TCS: 200_00})
    return source


def be_late(monkeypatch: pytest.MonkeyPatch, *, by_s: int) -> None:
    monkeypatch.setattr(reader_module, "utc_ns", lambda: utc_ns() + by_s * S)


def judge(feed: Reader, given: list[Tick]) -> None:
    """After the reader fell behind: it has the present, of both instruments, and nothing twice."""
    assert {tick.instrument: tick.last_price for tick in feed.values()} == {INFY: 107.0, TCS: 200.0}
    eventually(lambda: all(tick.is_fresh for tick in feed.values()), 5)
    assert [(tick.instrument, tick.last_price) for tick in given][-1] == (INFY, 107.0)
    assert len({(tick.instrument, tick.seq) for tick in given}) == len(given)
    assert feed.gaps == 0


def test_a_feed_that_is_behind_connects_anew_and_goes_on_with_the_present(
    stage: Stage, live: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = stage.feed(INFY, TCS)
    given = [tick for tick in (feed.next(5), feed.next(5)) if tick]
    eventually(lambda: all(tick.is_fresh for tick in feed.values()), 3)
    be_late(monkeypatch, by_s=20)
    for price in range(101, 107):
        live.send([item(INFY, price * 100)])
    doubted: list[bool] = []
    reopened = View.reopened

    def note_doubt(view: View) -> None:
        reopened(view)
        doubted.extend(not view.is_fresh(tick, boot_ns()) for tick in view.values.values())

    monkeypatch.setattr(View, "reopened", note_doubt)
    eventually(lambda: feed.status is not None and feed.reconnects == 1, 3)
    assert doubted == [True, True]  # until a snapshot has come, which may be at once
    monkeypatch.undo()
    live.send([item(INFY, 107_00)])
    eventually(lambda: feed[INFY].last_price == 107.0, 3)
    while (tick := feed.next(0.05)) is not None:
        given.append(tick)
    judge(feed, given)
    assert 0 < feed.skipped <= 6
    assert feed.late > 0


def test_an_async_feed_that_is_behind_does_the_same(
    stage: Stage, live: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with AsyncFeed(INFY, TCS, endpoint=stage.feed_endpoint) as feed:
            given = [tick for tick in (await feed.next(5), await feed.next(5)) if tick]
            be_late(monkeypatch, by_s=20)
            for price in range(101, 107):
                live.send([item(INFY, price * 100)])
            await eventually_async(lambda: feed.reconnects == 1, 3)
            monkeypatch.undo()
            live.send([item(INFY, 107_00)])
            await eventually_async(
                lambda: feed[INFY].last_price == 107.0 and feed[INFY].is_fresh, 3
            )
            while (tick := await feed.next(0.05)) is not None:
                given.append(tick)
            judge(feed, given)
            assert feed.reconnects == 1

    asyncio.run(main())


def test_a_program_that_reads_values_and_never_iterates_pays_for_no_backlog(
    stage: Stage, live: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for it is old for ever; looking through that with each value that is read would
    make reading all of many instruments quadratic."""
    feed = stage.feed(INFY, TCS)
    looks: list[int] = []
    skip_old = View.skip_old
    monkeypatch.setattr(
        View, "skip_old", lambda view, now_ns: (looks.append(now_ns), skip_old(view, now_ns))
    )
    eventually(lambda: feed[INFY].last_price == 100.0 and len(looks) >= 3, 5, every_s=0)
    assert all(later - before >= LOOK_NS for before, later in pairwise(looks))


def test_a_program_may_close_its_feed_when_it_is_told_of_a_status(
    stage: Stage, live: FakeSource
) -> None:
    feeds: list[Feed] = []
    told: list[str] = []

    def leave(status: Status) -> None:
        told.append(status.feed)
        feeds[0].close()

    feeds.append(Feed(INFY, endpoint=stage.feed_endpoint, on_status=leave))
    while feeds[0].next(1) is not None:
        pass
    assert told
    assert [*feeds[0]] == []


def test_a_feed_that_is_told_to_keep_all_never_skips(
    stage: Stage, live: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Feed(INFY, endpoint=stage.feed_endpoint, max_age_s=None) as feed:
        be_late(monkeypatch, by_s=20)
        for price in range(101, 107):
            live.send([item(INFY, price * 100)])
        eventually(lambda: feed[INFY].last_price == 106.0, 3)
        prices = []
        while (tick := feed.next(0.05)) is not None:
            prices.append(tick.last_price)
        assert prices[-6:] == [float(price) for price in range(101, 107)]
        assert (feed.reconnects, feed.skipped, feed.gaps) == (0, 0, 0)


def test_a_burst_that_is_longer_than_what_a_program_has_at_hand_is_given_out_whole(
    stage: Stage, live: FakeSource
) -> None:
    """The rest waits in the socket's queue, also for one that is told of the status meanwhile. (The
    broadcaster's own queue, which comes before that, takes no more than 10,000 at once: with what
    the witness has, it is empty.)"""
    count, each = PENDING_MAX + 5_000, 250
    told: list[str] = []
    prices: list[int] = []
    feed = Feed(
        INFY, endpoint=stage.feed_endpoint, max_age_s=None,
        on_status=lambda status: told.append(status.feed),
    )  # fmt: skip
    with feed, stage.feed(INFY) as witness:
        for start in range(0, count, each):
            burst = [100_00 + start + n for n in range(each)]
            live.send([item(INFY, price) for price in burst])
            last = burst[-1]
            while witness[INFY].raw.last_price != last:
                assert witness.next(20) is not None
        while not prices or prices[-1] != last:
            tick = feed.next(5 * slowness())
            assert tick is not None, prices[-1:]
            prices.append(tick.raw.last_price)
            if len(prices) % 3_000 == 0:  # busy for longer than until it looks for more
                threading.Event().wait(1.5 * LOOK_NS / S)
        assert prices[-count:] == [*range(100_00, 100_00 + count)]
        assert (feed.overrun, feed.gaps, feed.skipped) == (0, 0, 0)
        assert set(told) == {"live"}


def test_a_full_queue_is_told_to_all_and_ends_with_the_present_for_the_one_it_was(
    stage: Stage, live: FakeSource
) -> None:
    """What was lost there may be the last tick of its instrument, which no gap would tell."""
    with (
        Feed(INFY, TCS, endpoint=stage.feed_endpoint, max_age_s=None) as feed,
        stage.feed(INFY) as other,
    ):
        eventually(lambda: feed[INFY].raw.last_price == 100_00, 3)
        for _ in range(300):
            live.send([item(TCS, 201_00)] * 250)
            threading.Event().wait(0.003)  # else it is the source's queue that is full
        live.send([item(INFY, 101_00)])
        eventually(lambda: other[INFY].raw.last_price == 101_00, 20)
        eventually(lambda: other.heartbeat is not None and other.heartbeat.full_queues > 0, 3)
        eventually(lambda: other[INFY].is_fresh, 5)
        assert other.gaps == 0
        eventually(lambda: feed[INFY].raw.last_price == 101_00 or not feed[INFY].is_fresh, 5)
        eventually(lambda: feed[INFY].raw.last_price == 101_00 and feed[INFY].is_fresh, 5)


def test_a_value_from_before_a_batch_that_was_lost_is_not_fresh(
    stage: Stage, live: FakeSource
) -> None:
    feed = stage.feed(INFY, TCS)
    eventually(lambda: feed[INFY].is_fresh and feed[TCS].is_fresh, 3)
    threading.Event().wait(0.05)
    live.lose()
    live.send([item(TCS, 201_00)])
    eventually(lambda: feed[TCS].raw.last_price == 201_00, 3)
    eventually(lambda: feed[TCS].is_fresh, 5)
    assert not feed[INFY].is_fresh
    live.send([item(INFY, 101_00)])
    eventually(lambda: feed[INFY].is_fresh, 3)


def test_programs_report_themselves_on_this_host_only(stage: Stage, live: FakeSource) -> None:
    supervisor = stage.supervisors[0]
    asking, silent = stage.asking_feed(INFY), stage.feed(TCS)

    def has_reported() -> bool:
        live.send([item(INFY, 101_00)])  # a rate is that between two reports
        asking.next(0.01)
        silent.next(0.01)
        return any(report.ticks_per_s > 0 for report in supervisor.reports)

    eventually(has_reported, 15)
    assert len({report.reader for report in supervisor.reports}) == 1
    assert {report.instruments for report in supervisor.reports} == {1}
